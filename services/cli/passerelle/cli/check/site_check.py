"""Tries the site that a configuration file describes, from outside to inside.

`auth`, `compute` and `storage` run in this process meanwhile, on ports of their own, so that tokens, credentials and
schedulers are judged by the code that serves. On the systems, the account of the health checks is used. What there is
to try for a section or a plugin stands beside it (`trials`).
"""

from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import yaml

from passerelle.cli.check.sections import sections
from passerelle.cli.check.system_check import SystemCheck
from passerelle.cli.check.trial_runner import TrialRunner
from passerelle.cli.up import site_file
from passerelle.gateway.directory.probe import grpc_probe
from passerelle.runtime.config import plugins
from passerelle.runtime.config.findings import SectionContext
from passerelle.runtime.config.sections import Section
from passerelle.runtime.config.services import SERVICES
from passerelle.runtime.config.site import SiteBase, System, read, site_model
from passerelle.runtime.config.trials import SystemLogin, Trial
from passerelle.runtime.serving.auth_client import auth_client

_SERVICES = ("auth", "compute", "storage")

PlacedSections = Sequence[tuple[Section, SectionContext]]
"""Sections, and their contexts."""


async def check_site(path: Path, runner: TrialRunner) -> None:
    """Try the site that a correct file describes."""
    site = _isolated(path)
    placed = list(sections(site, path))
    async with AsyncExitStack() as stack:
        for name in _SERVICES:
            running = plugins.load("passerelle.services", name)
            await stack.enter_async_context(running(site))
        authority = await stack.enter_async_context(auth_client(site))
        probe = await stack.enter_async_context(grpc_probe(site))
        for trial in _without_login(placed, None):
            await runner.run(trial)
        for system in site.systems:
            for trial in _without_login(placed, system):
                await runner.run(trial, f"{system.name}: ")
            login = SystemLogin(system)
            check = SystemCheck(login, authority, probe, runner)
            await check.run(list(_with_login(placed, login)))


def _isolated(path: Path) -> SiteBase:
    """The site, for services that do not disturb those that serve it: own ports, own secret, no audit log."""
    data = yaml.safe_load(read(path)) or {}
    services = data.get("services") or {}
    harmless = {key: services[key] for key in ("request_timeout", "auth_cache") if key in services}
    harmless |= {name: {"workers": 1} for name in SERVICES}
    return site_model().model_validate(site_file.completed({**data, "services": harmless}))


def _without_login(placed: PlacedSections, system: System | None) -> Iterator[Trial]:
    """The trials that need no login: those of the whole site, or of one system."""
    for section, context in placed:
        if context.system is system:
            yield from section.trials(context)


def _with_login(placed: PlacedSections, login: SystemLogin) -> Iterator[Trial]:
    """The trials on a system, by its own sections and by those of the whole site."""
    for section, context in placed:
        if context.system in (None, login.system):
            yield from section.login_trials(login)
