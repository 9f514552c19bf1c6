"""The scripts of transfer jobs that consist of system commands. They need GNU coreutils, findutils and tar.

FirecREST v2's clients look for their success messages in the log. Every path is quoted as one word; no text of a caller
is part of a program.
"""

from passerelle.storage.files.tarballs import Tarball, packing, unpacking
from passerelle.storage.jobs.port import Leftovers, ShellWork, hidden_part, word

_OUTCOME = """\
if {command}; then
    echo "$(date -u)" "Files were successfully {done}."
else
    status=$?
    echo "$(date -u)" "Unable to {do} files exit code:$status" >&2
    exit "$status"
fi
"""

# The archive gets its name when it is complete. An incomplete one is removed by the script, or later by `Tidying`.
_PACKED = """\
part={part}
trap 'rm -f -- "$part" && rm -f -- "$transfer"' EXIT
pack() {{
    {pack} && mv -fT -- "$part" {target}
}}
"""


def move(source: str, target: str) -> ShellWork:
    """`mv`."""
    return ShellWork(_outcome(_line("mv", "--", source, target), "move", "moved"))


def copy(source: str, target: str, *, dereference: bool) -> ShellWork:
    """`cp` of files and directories; `dereference` copies the targets of links instead of the links."""
    options = ("--force", "-RL" if dereference else "-Rd", "--preserve=all")
    return ShellWork(_outcome(_line("cp", *options, "--", source, target), "copy", "copied"))


def remove(path: str) -> ShellWork:
    """`rm -R`."""
    return ShellWork(_outcome(_line("rm", "-R", "--", path), "delete", "deleted"))


def compress(tarball: Tarball, target: str) -> ShellWork:
    """Make an archive; an existing file is replaced."""
    part = hidden_part(target)
    pack = _line(*packing(tarball, part))
    head = _PACKED.format(part=word(part), pack=pack, target=word(target))
    return ShellWork(head + _outcome("pack", "compress", "compressed"), Leftovers(part))


def extract(source: str, target: str, compression: str) -> ShellWork:
    """Unpack an archive into the directory `target`."""
    return ShellWork(
        _outcome(_line(*unpacking(source, target, compression)), "extract", "extracted")
    )


def _line(*argv: str) -> str:
    return " ".join(word(argument) for argument in argv)


def _outcome(command: str, do: str, done: str) -> str:
    return _OUTCOME.format(command=command, do=do, done=done)
