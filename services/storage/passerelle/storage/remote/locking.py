"""Who writes to the part of an upload has it locked, so that another writer knows when it has ended."""

import fcntl
import time

SECONDS = 5.0
"""How long one waits for a writer. Its connection may have been cut without its knowledge, so it may never end."""
_INTERVAL = 0.02


def lock(fd: int, how: int = fcntl.LOCK_EX) -> None:
    """Lock the open file, as soon as no other process has it locked, or after SECONDS without."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            return fcntl.flock(fd, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return None
            time.sleep(_INTERVAL)
        except OSError:  # a filesystem without locks
            return None
