"""Whether a configuration file is correct, and which of its settings have consequences that an operator should know.

What there is to say about a section stands in the section itself, in its `findings`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from passerelle.cli.check.sections import checkables
from passerelle.runtime.config.faults import Places
from passerelle.runtime.config.findings import Finding, Key, note
from passerelle.runtime.config.sections import Section
from passerelle.runtime.config.site import ConfigError, SiteBase, read, site_model

_PERMISSIVE = {"any_audience", "any_issuer", "reflection"}
"""Settings that allow what is forbidden by default, besides those whose names begin with `insecure_`."""


@dataclass(frozen=True, slots=True)
class FileReport:
    """The result of a check, a line each with file, line and key. The file is correct when there are no errors."""

    errors: list[str]
    notes: list[str]


def check(path: Path) -> FileReport:
    """Read the file, and the files that it names."""
    try:
        text = read(path)
        site = site_model().parse(text, str(path))
    except ConfigError as error:
        return FileReport(str(error).splitlines(), [])
    places = Places(text, str(path))
    findings = sorted(_findings(site, path), key=lambda finding: places.line(finding.key))
    errors, notes = (
        [
            f"{places.of(finding.key)}: {finding.text}"
            for finding in findings
            if finding.fatal is fatal
        ]
        for fatal in (True, False)
    )
    return FileReport(errors, notes)


def _findings(site: SiteBase, path: Path) -> Iterator[Finding]:
    for key, value, context in checkables(site, path):
        for finding in value.findings(context):
            # What concerns all options of a plugin is shown at the plugin.
            yield finding.below(key if finding.key or key[-1:] != ("options",) else key[:-1])
        if isinstance(value, Section):
            yield from _permissive(value, key)


def _permissive(section: Section, key: Key) -> Iterator[Finding]:
    """A note for each setting that allows what is forbidden by default."""
    for name, field in type(section).model_fields.items():
        if getattr(section, name) is True and (name.startswith("insecure_") or name in _PERMISSIVE):
            yield note(" ".join(str(field.description).split()), *key, name)
