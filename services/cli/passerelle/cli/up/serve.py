"""`passerelle serve`: one process of a site, in the foreground."""

import ctypes
import gc
import os
import resource
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import mkdtemp
from typing import NoReturn

from passerelle.cli.up import startup_report
from passerelle.cli.up.run import ENVOY, PARENT, process_name
from passerelle.gateway.config import GatewaySection
from passerelle.runtime.config.site import ConfigError, SiteBase, load, section
from passerelle.runtime.serving import sockets

_PR_SET_PDEATHSIG = 1  # linux/prctl.h

GRPC_EXPERIMENTS = "-event_engine_listener,-event_engine_client"
"""Switches of gRPC's core, for the variable of this name.

Without its event engine, one thread of gRPC waits for the network and works on what comes. With it, threads hand each
event to one another: of a stat, 7 futex(2) calls instead of 1, and a tenth more CPU time of the storage service
(grpcio 1.85.1; docs/performance.md). Another value in the environment is left as it is.
"""


def serve(process: str, config: Path) -> None:
    """Run a process until SIGTERM or SIGINT, by its name; with `envoy`, become Envoy.

    Raises ConfigError for a bad file, an unknown process, and whatever keeps it from starting with that file.
    """
    _end_with_parent()
    _raise_file_limit()
    try:
        _serve(process, config)
    except ConfigError as error:
        startup_report.send(str(error))
        raise


def _serve(process: str, config: Path) -> None:
    site = load(config)
    if process == ENVOY:
        _become_envoy(site, config)
    service, number = _worker(process)
    workers = site.services.workers(service)
    if number >= workers:
        raise ConfigError(f"{process}: services.{service}.workers is {workers}, counted from 0")
    site = site.model_copy(update={"services": site.services.of_worker(service, number)})
    os.environ.setdefault("GRPC_EXPERIMENTS", GRPC_EXPERIMENTS)
    import uvloop

    from passerelle.runtime.pipeline.log_lines import configure_logging

    try:
        name = process_name(service, number, workers)
        configure_logging(name, audit_log=site.services.audit_log)
    except OSError as error:
        raise ConfigError(f"services.audit_log: {error.filename}: {error.strerror}") from None
    uvloop.run(_run(service, site))


def _worker(process: str) -> tuple[str, int]:
    """The service, and which of its workers a process is: the first one where the name has no number."""
    service, _, number = process.partition(".")
    return (service, int(number)) if number.isascii() and number.isdecimal() else (process, 0)


async def _run(service: str, site: SiteBase) -> None:
    from passerelle.runtime.config import plugins
    from passerelle.runtime.serving.server import until_stopped

    async with AsyncExitStack() as stack:
        try:
            running = plugins.load("passerelle.services", service)
            await stack.enter_async_context(running(site))
        except LookupError as error:
            if isinstance(error, KeyError | IndexError):
                raise  # a bug, not a message for the operator
            raise ConfigError(str(error)) from error
        _collect_garbage_seldom()
        startup_report.send(startup_report.READY)
        await until_stopped()


_YOUNG_OBJECTS = 10_000
"""How many objects are made before Python looks for garbage among them; its own choice is 700."""


def _collect_garbage_seldom() -> None:
    """Leave what the start has made out of every search for garbage, and search less often.

    Most of what a call makes is freed when nothing refers to it any more. Only cycles wait for a search, and at 64
    calls at once each search finds little but calls under way: a stat took a twentieth more CPU time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS)


def _become_envoy(site: SiteBase, config: Path) -> NoReturn:
    from passerelle.gateway import certificates
    from passerelle.gateway.envoy import configuration

    settings = section(site, GatewaySection)
    supervised = PARENT in os.environ
    # While Envoy is down, `up` itself listens on its port, with SO_REUSEPORT.
    sockets.require_free("gateway.listen", settings.listen, shared=supervised)
    if settings.admin:
        sockets.require_free("gateway.admin", settings.admin)
    if settings.tls:
        certificates.require_pair(settings.tls)
    # `up` keeps the site file in a private directory; without `up`, one is made for the rendered configuration.
    directory = config.parent if supervised else Path(mkdtemp(prefix="passerelle-envoy-"))
    rendered = directory / "envoy.json"
    try:
        configuration.write(site, rendered)
    except LookupError as error:
        raise ConfigError(str(error)) from None
    command = configuration.command(rendered)
    startup_report.discard()
    os.execv(command[0], command)  # noqa: S606  # argv, no shell


def _raise_file_limit() -> None:
    """To the hard limit: each connection is an open file. The soft one is 1024 for programs that use select(2)."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _end_with_parent() -> None:
    """When `passerelle up` started this process: get SIGTERM as soon as that one ends, however it ends."""
    parent = os.environ.get(PARENT)
    if parent is None or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):  # it ended before we asked
        sys.exit(0)
