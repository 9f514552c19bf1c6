"""Which real things the tests exercised: kept during a run, printed as a table at its end.

A fixture that starts or finds a real server says so with `exercised`; one that cannot have it calls `missing`, which
skips the test, or fails it under PASSERELLE_TEST_STRICT=1.
"""

import os
from typing import NoReturn

import pytest

STRICT = os.environ.get("PASSERELLE_TEST_STRICT", "") not in ("", "0")

EXPECTED = (
    "Envoy",
    "Keycloak",
    "OpenSSH",
    "Slurm",
    "MinIO",
    "magic-wormhole",
    "pyfirecrest",
    "AiiDA",
    "embedded stack",
    "promtool",
    "systemd-analyze",
    "Go",
)
"""The real things that a complete run exercises."""

_exercised: dict[str, str] = {}
_missing: dict[str, str] = {}


def exercised(name: str, what: str) -> None:
    """Record that the real `name` is used; `what` is its version or origin."""
    _exercised.setdefault(name, what)


def missing(name: str, why: str) -> NoReturn:
    """Skip the test that needs `name`, or fail it in the strict mode."""
    _missing[name] = why
    if STRICT:
        pytest.fail(f"{name} is not to be had here: {why}", pytrace=False)
    pytest.skip(f"{name}: {why}")


def noted() -> tuple[dict[str, str], dict[str, str]]:
    """The real things that this process exercised, and those it missed."""
    return _exercised, _missing


def add(exercised: dict[str, str], missing: dict[str, str]) -> None:
    """Add the records of another process."""
    _exercised.update(exercised)
    _missing.update(missing)


def table() -> list[str]:
    """The lines of the table, for all that a complete run exercises."""
    rows = [(name, *_verdict(name)) for name in dict.fromkeys((*EXPECTED, *_exercised, *_missing))]
    width = max(len(name) for name, _, _ in rows)
    return [f"{name:{width}}  {verdict:13}  {what}" for name, verdict, what in rows]


def _verdict(name: str) -> tuple[str, str]:
    if name in _exercised:
        return "exercised", _exercised[name]
    return "not exercised", _missing.get(name, "no test that was run asked for it")
