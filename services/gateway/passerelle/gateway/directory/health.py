"""Background health checks with hysteresis: they block no request, and never turn a busy system into a dead one."""

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

from passerelle.gateway.directory.systems import Directory, Health, Service
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

_CONFIRM = 5.0  # seconds at most until a failure is looked at again, before it counts as one


# These come without any answer of the system itself; Forbidden when there is no credential to log in with, too.
_NOT_REACHED = (BackendUnavailable, DeadlineExceeded, Forbidden, Overloaded, Unauthenticated)


class Probe(Protocol):
    """Asks one thing of a system, as the account of its health checks; raises ApiError."""

    async def ready(self, system: System) -> None:
        """Return when asking makes sense, soon in any case: at a start, others start too."""
        ...

    async def scheduler(self, system: System) -> str | None:
        """Ask the scheduler whether it is there; its own words, if it has any."""
        ...

    async def filesystem(self, system: System, path: str) -> str | None:
        """Look at the root of a filesystem; what of the usual ways to it there is not, in words."""
        ...


@dataclass(frozen=True, slots=True)
class _Outcome:
    """One check that ended: `error` is None when it went well."""

    service: Service
    path: str | None
    began: datetime
    latency: float
    message: str | None = None
    error: Exception | None = None

    @property
    def failed(self) -> bool:
        """Whether it counts against the service; a full queue only tells that it is busy."""
        return self.error is not None and not isinstance(self.error, Overloaded)

    @property
    def reached(self) -> bool:
        """Whether an answer of the system itself came, good or bad."""
        if self.error is None:
            return True
        # A bare ApiError is a bug of ours, told by the service that has it.
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
        CHECKED.labels(system.name)  # shown before the first round has ended, too

    async def run(self) -> None:
        """Check until cancelled, at the system's interval give or take a tenth."""
        await self._probe.ready(self._system)
        while True:
            await self.round()
            await asyncio.sleep(self._pause() * random.uniform(0.9, 1.1))  # noqa: S311  # jitter

    async def round(self) -> None:
        """Check everything once, at the same time, and record how it fares."""
        system, probe = self._system, self._probe
        outcomes = await asyncio.gather(
            self._outcome(Service.SCHEDULER, None, probe.scheduler(system)),
            *(
                self._outcome(Service.FILESYSTEM, fs.path, probe.filesystem(system, fs.path))
                for fs in system.filesystems
            ),
        )
        scheduler, *filesystems = outcomes
        health = [self._judge(o) for o in (scheduler, _ssh(outcomes), *filesystems)]
        self._directory.record(system.name, health)
        self._measure(health)
        for found in health:
            self._log_change(found)

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
        # No word of a fault stands beside `healthy`, but one of a doubt.
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
        for found in health:
            labels = (self._system.name, str(found.service), found.path or "")
            HEALTHY.labels(*labels).set(found.healthy)
            CHECK_SECONDS.labels(*labels).set(found.latency)
        CHECKED.labels(self._system.name).set_to_current_time()

    def _log_change(self, health: Health) -> None:
        """Log a verdict that is not the last one's; that all is well at the beginning is no news."""
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
    """Logging in works when any check got an answer from the system; the quickest one tells how fast."""
    found = min(outcomes, key=lambda outcome: (not outcome.reached, outcome.latency))
    if found.reached:
        return _Outcome(Service.SSH, None, found.began, found.latency)
    return _Outcome(Service.SSH, None, found.began, found.latency, found.message, found.error)
