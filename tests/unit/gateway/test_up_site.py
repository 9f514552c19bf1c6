"""What `passerelle up` adds to a configuration."""

import socket
import stat
from itertools import islice
from typing import Any

import pytest
import yaml

from passerelle.gateway.up_ready import lines_to_copy, public_url
from passerelle.gateway.up_site import completed, free_ports, is_free, run_directory


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
        "gateway": {"listen": "0.0.0.0:8443", "max_body": 2048},
    }
    data = completed(given)
    assert data["services"]["auth"] == {"address": "10.0.0.1:1"}
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


def test_ports_are_free_distinct_and_the_same_again() -> None:
    first = list(islice(free_ports("seed"), 20))
    assert len(set(first)) == 20
    with socket.create_server(("127.0.0.1", first[3])):
        assert not is_free("127.0.0.1", first[3])
        again = list(islice(free_ports("seed"), 19))
    assert again == first[:3] + first[4:]


def test_a_port_of_another_machine_is_an_error() -> None:
    with pytest.raises(OSError, match="assign"):
        is_free("192.0.2.1", 8000)


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


def test_three_lines_to_copy() -> None:
    token, curl, snippet = lines_to_copy("http://127.0.0.1:8000", "abc")
    assert token == "export TOKEN=abc"
    assert curl == 'curl -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8000/status/systems'
    assert "firecrest.v2.Firecrest(" in snippet
