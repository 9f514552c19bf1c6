"""Reading and checking the one configuration file, once, at start.

A site file has the sections `systems` (below) and `services` (`services.py`), and one section for each installed
service, which that service declares itself (entry points `passerelle.sections`). The whole file is checked whoever
reads it.
"""

import os
import re
from collections.abc import Iterator
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, cast

from pydantic import Field, ValidationError, create_model, field_validator, model_validator

from passerelle.runtime.config.addresses import Host, Url, is_plain_http
from passerelle.runtime.config.faults import explain, read_yaml
from passerelle.runtime.config.findings import Finding, SectionContext, note, problem
from passerelle.runtime.config.host_keys import HostKey, known_hosts_faults, unknown_hosts
from passerelle.runtime.config.sections import Plugin, Secret, Section
from passerelle.runtime.config.services import Services
from passerelle.runtime.config.system_trials import common_trials
from passerelle.runtime.config.trials import SystemLogin, Trial


class ConfigError(Exception):
    """The configuration is wrong; the text names the file, the line, the key and what would be right."""


class Timeouts(Section):
    """How long the steps of an SSH session may take, in seconds."""

    connection: float = Field(default=5, gt=0)
    """TCP connection and key exchange, s."""
    login: float = Field(default=5, gt=0)
    """Authentication, s."""
    command: float = Field(default=5, gt=0)
    """One command or file operation, s."""
    idle: float = Field(default=60, gt=0)
    """An unused connection closes after this, s."""
    age: float = Field(default=600, gt=0)
    """A connection of this age takes no new calls, s; the next call logs in again. A withdrawn key gives access for no
    longer than this. Certificates may end a connection sooner."""
    keep_alive: float = Field(default=5, ge=0)
    """Interval of keep-alive probes, s."""


class Ssh(Section):
    """How to reach a system's login node."""

    host: Host
    """Host name or address of the login node."""
    port: int = Field(default=22, ge=1, le=65535)
    """SSH port."""
    proxy_host: Host | None = None
    """Jump host; none when unset."""
    proxy_port: int = Field(default=22, ge=1, le=65535)
    """SSH port of the jump host."""
    host_keys: tuple[HostKey, ...] = ()
    """Accepted host keys (of the jump host too), as `ssh-ed25519 AAAA…`, or `@cert-authority ssh-ed25519 AAAA…` for
    hosts with certificates."""
    known_hosts: Path | None = None
    """An OpenSSH known_hosts file, instead of `host_keys`."""
    insecure_accept_any_host_key: bool = False
    """DANGEROUS: connect without knowing the host's key. For throw-away test systems only."""
    max_connections: int = Field(default=100, ge=1)
    """Connections to this system of each worker of compute and of storage, over all users."""
    max_channels: int = Field(default=8, ge=1)
    """Commands at once per user; more wait in line. Keep it, plus two, at most the server's MaxSessions (10 by
    default)."""
    max_waiting: int = Field(default=512, ge=1)
    """Calls of one user that may wait for a channel; more are answered 429."""
    least_uid: int = Field(default=1000, ge=0)
    """Accounts with a lower uid belong to the system itself and must not be used; with 0, all may. See UID_MIN in the
    system's /etc/login.defs, and which uids its directory service gives to people."""
    timeout: Timeouts = Timeouts()

    def findings(self, context: SectionContext) -> Iterator[Finding]:
        """See `Section.findings`."""
        if not self.least_uid:
            yield note("0, so that accounts of the system itself may be used", "least_uid")
        if self.insecure_accept_any_host_key:
            return
        if self.known_hosts is None:
            if not self.host_keys:
                yield note("no host_keys and no known_hosts, so that no connection will be made")
            return
        if self.host_keys:
            yield note("not looked at, because there is known_hosts", "host_keys")
        try:
            for reason in known_hosts_faults(self.known_hosts):
                yield problem(reason, "known_hosts")
            for host in unknown_hosts(self.known_hosts, dict(self._hops())):
                yield note(f"{self.known_hosts}: no key under the name {host}", "known_hosts")
        except OSError as error:
            yield problem(f"{self.known_hosts}: {error.strerror}", "known_hosts")
        except ValueError as error:
            yield problem(f"{self.known_hosts}: {error}", "known_hosts")

    def login_trials(self, login: SystemLogin) -> Iterator[Trial]:
        """See `Section.login_trials`."""
        yield from common_trials(login)

    def _hops(self) -> Iterator[tuple[str, int]]:
        yield self.host, self.port
        if self.proxy_host is not None:
            yield self.proxy_host, self.proxy_port


class Scheduler(Plugin):
    """The system's scheduler."""

    group = "passerelle.schedulers"

    version: str = ""
    """Its version, shown to users."""
    timeout: float = Field(default=10, gt=0)
    """One scheduler command, s."""


class Filesystem(Section):
    """A filesystem that requests may use."""

    path: str
    """The absolute path of its root."""
    data_type: Literal["users", "store", "archive", "apps", "scratch", "project"]
    """What it is for."""
    default_work_dir: bool = False
    """Whether transfer jobs keep their working files here."""

    @field_validator("path")
    @classmethod
    def _absolute(cls, path: str) -> str:
        if not path.startswith("/"):
            raise ValueError("a filesystem's path must be absolute")
        return os.path.normpath(path)


class ServiceAccount(Section):
    """An OAuth client whose tokens the health checks use."""

    token_url: Url
    """The token endpoint."""
    client_id: str
    """The client's id."""
    client_secret: Secret
    """The client's secret."""
    insecure_http: bool = False
    """DANGEROUS: send the secret to a `token_url` of plain http on another machine."""
    auth_method: Literal["client_secret_basic", "client_secret_post"] = "client_secret_basic"
    """How the secret is sent."""

    @model_validator(mode="after")
    def _encrypted(self) -> Self:
        if is_plain_http(self.token_url) and not self.insecure_http:
            raise ValueError(
                "`token_url` is plain http: the secret can be read on its way; use https, or set `insecure_http: true`"
            )
        return self


class Probing(Section):
    """Background health checks of a system."""

    service_account: ServiceAccount | None = None
    """Whose token to use; without one, nothing is checked."""
    interval: float = Field(default=30, gt=0)
    """Seconds between two rounds."""
    timeout: float = Field(default=10, gt=0)
    """One check, s."""
    failures: int = Field(default=3, ge=1)
    """How many checks in a row must fail before it is unhealthy."""

    def findings(self, context: SectionContext) -> Iterator[Finding]:
        """See `Section.findings`."""
        if self.service_account is None:
            yield note("no service_account, so that its health is not checked")


class Staging(Plugin):
    """A staging method, which moves bulk data without the gateway."""

    group = "passerelle.staging"


class DataOperation(Section):
    """Limits and settings of file operations."""

    max_ops_file_size: int = Field(default=5242880, ge=1)
    """Largest file of ops/upload, download and view, bytes."""
    datatransfer_jobs_directives: tuple[str, ...] = ()
    """Lines for transfer jobs' scripts; `{account}` is the request's account, or the user's default one with the
    scheduler."""
    work_dir: str = "{filesystem}/{user}"
    """Where transfer jobs work and log; `{filesystem}` is the one marked `default_work_dir`."""
    staging: tuple[Staging, ...] = ()
    """Staging methods, which move bulk data without the gateway; the preferred one first."""


class System(Section):
    """One HPC system."""

    name: str
    """The name by which requests address it: lower case."""
    ssh: Ssh
    scheduler: Scheduler
    filesystems: tuple[Filesystem, ...] = ()
    """What paths may point into; with none, every path is accepted."""
    check_links: bool = True
    """Whether the targets of symbolic links must be inside the filesystems, too."""
    probing: Probing = Probing()
    data_operation: DataOperation = DataOperation()

    @field_validator("name")
    @classmethod
    def _plain(cls, name: str) -> str:
        if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name):
            raise ValueError(
                "lower-case letters, digits, `.`, `_` and `-`, the first a letter or digit"
            )
        return name

    def findings(self, context: SectionContext) -> Iterator[Finding]:
        """See `Section.findings`."""
        marked = any(filesystem.default_work_dir for filesystem in self.filesystems)
        if "{filesystem}" in self.data_operation.work_dir and not marked:
            text = "none is marked default_work_dir, so that transfer jobs cannot run"
            yield note(text, "filesystems")
        if self.filesystems and not self.check_links:
            yield note("links may lead out of the filesystems", "check_links")

    @property
    def roots(self) -> list[str]:
        """The filesystems that no link may lead out of; none where the site does not look at links."""
        return [filesystem.path for filesystem in self.filesystems] if self.check_links else []


class SiteBase(Section):
    """The sections that every service reads."""

    systems: tuple[System, ...] = ()
    """The HPC systems."""
    services: Services = Services()

    @field_validator("systems")
    @classmethod
    def _unique(cls, systems: tuple[System, ...]) -> tuple[System, ...]:
        names = [system.name for system in systems]
        if len(set(names)) != len(names):
            raise ValueError("two systems have the same name")
        return systems

    def findings(self, context: SectionContext) -> Iterator[Finding]:
        """See `Section.findings`."""
        if not self.systems:
            yield note("there is none", "systems")

    def system(self, name: str) -> System | None:
        """The system of that name, or None."""
        return next((system for system in self.systems if system.name == name), None)

    @classmethod
    def parse(cls, text: str, source: str = "<text>") -> Self:
        """A site from YAML text; ConfigError names `source`, the line and the key."""
        try:
            data = read_yaml(text, source)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        try:
            return cls.model_validate({} if data is None else data)
        except ValidationError as error:
            raise ConfigError(explain(error, text, source, cls)) from None
        except OSError as error:
            raise ConfigError(f"{source}: {error.filename}: {error.strerror}") from None


@cache
def site_model() -> type[SiteBase]:
    """The model of the whole file: the shared sections and one for each installed service."""
    sections: dict[str, Any] = {
        entry.name: (entry.load(), Field(default_factory=entry.load()))
        for entry in entry_points(group="passerelle.sections")
    }
    return cast(type[SiteBase], create_model("Site", __base__=SiteBase, **sections))


S = TypeVar("S", bound=Section)


def section(site: SiteBase, kind: type[S]) -> S:
    """The section of `site` that `kind` describes: how a service finds its own part of the file."""
    for name in type(site).model_fields:
        value = getattr(site, name)
        if isinstance(value, kind):
            return value
    raise LookupError(f"the site has no section of kind {kind.__name__}")


def load(path: Path) -> SiteBase:
    """Read, check and return the site file; raises ConfigError when it is not correct."""
    return site_model().parse(read(path), str(path))


def read(path: Path) -> str:
    """The text of a configuration file; ConfigError when it cannot be read."""
    try:
        return path.read_text()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: no text in UTF-8") from None
