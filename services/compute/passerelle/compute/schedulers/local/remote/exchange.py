"""Code of all programs of the `local` scheduler on the system: one JSON request in, one JSON answer out.

The modules of this folder run on the system, under its own interpreter: `local` sends their source along with each
request, so that nothing has to be installed there. They are therefore written for Python 3.6, which the systems of the
time still carry (RHEL 8, SLES 15), with nothing but the standard library: annotations are quoted, because such
interpreters cannot evaluate `str | None`, and text becomes bytes before it reaches the operating system, because Python
3.6 takes the C locale for ASCII.
"""

import json
import os
import sys

TYPE_CHECKING = False  # as in `typing`, which takes longer to import than all the rest
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    Operation = Callable[[Mapping[str, Any]], Any]


class Refused(Exception):
    """The request cannot be done: `kind` as in `local`'s table, a text for people, and the field at fault."""

    def __init__(self, kind: str, message: str, field: "str | None" = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.field = field


def raw(text: str) -> bytes:
    """`text` as the operating system is to see it."""
    return text.encode("utf-8", "surrogateescape")


def text_of(data: bytes) -> str:
    """The opposite of `raw`: bytes that are no UTF-8 survive the round trip."""
    return data.decode("utf-8", "surrogateescape")


def answer(operations: "Mapping[str, Operation]") -> None:
    """Do the request on stdin and print one line of JSON: `{"result": …}` or `{"error": {"kind", "message", "field"}}`.

    A request: `operation` (a name in `operations`), `settings` (the plugin's options), and the operation's own fields.
    """
    request = json.loads(sys.stdin.buffer.read().decode())
    try:
        reply = {"result": operations[request["operation"]](request)}
    except Refused as refused:
        reply = {"error": vars(refused)}
    except OSError as error:
        words = os.strerror(error.errno) if error.errno else str(error)
        reply = {"error": {"kind": "backend", "message": words, "field": None}}
    sys.stdout.buffer.write(raw(json.dumps(reply, ensure_ascii=False) + "\n"))
    sys.stdout.buffer.flush()
