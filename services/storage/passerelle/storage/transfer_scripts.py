"""The scripts of transfer jobs that system commands do. GNU coreutils, findutils and tar are taken for granted.

What they say when all went well is what FirecREST v2's clients look for in the log. Every path is a word of its own,
whatever is in it; nobody's text is ever part of a program.
"""

import posixpath
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from passerelle.storage.transfer_jobs import ShellWork, word

COMPRESSIONS: Mapping[str, str] = {"none": "", "gzip": "z", "bzip2": "j", "xz": "J"}
"""tar's option letter by FirecREST's name of a compression."""

_OUTCOME = """\
if {command}; then
    echo "$(date -u)" "Files were successfully {done}."
else
    status=$?
    echo "$(date -u)" "Unable to {do} files exit code:$status" >&2
    exit "$status"
fi
"""

# The archive appears under its name when it is complete; a part of one is removed, whatever happens.
_PACKED = """\
set -o pipefail
part={part}
trap 'rm -f -- "$part"' EXIT
pack() {{
    {pack} && mv -fT -- "$part" {target}
}}
"""


@dataclass(frozen=True, slots=True)
class Packing:
    """What goes into an archive: what `source` is, or all files beside and below it whose path, as find(1) sees it from
    the directory of `source`, matches the regular expression `pattern`. `compression` is one of COMPRESSIONS."""

    source: str
    target: str
    compression: str = "gzip"
    dereference: bool = False
    pattern: str | None = None


def move(source: str, target: str) -> ShellWork:
    """`mv`."""
    return ShellWork(_outcome(_line("mv", "--", source, target), "move", "moved"))


def copy(source: str, target: str, *, dereference: bool) -> ShellWork:
    """`cp` of files and directories; `dereference` copies what links lead to instead of the links."""
    options = ("--force", "-RL" if dereference else "-Rd", "--preserve=all")
    return ShellWork(_outcome(_line("cp", *options, "--", source, target), "copy", "copied"))


def remove(path: str) -> ShellWork:
    """`rm -R`."""
    return ShellWork(_outcome(_line("rm", "-R", "--", path), "delete", "deleted"))


def compress(packing: Packing) -> ShellWork:
    """A new tar archive."""
    directory, name = posixpath.split(packing.source)
    options = ["--force-local"] + ["--dereference"] * packing.dereference
    tar = f'{_line("tar", *options)} -c{COMPRESSIONS[packing.compression]}f "$part"'
    if packing.pattern:
        found = _line("find", ".", "-type", "f", "-regex", packing.pattern, "-print0")
        pack = f"cd {word(directory)} && {found} | {tar} --null --files-from -"
    else:
        pack = f"{tar} -C {_line(directory, '--', name)}"
    part = f"{posixpath.dirname(packing.target)}/.{secrets.token_hex(6)}.passerelle-part"
    head = _PACKED.format(part=word(part), pack=pack, target=word(packing.target))
    return ShellWork(head + _outcome("pack", "compress", "compressed"))


def extract(source: str, target: str, compression: str) -> ShellWork:
    """Unpack a tar archive into the directory `target`."""
    kind = f"-x{COMPRESSIONS[compression]}f"
    command = _line("tar", "--force-local", kind, source, "-C", target)
    return ShellWork(_outcome(command, "extract", "extracted"))


def _line(*argv: str) -> str:
    return " ".join(word(argument) for argument in argv)


def _outcome(command: str, do: str, done: str) -> str:
    return _OUTCOME.format(command=command, do=do, done=done)
