"""Tidying up after transfers whose jobs could not: those cancelled before they began, killed, or lost with their node.

All state is on the system. An unfinished transfer has a file in the working directory of the user's jobs
(`private_files`), which names the job and its leftovers. The scheduler has the job's state.
"""

import asyncio
import errno
import logging
import time
from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from passerelle.runtime import background, caller, log_fields
from passerelle.runtime.caller import Caller
from passerelle.runtime.config.site import System
from passerelle.runtime.errors import ApiError, FailedPrecondition, Forbidden, Unauthenticated
from passerelle.storage.errors import FileError, Outside
from passerelle.storage.files.port import Files
from passerelle.storage.jobs.port import work_dir
from passerelle.storage.jobs.private_files import Unfinished
from passerelle.storage.staging.port import LeavesElsewhere

log = logging.getLogger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 20.0  # seconds between two looks
_GROWTH = 1.3
# Seconds that a job may be unknown: submitting may take as long, and several compute services, a scheduler and its
# accounting need a moment to agree.
_DOUBT = 180.0
_LONGEST_SLEEP = (
    86400.0  # seconds without a token that lives; as long as URLs do, unless a site says otherwise
)
# Seconds before its end from which on a token may not be accepted any more: `min_token_life` of auth, and some.
_TOO_LATE = 45.0
_MOST_TRANSFERS = 1000  # of one user that are watched at once
_MOST_USERS = 1000
_GIVE_UP = (Forbidden, FailedPrecondition, FileError)


class Compute(Protocol):
    """The compute service, as the current caller."""

    async def ends(self, system: str) -> Mapping[str, bool | None]:
        """By id, whether each job of the caller that ended in the last hour succeeded; None for unfinished jobs."""
        ...


class Transfers(Protocol):
    """The files of transfers on one system, as the current caller; see `PrivateFiles`."""

    async def unfinished(
        self, directory: str, exclude: Container[str], limit: int
    ) -> Sequence[Unfinished]:
        """At most `limit` transfers with a file in the directory, without those whose paths are in `exclude`."""
        ...

    async def read(self, paths: Sequence[str]) -> Sequence[Unfinished]:
        """The present content of these files, without those that are gone."""
        ...

    async def discard(self, path: str) -> None:
        """Remove the file of a transfer."""
        ...


class _Watch:
    """One user's unfinished transfers, by the paths of their files."""

    def __init__(self, who: Caller) -> None:
        self.caller = who
        self.transfers: dict[str, Unfinished] = {}
        self._requested = asyncio.Event()
        self.stale = True  # there may be transfers that it has not read yet
        self.refused = False  # the user's token was refused
        self._unknown_since: dict[str, float] = {}

    @property
    def asleep(self) -> bool:
        """Whether the user's token has expired, expires soon, or was refused."""
        return self.refused or self.caller.expires < time.time() + _TOO_LATE

    def wake(self, who: Caller) -> None:
        """Check the transfers at once, with this caller's token."""
        self.caller, self.refused = who, False
        self._requested.set()

    async def wait_for_request(self, seconds: float) -> bool:
        """Wait for a request of the user, for at most that many seconds; whether one came."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._requested.wait(), seconds)
        requested = self._requested.is_set()
        self._requested.clear()
        return requested

    def learn(self, transfers: Sequence[Unfinished]) -> None:
        """Add transfers, or replace their earlier values."""
        self.transfers.update((transfer.path, transfer) for transfer in transfers)

    def forget(self, path: str) -> None:
        """Drop the transfer with that file."""
        self.transfers.pop(path, None)
        self._unknown_since.pop(path, None)

    def over(self, ends: Mapping[str, bool | None]) -> list[str]:
        """The paths of transfers whose job has ended, or was unknown to the scheduler for _DOUBT seconds."""
        return [path for path, transfer in self.transfers.items() if self._is_over(transfer, ends)]

    def _is_over(self, transfer: Unfinished, ends: Mapping[str, bool | None]) -> bool:
        if transfer.job_id in ends:
            self._unknown_since.pop(transfer.path, None)
            return ends[transfer.job_id] is not None
        now = time.monotonic()
        return now - self._unknown_since.setdefault(transfer.path, now) >= _DOUBT


class Tidying:
    """Tidies up after the transfers of one system, in the background, each as its own user.

    A user's transfers are checked when the user begins one, and from then on while any is unfinished and the token is
    valid. After that the user's next request to the system, of any kind, resumes it. Leftovers are harmless meanwhile:
    URLs expire, and the store removes old objects.
    """

    def __init__(
        self,
        system: System,
        files: Files,
        transfers: Transfers,
        compute: Compute,
        methods: Iterable[object],
    ) -> None:
        """`methods` are the system's staging methods; those that are `LeavesElsewhere` remove their own leftovers."""
        self._system = system
        self._files = files
        self._transfers = transfers
        self._compute = compute
        self._elsewhere = [m for m in methods if isinstance(m, LeavesElsewhere)]
        self._watches: dict[tuple[str, str, str], _Watch] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def watch(self) -> None:
        """Tidy up after the current caller's transfers from now on, with the present token."""
        me = caller.current()
        watch = self._watches.get(me.identity)
        if watch is not None:
            watch.stale = True
            watch.wake(me)
        elif len(self._watches) < _MOST_USERS:
            watch = self._watches[me.identity] = _Watch(me)
            fields = me.log_fields | {"system": self._system.name}
            task = background.start(self._watched(watch), **fields)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def resume(self) -> None:
        """Continue with the current caller's token, if the watch of this caller's transfers has an expired one."""
        me = caller.current()
        watch = self._watches.get(me.identity)
        if watch is not None and watch.asleep:
            watch.wake(me)

    async def close(self) -> None:
        """End all watches."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _watched(self, watch: _Watch) -> None:
        pause = _FIRST_PAUSE
        try:
            while await self._step(watch):
                asleep = watch.asleep
                requested = await watch.wait_for_request(_LONGEST_SLEEP if asleep else pause)
                if asleep and not requested:
                    return
                pause = _FIRST_PAUSE if requested else min(pause * _GROWTH, _LONGEST_PAUSE)
        except _GIVE_UP as error:
            log.info("unfinished transfers wait for another request of their user: %s", error)
        except Exception:
            log.exception("unfinished transfers wait for another request of their user")
        finally:
            del self._watches[watch.caller.identity]

    async def _step(self, watch: _Watch) -> bool:
        """Check the transfers once; whether there may be more to do."""
        if not watch.asleep:
            with caller.bind(watch.caller):
                await self._look(watch)
        return watch.stale or bool(watch.transfers)

    async def _look(self, watch: _Watch) -> None:
        """Find transfers, and tidy up after those that have ended. Temporary errors are left to the next check."""
        try:
            await self._find(watch)
            if watch.transfers:
                await self._end(watch, await self._compute.ends(self._system.name))
        except _GIVE_UP:
            raise
        except Unauthenticated:
            watch.refused = True
        except ApiError as error:
            log.info("unfinished transfers cannot be looked after now: %s", error)

    async def _find(self, watch: _Watch) -> None:
        """Read the files of new transfers, and those to which no job was written yet."""
        if watch.stale:
            watch.stale = False
            room = _MOST_TRANSFERS - len(watch.transfers)
            try:
                directory = work_dir(self._system)
                watch.learn(await self._transfers.unfinished(directory, watch.transfers, room))
            except BaseException:
                watch.stale = True
                raise
        nameless = [path for path, transfer in watch.transfers.items() if not transfer.job_id]
        await self._read(watch, nameless)

    async def _read(self, watch: _Watch, paths: Sequence[str]) -> Sequence[Unfinished]:
        """The present content of files. Transfers without a file have left nothing, and are dropped."""
        transfers = await self._transfers.read(paths) if paths else ()
        watch.learn(transfers)
        for path in {*paths} - {transfer.path for transfer in transfers}:
            watch.forget(path)
        return transfers

    async def _end(self, watch: _Watch, ends: Mapping[str, bool | None]) -> None:
        """Tidy up after the transfers whose jobs have ended."""
        over = watch.over(ends)
        before = {path: watch.transfers[path] for path in over}
        for transfer in await self._read(watch, over):
            if transfer == before[transfer.path]:  # otherwise its job was written only now
                with log_fields.bound(transfer=transfer.id, job_id=transfer.job_id):
                    await self._tidy(transfer, well=ends.get(transfer.job_id) or False)
                watch.forget(transfer.path)

    async def _tidy(self, transfer: Unfinished, *, well: bool) -> None:
        left = transfer.leftovers
        brought_out = well and not left.part  # the client fetches it from there
        if left.elsewhere and not brought_out and not await self._removed_elsewhere(left.elsewhere):
            return
        if left.part and not await self._removed_here(left.part):
            return
        await self._transfers.discard(transfer.path)
        log.info("tidied up after the transfer of job %s", transfer.job_id or "unknown")

    async def _removed_elsewhere(self, elsewhere: Mapping[str, str]) -> bool:
        """Remove leftovers outside of the system; False when no method here knows them. Another site that serves the
        same system may have left them."""
        return any([await method.remove(elsewhere) for method in self._elsewhere])

    async def _removed_here(self, path: str) -> bool:
        try:
            await self._files.remove(path)
        except (FileError, Outside) as error:
            if isinstance(error, FileError) and error.errno == errno.ENOENT:
                return True
            log.warning("a transfer's unfinished file cannot be removed: %s", error)
            return False
        return True
