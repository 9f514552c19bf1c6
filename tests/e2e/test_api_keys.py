"""API keys through the whole gateway: in `X-API-Key`, as pyfirecrest sends it, and as bearer tokens."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml

from tests.ports import free_port
from tests.stack import running_site, written_embedded


@dataclass(frozen=True)
class Site:
    """A running gateway, its configuration file, a token of its own issuer, and the directory of its logs."""

    url: str
    config: Path
    token: str
    logs: Path

    def key(self, *words: str) -> dict[str, str]:
        """Make a key as an operator does."""
        command = ("auth", "key", "create", "--config", str(self.config), "--json", *words)
        ran = subprocess.run(
            (sys.executable, "-m", "passerelle.cli.main", *command),
            check=True,
            capture_output=True,
            timeout=60,
        )
        made: dict[str, str] = json.loads(ran.stdout)
        return made

    def get(self, path: str, **headers: str) -> httpx.Response:
        """Ask with these headers, `_` in their names standing for `-`."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.get(f"{self.url}{path}", headers=sent, timeout=30)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("keys")
    data = written_embedded(free_port(), folder / "state")
    data["auth"]["api_keys"] = {"file": str(folder / "keys.json")}
    config = folder / "site.yaml"
    config.write_text(yaml.safe_dump(data))
    first = Site("", config, "", folder)
    first.key("--account", "nobody2", "--scope", "a")  # the file has to be there
    with running_site("--config", str(config), environment=dict(os.environ)) as ready:
        yield Site(ready["ready"], config, ready["token"], Path(ready["logs"]))


@pytest.fixture(scope="module")
def key(site: Site) -> str:
    account = site.get("/v1/auth/whoami", authorization=f"Bearer {site.token}").json()["username"]
    made = site.key("--account", account, "--scope", "systems.read", "--scope", "compute.read")
    _wait_for(site, made["key"])
    return made["key"]


def _wait_for(site: Site, key: str) -> None:
    end = time.monotonic() + 30
    while site.get("/status/systems", x_api_key=key).status_code == 401:
        assert time.monotonic() < end
        time.sleep(0.2)


def test_a_key_is_taken_in_either_header(site: Site, key: str) -> None:
    for headers in ({"x_api_key": key}, {"authorization": f"Bearer {key}"}):
        assert site.get("/status/systems", **headers).status_code == 200
        who = site.get("/v1/auth/whoami", **headers).json()
        assert who["scopes"] == ["compute.read", "systems.read"]
        assert site.get("/compute/local/jobs", **headers).status_code == 200


def test_a_key_has_no_scope_but_its_own(site: Site, key: str) -> None:
    reply = site.get("/filesystem/local/ops/stat?path=/", x_api_key=key)
    assert reply.status_code == 403
    assert "storage.read" in reply.json()["message"]


def test_a_token_counts_before_a_key(site: Site, key: str) -> None:
    bearer = f"Bearer {site.token}"
    both = site.get("/v1/auth/whoami", x_api_key=key, authorization=bearer)
    assert both.json()["issuer"] != "passerelle:api-keys"
    assert site.get("/status/systems", x_api_key="nothing", authorization=bearer).status_code == 200
    assert site.get("/status/systems", x_api_key=key, authorization="Bearer x").status_code == 401


@pytest.mark.parametrize("text", ["nothing", "passerelle_", "", "a b"])
def test_what_is_no_key_is_no_credential(site: Site, text: str) -> None:
    assert site.get("/status/systems", x_api_key=text).status_code == 401


def test_a_key_of_other_addresses_is_refused_at_the_door(site: Site) -> None:
    words = ("--account", "robot", "--scope", "systems.read", "--address")
    ours, theirs = site.key(*words, "127.0.0.0/8"), site.key(*words, "192.0.2.0/24")
    _wait_for(site, ours["key"])
    refused = site.get("/status/systems", x_api_key=theirs["key"])
    assert refused.status_code == 403
    assert refused.json()["message"] == "This API key may not be used from 127.0.0.1."
    spoofed = site.get("/status/systems", x_api_key=theirs["key"], x_forwarded_for="192.0.2.1")
    assert spoofed.status_code == 403


def test_no_key_stands_in_a_log(site: Site, key: str) -> None:
    logs = [path.read_text(errors="replace") for path in site.logs.rglob("*.log")]
    assert logs
    assert not any(key.rpartition("_")[2] in text for text in logs)


def test_behind_a_trusted_proxy_the_clients_address_counts(tmp_path: Path) -> None:
    data = written_embedded(free_port(), tmp_path / "state")
    data["auth"]["api_keys"] = {"file": str(tmp_path / "keys.json")}
    data["gateway"]["trusted_proxies"] = 1
    config = tmp_path / "site.yaml"
    config.write_text(yaml.safe_dump(data))
    words = ("--account", "robot", "--scope", "systems.read", "--address")
    client, proxy = (
        Site("", config, "", tmp_path).key(*words, network)["key"]
        for network in ("192.0.2.0/24", "127.0.0.0/8")
    )
    with running_site("--config", str(config), environment=dict(os.environ)) as ready:
        site = Site(ready["ready"], config, ready["token"], tmp_path)
        for key, status in ((client, 200), (proxy, 403)):
            reply = site.get("/status/systems", x_api_key=key, x_forwarded_for="192.0.2.1")
            assert reply.status_code == status, reply.text
