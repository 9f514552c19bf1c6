"""Durations, times, numbers and exit codes as Slurm writes them, turned into our values.

Sources: the manual pages squeue(1), sacct(1) and sbatch(1) of Slurm 21.08 to 26.05.
"""

import re

_DURATION = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?(?:\.\d+)?")
_MAX_NUMBER = 0xFFFFFFFFFFFFFFFD  # the two numbers above it mean "infinite" and "no value" to Slurm


def number(text: str) -> int | None:
    """A decimal number; None for any other text, such as `N/A`, and for Slurm's "no value"."""
    digits = text.strip()
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 20):
        return None
    value = int(digits)
    return value if value <= _MAX_NUMBER else None


def epoch(text: str) -> int | None:
    """A time printed with SLURM_TIME_FORMAT=%s, in seconds since the epoch; None for `Unknown`, `N/A`, `None`."""
    return number(text) or None


def duration(text: str) -> int | None:
    """Seconds of a time span: `minutes`, `MM:SS`, `HH:MM:SS`, `D-HH`, `D-HH:MM` or `D-HH:MM:SS`.

    None for `UNLIMITED`, `Partition_Limit`, `NOT_SET`, `INVALID` and whatever else is no time span.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None or not text.isascii():
        return None
    days, *rest = match.groups()
    parts = [int(part) for part in rest if part is not None]
    if days is None and len(parts) < 3:
        parts.insert(0, 0)  # MM or MM:SS: there is no hour
    hours, minutes, seconds = (*parts, 0, 0)[:3]
    return int(days or 0) * 86400 + hours * 3600 + minutes * 60 + seconds


def exit_status(text: str) -> tuple[int | None, int | None]:
    """Exit code and signal of `code:signal`, or of the plain wait status that squeue printed before 23.02."""
    code, colon, signal = text.partition(":")
    if colon:
        return number(code), number(signal)
    status = number(code)
    if status is None:
        return None, None
    return (status >> 8) & 0xFF, status & 0x7F
