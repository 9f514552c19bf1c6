"""How operations end, and how names travel."""

import codecs
import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Failure(Exception):
    """A system call failed: what was tried (`access`, `open`, `read` …), on which path, with which errno."""

    def __init__(self, step: str, path: bytes, code: int) -> None:
        super().__init__(step, path, code)
        self.step = step
        self.path = path
        self.code = code


class Cancelled(Exception):
    """The service does not want the answer any more."""


class Call:
    """One request being answered."""

    def __init__(self) -> None:
        self.cancelled = False

    def check(self) -> None:
        """Raise Cancelled when nobody waits for the answer any more; long work asks now and then."""
        if self.cancelled:
            raise Cancelled


def _octal(error: "Any") -> "tuple[str, int]":
    wrong = error.object[error.start : error.end]
    return "".join(f"\\{byte:03o}" for byte in wrong), error.end


codecs.register_error("octal", _octal)


def text(name: bytes) -> str:
    """A name as people and JSON can carry it."""
    return name.decode("utf-8", "octal")


def raw(name: str) -> bytes:
    """A name's bytes; one that is not UTF-8 travels as a lone surrogate (PEP 383)."""
    return name.encode("utf-8", "surrogateescape")


def described(step: str, path: bytes, code: int) -> bytes:
    """A failure as it travels."""
    return json.dumps({"step": step, "path": text(path), "errno": code}).encode()
