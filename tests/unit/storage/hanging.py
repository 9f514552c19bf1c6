"""Operations for the helper in tests: what a filesystem does that hangs, and what its threads do."""

import os
import sys
import threading

from passerelle.storage.remote.outcome import Call
from passerelle.storage.remote.registry import FOLLOWED, operation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@operation("hang", path=FOLLOWED)
def hang(call: Call, path: bytes) -> bytes:
    """Open the named pipe, which nobody can interrupt, as it is with a file on a dead server."""
    os.close(os.open(path, os.O_RDONLY))
    call.check()
    return b"came"


@operation("have_patience")
def have_patience(call: Call) -> bytes:
    """Let no operation count as slow or overdue from now on, however busy the machine is."""
    leading: Any = sys.modules["passerelle.storage.remote.helper.leading"]
    leading.PATIENCE = leading.SLOW = 3600
    return b""


@operation("thread")
def thread(call: Call) -> bytes:
    """Which thread answers."""
    return b"%d" % threading.get_ident()
