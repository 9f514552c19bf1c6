"""A process of a site reports to the `passerelle up` that started it: that it is ready, or what keeps it from starting.

The report goes through a pipe that the child inherits, so that no other process can send it. The idea is that of
systemd's sd_notify(3).
"""

import os

VARIABLE = "PASSERELLE_REPORT"
"""The environment variable that names the pipe's descriptor to the child."""

READY = "ready"
"""The report of a child that is ready; any other text says why it cannot start."""


def discard() -> None:
    """Close the pipe before another program, which does not know of it, replaces this process."""
    descriptor = os.environ.pop(VARIABLE, None)
    if descriptor is not None:
        os.close(int(descriptor))


def send(text: str) -> None:
    """Send the report, once; does nothing when no parent waits for it."""
    descriptor = os.environ.pop(VARIABLE, None)
    if descriptor is not None:
        with os.fdopen(int(descriptor), "w") as pipe:
            pipe.write(text)
