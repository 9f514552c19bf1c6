"""`passerelle config check --connect`: a site tried from outside to inside, on its systems as the probes' account.

`auth`, `compute` and `storage` run in this process meanwhile, on ports of their own, so that tokens, credentials and
schedulers are judged by the code that serves. What a section or plugin brings to try stands beside it (`trials`).
"""

from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import yaml

from passerelle.cli.config.check import sections
from passerelle.cli.connect.system import OneSystem
from passerelle.cli.connect.tries import Tries
from passerelle.cli.up import site_file
from passerelle.gateway.directory.probe import grpc_probe
from passerelle.runtime import plugins
from passerelle.runtime.config.findings import Around
from passerelle.runtime.config.sections import Section
from passerelle.runtime.config.site import SiteBase, System, read, site_model
from passerelle.runtime.config.trials import LoggedIn, Trial
from passerelle.runtime.serving.auth_client import auth_client

_SERVICES = ("auth", "compute", "storage")

Found = Sequence[tuple[Section, Around]]


async def connect(path: Path, tries: Tries) -> None:
    """Try the site that a correct file describes."""
    site = _beside(path)
    found = [(section, around) for _, section, around in sections(site, path)]
    async with AsyncExitStack() as stack:
        for name in _SERVICES:
            running = plugins.load("passerelle.services", name)
            await stack.enter_async_context(running(site))
        authority = await stack.enter_async_context(auth_client(site))
        probe = await stack.enter_async_context(grpc_probe(site))
        for trial in _from_here(found, None):
            await tries.make(trial)
        for system in site.systems:
            for trial in _from_here(found, system):
                await tries.make(trial, f"{system.name}: ")
            on = LoggedIn(system)
            await OneSystem(on, authority, probe, tries).run(list(_inside(found, on)))


def _beside(path: Path) -> SiteBase:
    """The site as services of ours need it, which disturb none that serve it: own ports, own secret, no audit log."""
    data = yaml.safe_load(read(path)) or {}
    given = data.get("services") or {}
    kept = {key: given[key] for key in ("request_timeout", "auth_cache") if key in given}
    return site_model().model_validate(site_file.completed({**data, "services": kept}))


def _from_here(found: Found, system: System | None) -> Iterator[Trial]:
    """What is tried without a login: of the site, or of one system."""
    for section, around in found:
        if around.system is system:
            yield from section.trials(around)


def _inside(found: Found, on: LoggedIn) -> Iterator[Trial]:
    """What is tried on a system: its own sections and those of the whole site say it."""
    for section, around in found:
        if around.system in (None, on.system):
            yield from section.trials_on(on)
