"""Programs that work on the very file that was checked, even if its path changes: they open it first, then look.

Linux tells in /proc what a process has open. It is compared with the path that was checked, which has no links; a
program that opened another file ends with status `MOVED`.
"""

from collections.abc import Sequence

MOVED = 98
OPENED = "/proc/self/fd/3"
"""The path under which a program of `reading` can open its file, also repeatedly."""

_READING = f"""\
path=$1; shift
[ -f "$path" ] || exit {MOVED}
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
_INSIDE = f"""\
path=$1; shift
[ ! -e "$path" ] || [ -f "$path" ] || exit {MOVED}
exec 3<"$path" || exit
opened=$(readlink {OPENED})
inside=
while [ "$1" != -- ]; do
  case $opened in "${{1%/}}"/*) inside=yes ;; esac
  shift
done
shift
[ "$inside" ] || exit {MOVED}
exec "$@"
"""


def reading(path: str, *argv: str) -> tuple[str, ...]:
    """`argv` with the file `path` open as `OPENED`."""
    return ("sh", "-c", _READING, "sh", path, *argv)


def within(directory: str, *argv: str) -> tuple[str, ...]:
    """`argv` in the directory."""
    return ("sh", "-c", _WITHIN, "sh", directory, *argv)


def reading_inside(path: str, roots: Sequence[str], *argv: str) -> tuple[str, ...]:
    """`argv` with the regular file that `path` leads to open as descriptor 3, if it is in one of the directories."""
    return ("sh", "-c", _INSIDE, "sh", path, *roots, "--", *argv)
