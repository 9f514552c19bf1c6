"""Tidying up after transfers whose jobs could not: cancelled before they began, killed, lost with their node.

Nothing is remembered for it. A transfer that is not over has its file in the directory where the user's jobs work
(`private_files`), which names the job and what it leaves; its scheduler says what became of that job.
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
        """Of the caller's jobs that are not over (None) or ended in the last hour: whether they ended well."""
        ...


class Transfers(Protocol):
    """The files of transfers on one system, as the current caller; see `PrivateFiles`."""

    async def unfinished(
        self, directory: str, exclude: Container[str], limit: int
    ) -> Sequence[Unfinished]:
        """At most `limit` transfers with a file in the directory, without those whose paths are in `exclude`."""
        ...

    async def read(self, paths: Sequence[str]) -> Sequence[Unfinished]:
        """What these files say now, without those that are gone."""
        ...

    async def discard(self, path: str) -> None:
        """Remove the file of a transfer."""
        ...


class _Watch:
    """One user's transfers that are not over, by the paths of their files."""

    def __init__(self, who: Caller) -> None:
        self.caller = who
        self.transfers: dict[str, Unfinished] = {}
        self._requested = asyncio.Event()
        self.stale = True  # there may be transfers that it does not hold yet
        self.refused = False  # the token
        self._unknown_since: dict[str, float] = {}

    @property
    def asleep(self) -> bool:
        """Whether the user's token is over, or will be soon."""
        return self.refused or self.caller.expires < time.time() + _TOO_LATE

    def wake(self, who: Caller) -> None:
        """Look at once, with this token."""
        self.caller, self.refused = who, False
        self._requested.set()

    async def wait_for_request(self, seconds: float) -> bool:
        """Wait for so long at most; whether a request came."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._requested.wait(), seconds)
        requested = self._requested.is_set()
        self._requested.clear()
        return requested

    def learn(self, transfers: Sequence[Unfinished]) -> None:
        """Note what files say."""
        self.transfers.update((transfer.path, transfer) for transfer in transfers)

    def forget(self, path: str) -> None:
        """Nothing is left to do about that transfer."""
        self.transfers.pop(path, None)
        self._unknown_since.pop(path, None)

    def over(self, ends: Mapping[str, bool | None]) -> list[str]:
        """The transfers whose job has ended, or has not been heard of for long enough."""
        return [path for path, transfer in self.transfers.items() if self._is_over(transfer, ends)]

    def _is_over(self, transfer: Unfinished, ends: Mapping[str, bool | None]) -> bool:
        if transfer.job_id in ends:
            self._unknown_since.pop(transfer.path, None)
            return ends[transfer.job_id] is not None
        now = time.monotonic()
        return now - self._unknown_since.setdefault(transfer.path, now) >= _DOUBT


class Tidying:
    """Tidies up after the transfers of one system, in the background, each as the user whose it is.

    A user's transfers are looked at whenever he asks for one, and from then on while any of them is not over and his
    token lives. After that, it is up to his next request, whatever it asks of the system. What is left meanwhile is of
    no use for long: URLs expire, and the store has a lifecycle.
    """

    def __init__(
        self,
        system: System,
        files: Files,
        transfers: Transfers,
        compute: Compute,
        methods: Iterable[object],
    ) -> None:
        """`methods` are the system's staging methods; those that are `LeavesElsewhere` tidy up there."""
        self._system = system
        self._files = files
        self._transfers = transfers
        self._compute = compute
        self._elsewhere = [m for m in methods if isinstance(m, LeavesElsewhere)]
        self._watches: dict[tuple[str, str, str], _Watch] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def watch(self) -> None:
        """Look after the current caller's transfers from now on, with his present token."""
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
        """Go on with the current caller's token, where that has expired with which his transfers were looked after."""
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
        """Do what can be done now; whether there may be more to do."""
        if not watch.asleep:
            with caller.bind(watch.caller):
                await self._look(watch)
        return watch.stale or bool(watch.transfers)

    async def _look(self, watch: _Watch) -> None:
        """What fails for a while is tried again at the next look."""
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
        """Learn of transfers, and of jobs that had not been noted yet."""
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
        """What files say now; transfers without one are over, and have left nothing."""
        transfers = await self._transfers.read(paths) if paths else ()
        watch.learn(transfers)
        for path in {*paths} - {transfer.path for transfer in transfers}:
            watch.forget(path)
        return transfers

    async def _end(self, watch: _Watch, ends: Mapping[str, bool | None]) -> None:
        """Tidy up after the transfers that are over."""
        over = watch.over(ends)
        before = {path: watch.transfers[path] for path in over}
        for transfer in await self._read(watch, over):
            if transfer == before[transfer.path]:  # else its job has been noted only now
                with log_fields.bound(transfer=transfer.id, job_id=transfer.job_id):
                    await self._tidy(transfer, well=ends.get(transfer.job_id) or False)
                watch.forget(transfer.path)

    async def _tidy(self, transfer: Unfinished, *, well: bool) -> None:
        left = transfer.leftovers
        brought_out = well and not left.part  # and is there to be fetched
        if left.elsewhere and not brought_out and not await self._removed_elsewhere(left.elsewhere):
            return
        if left.part and not await self._removed_here(left.part):
            return
        await self._transfers.discard(transfer.path)
        log.info("tidied up after the transfer of job %s", transfer.job_id or "unknown")

    async def _removed_elsewhere(self, elsewhere: Mapping[str, str]) -> bool:
        """Whether the transfer was one of our methods: where several sites serve a system, it need not be."""
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
