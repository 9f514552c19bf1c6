"""What `passerelle up` adds to a configuration."""

import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from passerelle.cli.up.example_commands import example_commands
from passerelle.cli.up.readiness import public_url
from passerelle.cli.up.site_file import (
    FreePorts,
    automatic_workers,
    completed,
    read,
    require_free_ports,
    run_directory,
)
from passerelle.runtime.config.services import SERVICES
from passerelle.runtime.config.site import ConfigError


def addresses(data: dict[str, Any]) -> list[str]:
    return [data["services"][name]["address"] for name in ("auth", "compute", "storage", "gateway")]


def test_everything_that_is_open_gets_a_value() -> None:
    data = completed({})
    assert len(set(addresses(data))) == 4
    assert all(address.startswith("127.0.0.1:") for address in addresses(data))
    assert len(data["services"]["secret"]) >= 32
    assert data["gateway"]["listen"] == "127.0.0.1:8000"
    assert completed({})["services"]["secret"] != data["services"]["secret"]


def test_what_is_given_stays() -> None:
    given = {
        "services": {"auth": {"address": "10.0.0.1:1"}, "secret": "env:SECRET", "auth_cache": 2},
        "gateway": {"listen": "0.0.0.0:8443", "max_body": 1 << 20},
    }
    data = completed(given)
    assert data["services"]["auth"] == {"address": "10.0.0.1:1", "workers": 1}
    assert data["services"]["secret"] == "env:SECRET"
    assert data["services"]["auth_cache"] == 2
    assert data["gateway"] == given["gateway"]
    assert "compute" not in given["services"]


@pytest.mark.parametrize(
    ("listen", "expected"), [("0.0.0.0:8443", "0.0.0.0:9000"), (None, "127.0.0.1:9000")]
)
def test_the_port_can_be_overridden(listen: str | None, expected: str) -> None:
    data = completed({"gateway": {"listen": listen}} if listen else {}, port=9000)
    assert data["gateway"]["listen"] == expected


def ports_of(count: int, seed: str = "seed") -> list[int]:
    free = FreePorts(seed)
    return [free.first_of(1) for _ in range(count)]


def test_ports_are_free_distinct_and_the_same_again() -> None:
    first = ports_of(20)
    assert len(set(first)) == 20
    with socket.create_server(("127.0.0.1", first[3])):
        assert ports_of(19) == first[:3] + first[4:]


def test_ports_in_a_row_are_all_free() -> None:
    first = FreePorts("row").first_of(3)
    with socket.create_server(("127.0.0.1", first + 2)):
        other = FreePorts("row")
        rows = [set(range(one, one + 3)) for one in (other.first_of(3) for _ in range(20))]
    assert first + 2 not in set().union(*rows)
    assert len(set().union(*rows)) == 60


@pytest.mark.parametrize(
    ("cores", "workers"),
    [
        (1, (1, 1, 1, 1)),
        (2, (1, 1, 1, 1)),
        (4, (1, 1, 1, 1)),
        (8, (1, 2, 3, 1)),
        (16, (2, 4, 6, 1)),
    ],
)
def test_workers_by_the_cores_of_the_machine(cores: int, workers: tuple[int, ...]) -> None:
    assert tuple(automatic_workers(name, cores) for name in SERVICES) == workers


def test_workers_are_chosen_where_no_port_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    services = {
        "auth": {"address": "127.0.0.1:9001"},
        "compute": {"metrics": "127.0.0.1:9101"},
        "gateway": {"workers": 2},
    }
    chosen = completed({"services": services})["services"]
    counts = {name: chosen[name]["workers"] for name in SERVICES}
    assert counts == {"auth": 1, "compute": 1, "storage": 6, "gateway": 2}


def test_the_ports_of_all_workers_must_be_free() -> None:
    data = site(services={"storage": {"workers": 3}, "compute": {"workers": "auto"}})
    first = int(data["services"]["storage"]["address"].rpartition(":")[2])
    require_free_ports(data, "gateway.listen")
    with (
        socket.create_server(("127.0.0.1", first + 2)),
        pytest.raises(ConfigError, match=rf"services\.storage\.address: port {first + 2} "),
    ):
        require_free_ports(data, "gateway.listen")


def site(**more: Any) -> dict[str, Any]:
    port = FreePorts(f"public {os.getpid()}").first_of(1)  # other test processes look for theirs
    return completed({"gateway": {"listen": f"127.0.0.1:{port}"}, **more})


def test_free_ports_are_no_error() -> None:
    require_free_ports(site(), "gateway.listen")


@pytest.mark.parametrize(
    "key",
    [
        "gateway.listen",
        "gateway.admin",
        "services.auth.address",
        "services.compute.listen",
        "services.storage.metrics",
        "development.issuer.listen",
    ],
)
def test_a_taken_port_is_named_by_its_key(key: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        data = site(development={"issuer": {"key_file": "/tmp/key", "clients": []}})
        *sections, last = key.split(".")
        place = data
        for name in sections:
            place = place[name]
        place[last] = f"127.0.0.1:{port}"
        if last != "listen" or sections[0] != "development":
            data.pop("development")
        with pytest.raises(ConfigError) as caught:
            require_free_ports(data, "gateway.listen")
    assert str(caught.value).startswith(f"{key}: port {port} of 127.0.0.1 is taken")


def test_the_public_ports_message_says_what_to_change() -> None:
    data = site()
    host, _, port = data["gateway"]["listen"].rpartition(":")
    with socket.create_server((host, int(port))):
        with pytest.raises(ConfigError, match=r"or change gateway\.listen"):
            require_free_ports(data, "gateway.listen")
        with pytest.raises(ConfigError, match="PASSERELLE_PORT=8001"):
            require_free_ports(data, "PASSERELLE_PORT")


@pytest.mark.parametrize("host", ["127.0.0.1", ""])
def test_one_port_for_two_is_an_error(host: str) -> None:
    port = FreePorts(f"two {os.getpid()}").first_of(1)
    services = {
        "auth": {"address": f"127.0.0.1:{port}"},
        "storage": {"metrics": f"{host}:{port}"},
        "insecure_metrics": True,
    }
    with pytest.raises(
        ConfigError, match=r"services\.storage\.metrics: .* services\.auth\.address"
    ):
        require_free_ports(site(services=services), "gateway.listen")


@pytest.mark.parametrize("address", ["192.0.2.1:8000", "nowhere.invalid:8000"])
def test_an_address_that_is_not_ours_is_named_by_its_key(address: str) -> None:
    data = site(services={"compute": {"listen": address}, "insecure_plain_text": True})
    with pytest.raises(ConfigError, match=r"services\.compute\.listen: "):
        require_free_ports(data, "gateway.listen")


def test_an_endpoint_without_address_is_filled_in(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text("services:\n  auth: {metrics: '127.0.0.1:9464'}\n")
    auth = completed(read(file))["services"]["auth"]
    assert auth["metrics"] == "127.0.0.1:9464"
    assert auth["address"].startswith("127.0.0.1:")


def test_the_run_directory_is_private_and_goes_away() -> None:
    with run_directory({"services": {"secret": "hush"}}) as directory:
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert stat.S_IMODE((directory / "site.yaml").stat().st_mode) == 0o600
        assert yaml.safe_load((directory / "site.yaml").read_text())["services"]["secret"] == "hush"
    assert not directory.exists()


@pytest.mark.parametrize(
    ("listen", "tls", "url"),
    [
        ("127.0.0.1:8000", False, "http://127.0.0.1:8000"),
        ("0.0.0.0:443", True, "https://127.0.0.1:443"),
        ("[::]:8000", False, "http://[::1]:8000"),
        ("api.example.org:8000", False, "http://api.example.org:8000"),
    ],
)
def test_the_url_for_this_machine(listen: str, tls: bool, url: str) -> None:
    assert public_url(listen, tls=tls) == url


def test_three_example_commands() -> None:
    token, curl, snippet = example_commands("http://127.0.0.1:8000", "abc", None)
    assert token == "export TOKEN=abc"
    assert curl == 'curl -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8000/status/systems'
    assert "firecrest.v2.Firecrest(" in snippet
