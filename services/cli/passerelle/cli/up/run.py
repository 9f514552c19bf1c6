"""One run of `passerelle up`: every process of a site on one machine, from one configuration file."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

from passerelle.cli.up import logs, readiness, site_file
from passerelle.cli.up.development_token import NoToken, development_token
from passerelle.cli.up.example_commands import example_commands
from passerelle.cli.up.logs import LogFile, SiteLogs
from passerelle.cli.up.standby_listener import StandbyListener
from passerelle.cli.up.supervisor import BadConfiguration, CannotRun, Child, Supervisor
from passerelle.gateway import certificates
from passerelle.gateway.config import Logs, Tls
from passerelle.runtime.config.services import SERVICES, Endpoint
from passerelle.runtime.config.site import ConfigError, load
from passerelle.runtime.serving import sockets
from passerelle.runtime.serving.sockets import listening

_READY_SECONDS = 60.0
_LOG_LINES = 12
_GRACE = 12.0  # seconds to end after SIGTERM; somewhat more than a server takes to finish its calls

ENVOY = "envoy"
"""The name of the one process of a site that is not ours."""

PARENT = "PASSERELLE_PARENT"
"""The environment variable that gives a child the process id of its parent, with which it must end."""


def process_name(service: str, number: int, workers: int) -> str:
    """The name of worker `number` of so many: `storage.1`; the service's alone where it has one."""
    return service if workers == 1 else f"{service}.{number}"


class CannotStart(Exception):
    """The site did not come up; the text says why."""


class SiteRun:
    """One run of a site: `data` is its configuration, checked and completed.

    `port_from` names the setting that chose the public port, for the operator who has to choose another.
    """

    def __init__(
        self, data: dict[str, Any], *, port_from: str, verbose: bool, as_json: bool
    ) -> None:
        self._port_from = port_from
        self._verbose = verbose
        self._as_json = as_json
        tls = data["gateway"].get("tls")
        self._tls = Tls(**tls) if tls else None
        self._url = readiness.public_url(data["gateway"]["listen"], tls=bool(tls))
        settings, port = Logs(**data["gateway"].get("logs") or {}), self._url.rpartition(":")[2]
        self._logs = SiteLogs(logs.directory(settings, int(port)), settings)
        own = self._logs.directory / logs.AUDIT
        self._audit_log = Path(data["services"].get("audit_log") or own)
        audited = {**data["services"], "audit_log": str(self._audit_log)}
        self._data = {**data, "services": audited}

    async def run(self) -> None:
        """Serve until SIGINT, SIGTERM or SIGHUP; raises CannotStart when the site does not come up or stay up.

        Raises ConfigError when a port is taken, or a service refuses its configuration.
        """
        site_file.require_free_ports(self._data, self._port_from)
        if self._tls:
            certificates.require_pair(self._tls)
        async with AsyncExitStack() as stack:
            stack.callback(self._logs.close)
            bounding = asyncio.create_task(self._logs.keep_bounded(self._audit_log))
            stack.callback(bounding.cancel)
            directory = stack.enter_context(site_file.run_directory(self._data))
            # Kept open here, so that their clients wait while the server restarts.
            listening_sockets = {
                name: stack.enter_context(listening(name)) for name in self._development
            }
            standby = StandbyListener(self._data["gateway"]["listen"])
            stack.push_async_callback(standby.close)
            children = self._children(
                directory, [socket.fileno() for socket in listening_sockets.values()], standby
            )
            supervisor = Supervisor(
                children,
                # Two arenas are enough for processes that do their work in one thread, and save memory.
                environment={
                    PARENT: str(os.getpid()),
                    "MALLOC_ARENA_MAX": "2",
                    **sockets.environment(listening_sockets),
                },
                log_of=self._log_of,
                report=partial(self._report, level="WARNING"),
            )
            stopped = _stop_on_signals(supervisor)
            names = ", ".join(child.name for child in children)
            self._report(f"starting {names}; logs: {self._log_place}")
            try:
                await supervisor.run(self._serve(supervisor, children, directory, stopped))
            except BadConfiguration as error:
                why = error.reported or f"{error}\n{self._last_lines(error.child)}"
                raise ConfigError(why) from None
            except CannotRun as error:
                raise CannotStart(f"{error}\n{self._last_lines(error.child)}") from None
            self._report("stopped")

    async def _serve(
        self,
        supervisor: Supervisor,
        children: Sequence[Child],
        directory: Path,
        stopped: asyncio.Event,
    ) -> None:
        stopping = asyncio.create_task(stopped.wait())
        ready = asyncio.create_task(self._ready(supervisor, children))
        await asyncio.wait([ready, stopping], return_when=asyncio.FIRST_COMPLETED)
        if not stopped.is_set():
            ready.result()
            supervisor.settled = True
            await asyncio.to_thread(self._announce, directory)
        ready.cancel()
        await stopping
        self._report("stopping")

    async def _ready(self, supervisor: Supervisor, children: Sequence[Child]) -> None:
        """Return when every process has said that it works, and a request through all of them has succeeded."""
        waiting = {child.name for child in children}

        async def ready(child: Child) -> None:
            # Envoy cannot report; it is ready when a request through it is answered.
            await (self._answers() if child.name == ENVOY else supervisor.ready(child))
            waiting.discard(child.name)
            self._report(f"{child.name} listens on {', '.join(child.addresses)}")

        try:
            async with asyncio.timeout(_READY_SECONDS):
                await asyncio.gather(*(ready(child) for child in children))
        except TimeoutError:
            what = ", ".join(sorted(waiting))
            raise CannotStart(f"not ready after {_READY_SECONDS:.0f} s; missing: {what}") from None

    async def _answers(self) -> None:
        await readiness.wait_until_answering(self._url, self._tls.cert if self._tls else None)

    def _announce(self, directory: Path) -> None:
        try:
            token = development_token(load(directory / "site.yaml"))["access_token"]
        except (ConfigError, NoToken):
            token = None
        if self._as_json:
            ready = {"ready": self._url, "token": token, "logs": self._log_place}
            print(json.dumps({**ready, "pid": os.getpid()}), flush=True)
            return
        certificate = self._tls.cert if self._tls else None
        lines = example_commands(self._url, token, certificate)
        print("\n".join((f"READY {self._url}", *lines)), flush=True)

    @property
    def _development(self) -> Sequence[str]:
        """The addresses of the development servers, host:port."""
        parts = (self._data.get("development") or {}).values()
        return [part["listen"] for part in parts if part]

    def _children(
        self, directory: Path, descriptors: Sequence[int], standby: StandbyListener
    ) -> list[Child]:
        """Every process of the site. The development servers inherit `descriptors`; `standby` listens for Envoy.

        The services that answer users are stopped first, then those that they need, and Envoy last, because the last
        answers go out through it.
        """

        def child(name: str, *addresses: str, **more: Any) -> Child:
            # -P: Python must not import modules from the current directory.
            command = (sys.executable, "-P", "-m", "passerelle.cli.main", "serve", name)
            argv = (*command, "--config", str(directory / "site.yaml"))
            return Child(name, argv, addresses, **{"grace": _GRACE, **more})

        services = [
            child(process_name(name, number, one.count), address, stop_order=int(name == "auth"))
            for name, one in self._endpoints()
            for number, address in enumerate(one.addresses)
        ]
        if self._development:
            more = {"stop_order": 1, "descriptors": tuple(descriptors)}
            services.append(child("development", *self._development, **more))
        envoy = {"stop_order": 2, "grace": 3.0, "on_death": standby.take_over}
        return [*services, child(ENVOY, self._data["gateway"]["listen"], **envoy)]

    def _endpoints(self) -> Iterator[tuple[str, Endpoint]]:
        for name in SERVICES:
            yield name, Endpoint(**self._data["services"][name])

    def _log_of(self, child: Child) -> LogFile | None:
        return None if self._verbose else self._logs.file(child.name)

    @property
    def _log_place(self) -> str:
        return "here" if self._verbose else str(self._logs.directory)

    def _last_lines(self, child: Child) -> str:
        log = self._log_of(child)
        lines = log.last_lines(_LOG_LINES) if log else []
        return "\n".join(f"  {child.name}: {line}" for line in lines)

    def _report(self, text: str, level: str = "INFO") -> None:
        """Print what happens, and write it to the log."""
        print(f"passerelle: {text}", file=sys.stderr, flush=True)
        self._logs.note(text, level)


def _stop_on_signals(supervisor: Supervisor) -> asyncio.Event:
    """An event that the first signal sets; the second kills every process at once."""
    stopped = asyncio.Event()

    def on_signal() -> None:
        if stopped.is_set():
            supervisor.kill()
        stopped.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    return stopped
