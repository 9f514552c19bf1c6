"""The configuration file as all processes of a site read it: completed with free addresses and a service secret."""

import os
import random
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from passerelle.runtime.config.addresses import clashing
from passerelle.runtime.config.services import SERVICES
from passerelle.runtime.config.site import ConfigError, site_model
from passerelle.runtime.serving import sockets

# Below the ports that the kernel gives to outgoing connections, which might take one while its service restarts.
_PORTS = (20000, 32000)


def read(path: Path) -> dict[str, Any]:
    """The configuration file as plain data, after all of it was checked; raises ConfigError otherwise."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    site_model().parse(text, str(path))
    return yaml.safe_load(text) or {}


def completed(data: dict[str, Any], *, port: int | None = None) -> dict[str, Any]:
    """The site with addresses for every service, a number of workers, and a service secret.

    Addresses that `data` does not give are free ports of the loopback interface. `port` replaces the gateway's.
    """
    gateway = dict(data.get("gateway") or {})
    host, _, own_port = str(gateway.get("listen", "127.0.0.1:8000")).rpartition(":")
    gateway["listen"] = f"{host}:{port or own_port}"
    services = dict(data.get("services") or {})
    text = str(data)
    free = FreePorts(gateway["listen"], lambda port: str(port) not in text)
    for name in SERVICES:
        service = services.get(name) or {}
        workers = _workers(name, service)
        first = service.get("address") or service.get("listen")
        address = first or f"127.0.0.1:{free.first_of(workers)}"
        services[name] = {**service, "address": address, "workers": workers}
    services.setdefault("secret", secrets.token_urlsafe(32))
    return {**data, "gateway": gateway, "services": services}


def _workers(name: str, service: Mapping[str, Any]) -> int:
    """How many workers a service has, by its configuration; where that leaves it open, by this machine's cores."""
    configured = service.get("workers", "auto")
    if configured != "auto":
        return int(configured)
    has_ports = any(service.get(key) for key in ("address", "listen", "metrics"))
    return 1 if has_ports else automatic_workers(name, os.cpu_count() or 1)


def automatic_workers(name: str, cores: int) -> int:
    """How many workers of a service suit a machine that runs all of them, beside Envoy (docs/performance.md)."""
    eighths = {"storage": 3, "compute": 2, "auth": 1, "gateway": 0}
    return max(1, cores * eighths[name] // 8)


class FreePorts:
    """Finds ports that are free on 127.0.0.1 and `allowed`, none twice. The order depends only on `seed`.

    So a restarted site gets its old ports while they are free, and tokens of its development issuer stay valid.
    """

    def __init__(self, seed: str, allowed: Callable[[int], bool] = lambda port: True) -> None:
        self._order = random.Random(seed)  # noqa: S311  # not a secret
        self._allowed = allowed
        self._used: set[int] = set()

    def first_of(self, count: int) -> int:
        """The first of `count` ports in a row."""
        while True:
            first = self._order.randrange(*_PORTS)
            ports = range(first, first + count)
            if self._used.isdisjoint(ports) and all(self._suits(port) for port in ports):
                self._used.update(ports)
                return first

    def _suits(self, port: int) -> bool:
        return self._allowed(port) and is_free(port)


def is_free(port: int) -> bool:
    """Whether nothing listens on that port of 127.0.0.1."""
    try:
        sockets.require_free("", f"127.0.0.1:{port}")
    except ConfigError:
        return False
    return True


def require_free_ports(data: dict[str, Any], port_from: str) -> None:
    """Raise ConfigError, naming the key, unless all addresses that the completed site listens on are free.

    `port_from` names the setting that chose the public port: the key `gateway.listen`, or PASSERELLE_PORT.
    """
    taken: list[tuple[str, str]] = []
    for key, address in _listening_addresses(site_model().model_validate(data)):
        if other := clashing(address, taken):
            raise ConfigError(f"{key}: {address} is taken by {other}")
        try:
            sockets.require_free(key, address)
        except ConfigError as error:
            raise ConfigError(f"{error}{_remedy(key, address, port_from)}") from None
        taken.append((key, address))


def _listening_addresses(site: Any) -> Iterator[tuple[str, str]]:
    """The key and host:port of everything that the processes of a site listen on."""
    yield "gateway.listen", site.gateway.listen
    if site.gateway.admin:
        yield "gateway.admin", site.gateway.admin
    yield from site.services.listen_addresses()
    for name in ("issuer", "sshd"):
        if server := getattr(site.development, name):
            yield f"development.{name}.listen", server.listen


def _remedy(key: str, address: str, port_from: str) -> str:
    if key != "gateway.listen":
        return ""
    if port_from == key:
        return f"; stop what listens there, or change {key}"
    return f"; stop what listens there, or choose another: {port_from}=8001"


@contextmanager
def run_directory(data: dict[str, Any]) -> Iterator[Path]:
    """A private directory with the completed site in `site.yaml`, for the children to read; removed at the end."""
    with TemporaryDirectory(prefix="passerelle-") as name:
        directory = Path(name)
        write_private(directory / "site.yaml", yaml.safe_dump(data, sort_keys=False))
        yield directory


def write_private(path: Path, text: str) -> None:
    """Write a file that nobody else may read."""
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text)
