"""Programs that work on what has been checked, whatever its path leads to meanwhile: they open first, and look then.

Linux tells in /proc what a process has open. It is compared with the path that was checked, which has no links; a
program that finds something else ends with status `MOVED`.
"""

MOVED = 98
OPENED = "/proc/self/fd/3"
"""What a program under `reading` reads, also when it opens it once more."""

_READING = f"""\
path=$1; shift
exec 3<"$path" || exit
[ "$(readlink {OPENED}; echo .)" = "$path
." ] || exit {MOVED}
exec "$@"
"""
_WITHIN = f"""\
directory=$1; shift
cd -P -- "$directory" || exit {MOVED}
[ "$(pwd -P; echo .)" = "$directory
." ] || exit {MOVED}
exec "$@"
"""


def reading(path: str, *argv: str) -> tuple[str, ...]:
    """`argv` with the file `path` open as `OPENED`."""
    return ("sh", "-c", _READING, "sh", path, *argv)


def within(directory: str, *argv: str) -> tuple[str, ...]:
    """`argv` in the directory."""
    return ("sh", "-c", _WITHIN, "sh", directory, *argv)
