r"""The line for the login shell, what follows it on its input, and the markers around a program's own output.

sshd hands a line to the user's login shell. Ours is one constant that sh, bash, zsh, ksh, csh, tcsh and fish read
alike: no `'`, `\` or line break stands in it, and `!` only before a blank. It starts `/bin/sh`, which reads everything
else from its input as data (`read -r` keeps every byte but NUL), so that no shell ever parses a caller's values:

    passerelle NONCE        what the markers are made of
    @NAME=VALUE             a variable to set
    -NAME or -PREFIX*       variables to unset, also those that start-up files have set
    ,TEXT                   a part of an argument, with the line break that follows it
    =TEXT                   the rest of an argument
    .                       the end of these
    none, frames or all     start; the program's input is empty, follows in frames, or is all that follows

A frame is a line with its size in bytes and as many bytes, for which `dd` is started; or it is `,TEXT` and `=TEXT` as
above, which the shell copies itself, byte by byte, so that a short script costs no process. A line `0` ends the
program's input.

`NONCE<` and a line break begin the program's output, `NONCE>STATUS` and a line break end it; anything before and after
was printed by start-up files, or by processes that they left running. On stderr the markers are `NONCE2<` and
`NONCE2>STATUS`. They stand around those of stdout, so that they are not taken for output where a start-up file has
joined both streams (`exec 2>&1`).

The program's input ends with its last frame and not with the channel's input, so that half of a script is never run as
if it were complete. The channel's input outlives the program's (except with `all`): when it ends before the program
does, because the request was given up, the connection lost or the gateway killed, the program's process group and those
descendants that have left it get TERM, and KILL when it has ended or a second has passed. For that sshd has to let no
signal through. Processes that detach from their parents, as daemons do, survive.
"""

import re
import secrets
from collections.abc import Iterator

from passerelle.runtime.command import Request

# Descriptor 3 is the channel's input, 4 the program's, 6 the channel's stderr; 2 keeps the shell's own remarks out.
# `env` is what tells that there is no such program, in words that are everywhere the same.
# $IFS is blank, tab and line break: where a line break comes from. In `frames` the guard is the process that feeds the
# program; its id, which no shell tells it, comes from /proc. No SIGPIPE ends it when the program does not read. `away`
# finds the descendants in other process groups.
_SCRIPT = """
exec 3<&0 6>&2 </dev/null; LC_ALL=C; export LC_ALL; o=$IFS; n=${IFS#??}; a=; t=; set -f; set --;
IFS= read -r h <&3 || exit 1; case $h in "passerelle "*) h=${h#* } ;;
*) echo "passerelle: something else has read the input of a command" >&2; exit 1 ;; esac;
while IFS= read -r l <&3 || exit 1; do case $l in
=*) set -- "$@" "$a${l#?}"; a= ;;
,*) a=$a${l#?}$n ;;
@*) export "${l#?}" ;;
-*[*]) IFS=$n; for v in $(export -p); do v=${v%%=*}; v=${v##* };
case $v in ${l#?}) command unset "$v" 2>/dev/null ;; esac; done; IFS=$o ;;
-*) unset "${l#?}" ;;
*) break ;;
esac; done;
echo "${h}2<" >&2; echo "$h<"; command -v "$1" >/dev/null 2>&1 || set -- env "$@"; IFS= read -r l <&3 || exit 1;
away() { l=$(ps -u $(id -u) -o pid= -o ppid= -o pgid=); r=" $$ "; s=; x=; until [ "$r" = "$s" ]; do s=$r; set -- $l;
while [ "$3" ]; do case $r in *" $1 "*) ;; *" $2 "*) r="$r$1 " ;; esac; [ $1 = $$ ] && g=$3; shift 3; done; done;
set -- $l; while [ "$3" ]; do case $r in *" $1 "*) [ $3 = $g ] || x="$x $1" ;; esac; shift 3; done; };
guard() { while read -r l <&3; do :; done; trap : TERM; away; kill -TERM 0 $x; i=0; trap i=9 TERM;
while [ $i -lt 9 ]; do sleep 0.1; i=$((i + 1)); done; kill -KILL $x; kill -KILL 0; };
feed() { read -r g l </proc/self/stat; echo $g; trap "" PIPE; while IFS= read -r l <&3; do case $l in
,*) printf %s "${l#?}$n" || return ;;
=*) printf %s "${l#?}" || return ;;
0) exec >/dev/null; return ;;
*) dd bs=$l count=1 iflag=fullblock <&3 || return ;;
esac; done; };
run() { [ $t ] || (exec "$@" <&4 2>&6 3<&- 4<&- 6>&-); s=$?; kill $g; echo "$h>$s"; echo "${h}2>$s" >&6; };
case $l in
all) exec "$@" <&3 3<&- 6>&- ;;
none) exec 2>/dev/null 4</dev/null; guard & g=$! ; trap t=1 TERM; run "$@" ;;
frames) exec 2>/dev/null; trap t=1 TERM; { feed; guard; } | { trap t=1 TERM; read -r g; exec 4<&0; run "$@"; } ;;
esac
"""
LINE = f"exec /bin/sh -c '{' '.join(_SCRIPT.split(chr(10))).strip()}'"
"""The line for the login shell, always."""

NONE, FRAMES, ALL = b"none\n", b"frames\n", b"all\n"
"""What the program's input is."""

_LONGEST_TEXT = 2048  # bytes; reading more of them one by one takes longer than starting dd
_LONGEST_FRAME = 1 << 18  # bytes
_MOST_NOISE = 1024  # bytes that are kept of what start-up files print
_STATUS = re.compile(rb"(\d+)\n")


def request_lines(request: Request, nonce: str) -> bytes:
    """What `LINE` reads before it starts the program; raises ValueError for values that no program can get."""
    lines = b"".join(_lines(request, nonce))
    if b"\0" in lines:
        raise ValueError("a NUL character in a program's arguments or environment")
    return lines


def _lines(request: Request, nonce: str) -> Iterator[bytes]:
    yield f"passerelle {nonce}\n".encode()
    yield from (f"-{name}\n".encode() for name in request.unset)
    for name, value in request.environment.items():
        yield f"@{name}={value}\n".encode("utf-8", "surrogateescape")
    yield from (_text(word.encode("utf-8", "surrogateescape")) for word in request.argv)
    yield b".\n"


def _text(data: bytes) -> bytes:
    """The lines `,TEXT` and `=TEXT` for data without NUL."""
    *parts, last = data.split(b"\n")
    return b"".join(b",%b\n" % part for part in parts) + b"=%b\n" % last


def new_nonce() -> str:
    """A random word for the markers, which nobody else can know."""
    return secrets.token_hex(16)


def frame(data: bytes) -> bytes:
    """A piece of the program's input; an empty one ends it."""
    return b"%d\n" % len(data) + data


def whole_input(data: bytes) -> Iterator[bytes]:
    """All of the program's input, in frames that are sent one by one, and its end."""
    if len(data) <= _LONGEST_TEXT and b"\0" not in data:
        yield _text(data) + frame(b"")
        return
    yield from (frame(data[at : at + _LONGEST_FRAME]) for at in range(0, len(data), _LONGEST_FRAME))
    yield frame(b"")


class MarkedStream:
    """One output stream of a channel, of which the bytes between the markers are the program's."""

    def __init__(self, nonce: str) -> None:
        self.begun = False
        self.status: int | None = None
        """The program's exit status, once its output is complete."""
        self.noise = b""
        """The first bytes that came before its output."""
        self._begin = f"{nonce}<\n".encode()
        self._end = f"{nonce}>".encode()
        self._held = b""

    def take(self, data: bytes) -> bytes:
        """The program's bytes of the data so far, without an end that may be the beginning of a marker."""
        data = self._held + data
        if not self.begun:
            noise, mark, rest = data.partition(self._begin)
            if not mark:
                cut = max(0, len(data) - len(self._begin) + 1)
                self.noise, self._held = (self.noise + data[:cut])[:_MOST_NOISE], data[cut:]
                return b""
            self.noise = (self.noise + noise)[:_MOST_NOISE]
            self.begun, data = True, rest
        own, mark, rest = data.partition(self._end)
        if not mark:
            own, self._held = _cut(own, self._end)
            return own
        if match := _STATUS.match(rest):
            self.status = int(match[1])
        self._held = mark + rest
        return own

    def left(self) -> bytes:
        """The bytes held back when no more data comes; before the program's output, those of start-up files."""
        return self.noise + self._held if not self.begun else self._held


def _cut(data: bytes, mark: bytes) -> tuple[bytes, bytes]:
    """The data, and an end of it that may be the beginning of a marker, apart."""
    longest = min(len(data), len(mark) - 1)
    held = next((size for size in range(longest, 0, -1) if data.endswith(mark[:size])), 0)
    return data[: len(data) - held], data[len(data) - held :]
