"""The log fields that come from a request: system, job, upload, paths."""

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from passerelle.runtime.errors import shortened
from passerelle.runtime.log_fields import CallFields
from passerelle.runtime.surface import Surface

MAX_VALUE = 512
"""Characters of one value in a line; of a longer one the middle is left out."""

_LOGGED = ("system", "job_id", "upload_id", "target_system")
"""Request fields that stand in all log lines of the call."""

_AUDITED = ("path", "target")
"""Request fields that stand only in the audit log, because other logs must not show paths. A path in bytes, as
`raw_path`, replaces the one in text."""


class NamedFields:
    """What requests of one kind name, by their fields and by what their surface adds. Made once for a kind."""

    def __init__(self, kind: Descriptor, surface: Surface) -> None:
        self._logged = _present(kind, _LOGGED)
        self._audited = _present(kind, _AUDITED)
        self._about = surface.about(kind)

    def note(self, request: Message, fields: CallFields) -> None:
        """Add to `fields` what `request` names; fields that are not set are left out."""
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
    """A value as it is logged: as text of at most MAX_VALUE characters."""
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
    return shortened(text, MAX_VALUE)
