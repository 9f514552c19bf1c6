"""`passerelle up`: every process of a site on one machine, from one configuration file."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

from passerelle.cli.up import logs, shell_lines, site_file, tokens
from passerelle.cli.up import ready as up_ready
from passerelle.cli.up.logs import LogFile, SiteLogs
from passerelle.cli.up.standby import Standby
from passerelle.cli.up.supervisor import BadConfiguration, CannotRun, Child, Supervisor
from passerelle.gateway import tls_files
from passerelle.gateway.config import Logs, Tls
from passerelle.runtime.config.site import ConfigError, load
from passerelle.runtime.serving import sockets
from passerelle.runtime.serving.sockets import listening

_READY_SECONDS = 60.0
_LOG_LINES = 12
_GRACE = 12.0  # seconds to end after SIGTERM; somewhat more than a server's drain

ENVOY = "envoy"
"""The name of the one process of a site that is not ours."""

PARENT = "PASSERELLE_PARENT"
"""The environment variable that tells a child the process id without which it must not live."""


class CannotStart(Exception):
    """The site did not come up; the text says why."""


class Up:
    """One run of a site: `data` is its configuration, checked and completed.

    `port_from` says where the public port was chosen, to an operator who has to choose another.
    """

    def __init__(
        self, data: dict[str, Any], *, port_from: str, verbose: bool, as_json: bool
    ) -> None:
        self._port_from = port_from
        self._verbose = verbose
        self._as_json = as_json
        tls = data["gateway"].get("tls")
        self._tls = Tls(**tls) if tls else None
        self._url = up_ready.public_url(data["gateway"]["listen"], tls=bool(tls))
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
            tls_files.require_pair(self._tls)
        async with AsyncExitStack() as stack:
            stack.callback(self._logs.close)
            bounding = asyncio.create_task(self._logs.keep_bounded(self._audit_log))
            stack.callback(bounding.cancel)
            directory = stack.enter_context(site_file.run_directory(self._data))
            # Kept open here, so that their clients wait while the server restarts.
            kept = {name: stack.enter_context(listening(name)) for name in self._development}
            standby = Standby(self._data["gateway"]["listen"])
            stack.push_async_callback(standby.close)
            children = self._children(
                directory, [found.fileno() for found in kept.values()], standby
            )
            supervisor = Supervisor(
                children,
                # Two arenas are enough for processes that do their work in one thread, and save memory.
                environment={
                    PARENT: str(os.getpid()),
                    "MALLOC_ARENA_MAX": "2",
                    **sockets.environment(kept),
                },
                log_of=self._log_of,
                tell=partial(self._tell, level="WARNING"),
            )
            stopped = _on_signals(supervisor)
            names = ", ".join(child.name for child in children)
            self._tell(f"starting {names}; logs: {self._where}")
            try:
                await supervisor.run(self._serve(supervisor, children, directory, stopped))
            except BadConfiguration as error:
                why = error.reported or f"{error}\n{self._last_words(error.child)}"
                raise ConfigError(why) from None
            except CannotRun as error:
                raise CannotStart(f"{error}\n{self._last_words(error.child)}") from None
            self._tell("stopped")

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
        self._tell("stopping")

    async def _ready(self, supervisor: Supervisor, children: Sequence[Child]) -> None:
        """Return when every process has said that it works, and a request through all of them has succeeded."""
        waiting = {child.name for child in children}

        async def one(child: Child) -> None:
            # Envoy cannot report; it works when what it leads to answers.
            await (self._answering() if child.name == ENVOY else supervisor.ready(child))
            waiting.discard(child.name)
            self._tell(f"{child.name} listens on {', '.join(child.addresses)}")

        try:
            async with asyncio.timeout(_READY_SECONDS):
                await asyncio.gather(*(one(child) for child in children))
        except TimeoutError:
            what = ", ".join(sorted(waiting))
            raise CannotStart(f"not ready after {_READY_SECONDS:.0f} s; missing: {what}") from None

    async def _answering(self) -> None:
        await up_ready.answering(self._url, self._tls.cert if self._tls else None)

    def _announce(self, directory: Path) -> None:
        try:
            token = tokens.development_token(load(directory / "site.yaml"))["access_token"]
        except (ConfigError, tokens.NoToken):
            token = None
        if self._as_json:
            ready = {"ready": self._url, "token": token, "logs": self._where}
            print(json.dumps({**ready, "pid": os.getpid()}), flush=True)
            return
        certificate = self._tls.cert if self._tls else None
        lines = shell_lines.lines_to_copy(self._url, token, certificate)
        print("\n".join((f"READY {self._url}", *lines)), flush=True)

    @property
    def _development(self) -> Sequence[str]:
        """The addresses of the development servers."""
        parts = (self._data.get("development") or {}).values()
        return [part["listen"] for part in parts if part]

    def _children(self, directory: Path, kept: Sequence[int], standby: Standby) -> list[Child]:
        """Every process of the site; the development servers inherit `kept`, Envoy has a deputy.

        Stopped first: what users' calls run on, then what that needs. Envoy is the last: it carries the last answers
        out.
        """

        def child(name: str, *addresses: str, **more: Any) -> Child:
            # -P: whatever lies in the current directory is not ours to import.
            command = (sys.executable, "-P", "-m", "passerelle.cli.main", "serve", name)
            argv = (*command, "--config", str(directory / "site.yaml"))
            return Child(name, argv, addresses, **{"grace": _GRACE, **more})

        services = [
            child(
                name,
                self._data["services"][name]["address"],
                stop_order=1 if name == "auth" else 0,
            )
            for name in site_file.SERVICES
        ]
        if self._development:
            more = {"stop_order": 1, "descriptors": tuple(kept)}
            services.append(child("development", *self._development, **more))
        last = {"stop_order": 2, "grace": 3.0, "on_death": standby.take_over}
        return [*services, child(ENVOY, self._data["gateway"]["listen"], **last)]

    def _log_of(self, child: Child) -> LogFile | None:
        return None if self._verbose else self._logs.file(child.name)

    @property
    def _where(self) -> str:
        return "here" if self._verbose else str(self._logs.directory)

    def _last_words(self, child: Child) -> str:
        log = self._log_of(child)
        lines = log.last_lines(_LOG_LINES) if log else []
        return "\n".join(f"  {child.name}: {line}" for line in lines)

    def _tell(self, text: str, level: str = "INFO") -> None:
        """Tell the person at the terminal what happens, and the log, for those who come later."""
        print(f"passerelle: {text}", file=sys.stderr, flush=True)
        self._logs.note(text, level)


def _on_signals(supervisor: Supervisor) -> asyncio.Event:
    """An event that the first signal sets; the second ends everything at once."""
    stopped = asyncio.Event()

    def on_signal() -> None:
        if stopped.is_set():
            supervisor.kill()
        stopped.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    return stopped
