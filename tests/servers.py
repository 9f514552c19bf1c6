"""Servers that tests start."""


def ending_with_us(*command: str) -> tuple[str, ...]:
    """The command, so that what it starts gets SIGTERM when this process has ended, however it ends.

    A program that changes its user is not told (prctl(2), PR_SET_PDEATHSIG).
    """
    return ("setpriv", "--pdeathsig", "TERM", "--", *command)
