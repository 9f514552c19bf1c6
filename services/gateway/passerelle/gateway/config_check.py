"""What `passerelle config check` looks at, beyond what every process demands of its configuration."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from passerelle.runtime import plugins
from passerelle.runtime.config import ConfigError, Plugin, SiteBase, load
from passerelle.runtime.config_faults import locate, said

Key = tuple[str | int, ...]

_PLUGINS = (
    (("auth", "authorizer"), "passerelle.authorizers"),
    (("auth", "ssh_credentials"), "passerelle.credentials"),
)

_OPENING = {"any_audience", "any_issuer", "reflection"}
"""Settings that open something, beside those whose names begin with `insecure_`."""


def check(path: Path) -> list[str]:
    """Notes about what a correct file will not do; ConfigError when it is not correct."""
    site = load(path)
    text = path.read_text()
    if wrong := [f"{locate(text, str(path), key)}: {why}" for key, why in _wrong_plugins(site)]:
        raise ConfigError("\n".join(wrong))
    return list(_notes(site))


def _wrong_plugins(site: SiteBase) -> Iterator[tuple[Key, str]]:
    for key, group, plugin in _plugins(site):
        try:
            options = getattr(plugins.load(group, plugin.type), "Options", None)
        except (LookupError, ImportError) as error:
            yield (*key, "type"), str(error)
            continue
        try:
            if options:
                options.model_validate(plugin.options)
        except ValidationError as error:
            for item in error.errors(include_url=False, include_input=False):
                yield (*key, "options", *item["loc"]), said(item)


def _plugins(site: SiteBase) -> Iterator[tuple[Key, str, Plugin]]:
    """Where it is named, the entry-point group, and what the site says about every plugin."""
    for number, system in enumerate(site.systems):
        yield ("systems", number, "scheduler"), "passerelle.schedulers", system.scheduler
        for place, staging in enumerate(system.data_operation.staging):
            where = ("systems", number, "data_operation", "staging", place)
            yield where, "passerelle.staging", staging
    for key, group in _PLUGINS:
        plugin: Plugin | None = getattr(getattr(site, key[0]), key[1])
        if plugin is not None:
            yield key, group, plugin


def _unsafe(value: Any, key: str) -> Iterator[str]:
    """The settings, at or below `key`, that are set although they open what is closed by default."""
    if isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            below = f"{key}.{name}".lstrip(".")
            inner = getattr(value, name)
            if inner is True and (name.startswith("insecure_") or name in _OPENING):
                yield f"{below}: {field.description}"
            yield from _unsafe(inner, below)
    elif isinstance(value, tuple):
        for number, one in enumerate(value):
            yield from _unsafe(one, f"{key}.{number}")


def _notes(site: SiteBase) -> Iterator[str]:
    yield from _unsafe(site, "")
    auth: Any = getattr(site, "auth", None)
    if not site.systems:
        yield "systems: there is none"
    if not auth.issuers:
        yield "auth.issuers: there is none, so that nobody can come in"
    if auth.ssh_credentials is None:
        yield "auth.ssh_credentials: not set, so that nobody can log in to a system"
    for number, system in enumerate(site.systems):
        key = f"systems.{number} ({system.name})"
        ssh = system.ssh
        known = ssh.insecure_accept_any_host_key or ssh.host_keys or ssh.known_hosts
        if not known:
            yield f"{key}.ssh: no host_keys and no known_hosts, so that no connection will be made"
        if "{filesystem}" in system.data_operation.work_dir and not any(
            filesystem.default_work_dir for filesystem in system.filesystems
        ):
            yield f"{key}.filesystems: none is marked default_work_dir, so that transfer jobs cannot run"
        if system.probing.service_account is None:
            yield f"{key}.probing: no service_account, so that its health is not checked"
