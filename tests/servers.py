"""Servers that tests start."""


def ending_with_us(*command: str) -> tuple[str, ...]:
    """The command, so that what it starts gets SIGTERM when this process has ended, however it ends.

    The kernel sends it when the thread that started the command ends, so start servers from the main thread. A program
    that changes its user does not get it (prctl(2), PR_SET_PDEATHSIG).
    """
    return ("setpriv", "--pdeathsig", "TERM", "--", *command)
