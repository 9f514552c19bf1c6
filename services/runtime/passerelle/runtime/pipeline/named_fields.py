"""What a request names: system, job, upload, paths. The lines that its call leaves in the logs tell it."""

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from passerelle.runtime.errors import shortened
from passerelle.runtime.log_fields import CallFields
from passerelle.runtime.surface import Surface

MAX_VALUE = 512
"""Characters of one value in a line; of a longer one the middle is left out."""

_LOGGED = ("system", "job_id", "upload_id", "target_system")
"""Request fields that all lines of the call tell."""

_AUDITED = ("path", "target")
"""Those that only the audit log tells, since other logs are less careful with paths. A path in bytes, as `raw_path`,
stands for the one in text."""


class NamedFields:
    """What requests of one kind name, by their fields and by what their surface adds. Made once for a kind."""

    def __init__(self, kind: Descriptor, surface: Surface) -> None:
        self._logged = _present(kind, _LOGGED)
        self._audited = _present(kind, _AUDITED)
        self._about = surface.about(kind)

    def note(self, request: Message, fields: CallFields) -> None:
        """Add to `fields` what `request` names, each as far as it is set."""
        for name, field in self._logged:
            if value := getattr(request, field):
                fields.logged[name] = as_text(value)
        for name, field in self._audited:
            if value := getattr(request, field):
                fields.audited[name] = as_text(value)
        if self._about:
            fields.audited.update(self._about(request))


def _present(kind: Descriptor, names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Those of `names` that a kind of request has as a field, each with that field's name."""
    pairs = [pair for name in names for pair in ((name, name), (name, f"raw_{name}"))]
    return tuple(pair for pair in pairs if pair[1] in kind.fields_by_name)


def as_text(value: str | bytes) -> str:
    """A value as lines of the logs tell it."""
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
    return shortened(text, MAX_VALUE)
