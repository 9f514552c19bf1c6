"""Background health checks of the systems. A system is unhealthy only after several failures in a row.

No request waits for them. A system that is only busy does not count as failed.
"""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from prometheus_client import Gauge

from passerelle.gateway.directory.checks import CHECKS, Check, Service
from passerelle.gateway.directory.systems import Directory, Health
from passerelle.runtime.config.site import System
from passerelle.runtime.errors import (
    ApiError,
    BackendUnavailable,
    DeadlineExceeded,
    Forbidden,
    Overloaded,
    Unauthenticated,
)

log = logging.getLogger(__name__)

HEALTHY = Gauge(
    "passerelle_system_healthy",
    "1 when a check of a system finds it healthy, else 0; `path` is a filesystem's.",
    ["system", "check", "path"],
)
CHECK_SECONDS = Gauge(
    "passerelle_system_check_seconds", "How long the last check took.", ["system", "check", "path"]
)
CHECKED = Gauge(
    "passerelle_system_checked_timestamp_seconds",
    "When the last round of checks ended, since the epoch; 0 before the first.",
    ["system"],
)

_CONFIRM = 5.0  # seconds at most until a failed check is repeated, while it does not count yet
_ORDER = list(Service)

# Errors that are raised without an answer of the system itself. Forbidden is, where there is no credential to log in.
_NOT_REACHED = (BackendUnavailable, DeadlineExceeded, Forbidden, Overloaded, Unauthenticated)


class Probe(Protocol):
    """Makes one request about a system, as the account of its health checks; raises ApiError."""

    async def ready(self, system: System) -> None:
        """Wait until the services answer, for a short time at most: when the site starts, they are starting, too."""
        ...

    async def ask(self, check: Check, system: System, path: str) -> str | None:
        """Make a check, about `path` unless that is empty. Raises ApiError when it fails.

        Returns the message of a check that succeeded, or None: the scheduler's own, or what the account lacks (SFTP,
        `python3`).
        """
        ...


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The outcome of one check; `error` is None when it succeeded."""

    service: Service
    path: str | None
    began: datetime
    latency: float
    message: str | None = None
    error: Exception | None = None

    @property
    def failed(self) -> bool:
        """Whether it counts as a failure; a full queue only means that the system is busy."""
        return self.error is not None and not isinstance(self.error, Overloaded)

    @property
    def reached(self) -> bool:
        """Whether the system itself answered, with a result or an error."""
        if self.error is None:
            return True
        # A plain ApiError is a bug in the service that answered.
        named = isinstance(self.error, ApiError) and type(self.error) is not ApiError
        return named and not isinstance(self.error, _NOT_REACHED)


class SystemChecks:
    """The checks of one system, round after round."""

    def __init__(self, system: System, probe: Probe, directory: Directory) -> None:
        self._system = system
        self._probe = probe
        self._directory = directory
        self._failures: Counter[tuple[Service, str | None]] = Counter()
        self._known: dict[tuple[Service, str | None], bool] = {}
        CHECKED.labels(system.name)  # so that the metric is there before the first round has ended

    async def run(self) -> None:
        """Check until cancelled, at the system's interval, varied by up to a tenth."""
        await self._probe.ready(self._system)
        while True:
            await self.round()
            await asyncio.sleep(self._pause() * random.uniform(0.9, 1.1))  # noqa: S311  # jitter

    async def round(self) -> None:
        """Check everything once, concurrently, and record the health."""
        system, probe = self._system, self._probe
        outcomes = await asyncio.gather(
            *(
                self._outcome(check.service, path or None, probe.ask(check, system, path))
                for check in CHECKS
                for path in check.paths(system)
            )
        )
        shown = sorted((*outcomes, _ssh(outcomes)), key=lambda one: _ORDER.index(one.service))
        health = [self._judge(outcome) for outcome in shown]
        self._directory.record(system.name, health)
        self._measure(health)
        for one in health:
            self._log_change(one)

    async def _outcome(
        self, service: Service, path: str | None, check: Awaitable[str | None]
    ) -> _Outcome:
        began, start = datetime.now(UTC), time.perf_counter()
        message: str | None = None
        error: Exception | None = None
        try:
            async with asyncio.timeout(self._system.probing.timeout):
                message = await check
        except TimeoutError:
            error = DeadlineExceeded("The check did not end in time.")
        except ApiError as failure:
            error = failure
        except Exception as failure:
            log.exception("health check failed unexpectedly")
            error = failure
        if error is not None:
            message = error.detail if isinstance(error, ApiError) else "Internal error."
        return _Outcome(service, path, began, time.perf_counter() - start, message, error)

    def _judge(self, outcome: _Outcome) -> Health:
        key = (outcome.service, outcome.path)
        self._failures[key] = self._failures[key] + 1 if outcome.failed else 0
        limit = self._system.probing.failures
        healthy = self._failures[key] < limit
        message = outcome.message
        # A healthy service has a message about its failures only while they are being counted.
        if healthy and outcome.error is not None:
            failed = self._failures[key]
            message = f"{failed} of {limit} checks failed: {message}" if failed else None
        return Health(
            service=outcome.service,
            path=outcome.path,
            healthy=healthy,
            message=message,
            checked=outcome.began,
            latency=outcome.latency,
        )

    def _measure(self, health: Sequence[Health]) -> None:
        for one in health:
            labels = (self._system.name, str(one.service), one.path or "")
            HEALTHY.labels(*labels).set(one.healthy)
            CHECK_SECONDS.labels(*labels).set(one.latency)
        CHECKED.labels(self._system.name).set_to_current_time()

    def _log_change(self, health: Health) -> None:
        """Log a change of health; a service that is healthy from the start is not logged."""
        key = (health.service, health.path)
        if self._known.get(key, True) == health.healthy:
            return
        self._known[key] = health.healthy
        what = f"{health.service} {health.path}" if health.path else str(health.service)
        extra = {"system": self._system.name, "check": what}
        if health.healthy:
            log.info("%s of system %s is healthy again", what, self._system.name, extra=extra)
        else:
            log.warning(
                "%s of system %s is unhealthy: %s",
                what,
                self._system.name,
                health.message,
                extra=extra,
            )

    def _pause(self) -> float:
        probing = self._system.probing
        unconfirmed = any(0 < count < probing.failures for count in self._failures.values())
        return min(probing.interval, _CONFIRM) if unconfirmed else probing.interval


def _ssh(outcomes: Sequence[_Outcome]) -> _Outcome:
    """The outcome for SSH: it works when the system answered any of the checks; its latency is that of the fastest."""
    best = min(outcomes, key=lambda outcome: (not outcome.reached, outcome.latency))
    if best.reached:
        return _Outcome(Service.SSH, None, best.began, best.latency)
    return _Outcome(Service.SSH, None, best.began, best.latency, best.message, best.error)
