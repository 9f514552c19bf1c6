"""What a process of a site tells the `passerelle up` that started it: that it is ready, or what is wrong.

It is said over a pipe that the child inherits, so that nobody else can answer in its place. The idea is systemd's
sd_notify(3).
"""

import os

VARIABLE = "PASSERELLE_REPORT"
"""The environment variable that names the pipe's descriptor to the child."""

READY = "ready"
"""What a child says that works; anything else says why it cannot."""


def leave() -> None:
    """Keep the pipe from the program that takes this process over, which does not know of it."""
    descriptor = os.environ.pop(VARIABLE, None)
    if descriptor is not None:
        os.close(int(descriptor))


def report(text: str) -> None:
    """Say it, once; nothing happens without a parent that listens."""
    descriptor = os.environ.pop(VARIABLE, None)
    if descriptor is not None:
        with os.fdopen(int(descriptor), "w") as pipe:
            pipe.write(text)
