"""One issuer's public keys: refreshed in the background, and used for a while when the issuer cannot be reached."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from passerelle.runtime import background
from passerelle.runtime.errors import BackendUnavailable
from passerelle.runtime.flight import Flights

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Key:
    """A public key, its id (None when it has none), and the JWS algorithms it may verify."""

    kid: str | None
    algorithms: frozenset[str]
    public: Any


class SourceFailed(Exception):
    """The keys could not be read; the text has the reason, for the log."""


class KeySource(Protocol):
    """Where an issuer publishes its keys."""

    name: str
    """Its name in messages."""

    async def keys(self) -> tuple[Key, ...]:
        """The keys that are valid now, at least one; raises SourceFailed."""
        ...


class KeySet:
    """The keys of one source.

    They are read every `refresh` seconds. An unknown key id makes us read again, but at most every `cooldown` seconds,
    so that forged key ids cannot cause more requests. While the source cannot be reached, the last keys are used for
    `grace` seconds after they should have been read again. A successful reading replaces all keys.
    """

    def __init__(
        self,
        source: KeySource,
        *,
        refresh: float,
        cooldown: float,
        grace: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._refresh = refresh
        self._cooldown = cooldown
        self._life = refresh + grace
        self._clock = clock
        self._keys: tuple[Key, ...] = ()
        self._read_at = -float("inf")
        self._forced_at = -float("inf")
        self._readings = Flights(lasting=True)  # a forced one is not repeated soon

    @property
    def name(self) -> str:
        """The source's name in messages."""
        return self._source.name

    @property
    def keys(self) -> tuple[Key, ...]:
        """The keys that were read last; none when they were read too long ago."""
        return self._keys if self._usable else ()

    async def find(self, kid: Any, algorithm: str) -> Key | None:
        """The key that a token's header names, or None; BackendUnavailable when no keys are known at all.

        A token without key id is verified only when exactly one key fits.
        """
        if self._usable and (key := self._match(kid, algorithm)):
            return key
        await self._read_again()
        if not self._usable:
            raise BackendUnavailable(
                f"The identity provider {self._source.name} cannot be reached, and its keys are not known."
            )
        return self._match(kid, algorithm)

    @asynccontextmanager
    async def kept_fresh(self) -> AsyncIterator["KeySet"]:
        """Read the keys now and again inside the block; never waits for the source."""
        async with background.running(self._keep()):
            yield self
        await self._readings.close()

    @property
    def _usable(self) -> bool:
        return self._clock() - self._read_at < self._life

    def _match(self, kid: str | None, algorithm: str) -> Key | None:
        fitting = [key for key in self._keys if algorithm in key.algorithms]
        if kid is None:
            return fitting[0] if len(fitting) == 1 else None
        return next((key for key in fitting if key.kid == kid), None)

    async def _read_again(self) -> None:
        if not self._readings:
            if self._clock() - self._forced_at < self._cooldown:
                return
            self._forced_at = self._clock()
        await self._read_once()

    async def _read_once(self) -> None:
        """Read the keys; callers at the same time share one reading."""
        await self._readings.run(self._source.name, self._read)

    async def _read(self) -> None:
        try:
            self._keys = await self._source.keys()
        except SourceFailed as error:
            log.warning("cannot read the keys of %s: %s", self._source.name, error)
        except Exception:  # an unforeseen error must not end the reading for good
            log.exception("cannot read the keys of %s", self._source.name)
        else:
            self._read_at = self._clock()

    async def _keep(self) -> None:
        while True:
            await self._read_once()
            fresh = self._clock() - self._read_at < self._refresh
            await asyncio.sleep(self._refresh if fresh else min(self._refresh, self._cooldown or 1))
