"""docs/keycloak.md on a real Keycloak: its commands, and then the example of it in front of a real Slurm."""

import base64
import hashlib
import html
import os
import re
import secrets
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit
from urllib.request import HTTPCookieProcessor, OpenerDirector, build_opener

import httpx
import pytest
import yaml

from tests.cluster import Cluster
from tests.keycloak import ADMIN, PASSWORD, running_keycloak
from tests.ports import free_port
from tests.stack import running_site

TOP = Path(__file__).parents[2]
GUIDE = TOP / "docs" / "keycloak.md"
EXAMPLE = TOP / "deploy" / "examples" / "slurm-keycloak.yaml"
PATIENCE = 10.0  # seconds


def commands(heading: str) -> list[str]:
    """The guide's commands below a heading; those marked `# setup` are made by the test."""
    text = GUIDE.read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line[2:] for line in text.splitlines() if line.startswith("$ ")]
    return [line for line in lines if not line.endswith("# setup")]


@dataclass(frozen=True)
class Identity:
    """Keycloak, after the guide's commands."""

    url: str
    secret: str
    """Of the health checks' client."""
    shell: dict[str, str]
    """The environment in which the guide's commands run."""

    def run(self, *lines: str) -> str:
        """Run commands in one shell, each of which has to succeed; what they print."""
        done = subprocess.run(
            ("bash", "-euo", "pipefail", "-c", "\n".join(lines)),
            cwd=TOP,
            env=self.shell,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Identity]:
    work = tmp_path_factory.mktemp("keycloak")
    with running_keycloak(work / "log") as (url, bin_directory):
        oidc = f"{url}/realms/hpc/protocol/openid-connect"
        shell = os.environ | {
            "PATH": f"{bin_directory}:{os.environ['PATH']}",
            "HOME": str(work),
            "KC_CLI_PASSWORD": PASSWORD,
            "PROBE_ACCOUNT": "bob",
            "OIDC": oidc,
        }
        identity_provider = Identity(url, "", shell)
        identity_provider.run(
            f"kcadm.sh config credentials --server {url} --realm master --user {ADMIN}"
        )
        completed = identity_provider.run(
            *commands("Setting it up"),
            "kcadm.sh create users -r hpc -s username=alice -s enabled=true -s email=alice@example.org"
            " -s firstName=Alice -s lastName=A -s emailVerified=true",
            f"kcadm.sh set-password -r hpc --username alice --new-password {PASSWORD}",
            'echo "$PROBE_CLIENT_SECRET"',
        )
        yield Identity(url, completed.splitlines()[-1], shell)


@pytest.fixture(scope="module")
def site(identity: Identity, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The example, with the addresses, the keys and the filesystems that there are here; scopes are enforced."""
    data = yaml.safe_load(EXAMPLE.read_text().replace("https://idp.example.org", identity.url))
    (system,) = data["systems"]
    host_key = cluster.known_hosts.read_text().split(" ", 1)[1].strip()
    system["ssh"] |= {"host": cluster.host, "port": cluster.ssh_port, "host_keys": [host_key]}
    system["filesystems"] = [{"path": "/home", "data_type": "users", "default_work_dir": True}]
    data["auth"]["ssh_credentials"]["options"]["key_file"] = str(cluster.ca_key)
    data["auth"]["enforce_scopes"] = True
    data["auth"]["issuers"][0]["introspection"] = {
        "url": f"{identity.url}/realms/hpc/protocol/openid-connect/token/introspect",
        "client_id": "passerelle",
        "client_secret": identity.run(
            *commands("Revoked tokens"), 'echo "$INTROSPECTION_SECRET"'
        ).splitlines()[-1],
        "remember": 1,
    }
    data["gateway"] = {"listen": f"127.0.0.1:{free_port()}"}
    path = tmp_path_factory.mktemp("site") / "site.yaml"
    path.write_text(yaml.safe_dump(data))
    with running_site(
        "--config", str(path), environment={"PROBE_CLIENT_SECRET": identity.secret}
    ) as ready:
        yield ready


@pytest.fixture(scope="module")
def token(identity: Identity) -> str:
    """Alice's, by the guide's device flow."""
    asking, polling = _split(commands("Trying it")[:-1], "echo")
    shared = ["set -a", *asking]
    reported = identity.run(*shared, 'echo "$VERIFIER"')
    device, verifier = reported.splitlines()
    _, text = _log_in(yaml.safe_load(device)["verification_uri_complete"], {"accept": "Yes"})
    assert "Device Login Successful" in text
    given = {"DEVICE": device, "VERIFIER": verifier}
    identity_provider = Identity(identity.url, identity.secret, identity.shell | given)
    return identity_provider.run(*polling, 'echo "$TOKEN"').strip()


def _split(lines: list[str], word: str) -> tuple[list[str], list[str]]:
    """The commands up to the one that begins with `word`, and those after it."""
    at = next(number for number, line in enumerate(lines) if line.startswith(word)) + 1
    return lines[:at], lines[at:]


def _log_in(url: str, *more: dict[str, str]) -> tuple[str, str]:
    """What a person does in a browser: name, password, and what `more` forms ask for; where that leads."""
    # Keycloak's cookies are for https; browsers take them on loopback without it, too. (httpx keeps no such policy.)
    cookies = CookieJar(DefaultCookiePolicy(secure_protocols=("http", "https")))
    browser = build_opener(HTTPCookieProcessor(cookies))
    at, text = _page(browser, url)
    for entered in ({"username": "alice", "password": PASSWORD}, *more):
        action = re.search(r'<form[^>]*action="([^"]+)"', text)
        assert action, text
        hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', text))
        at, text = _page(browser, urljoin(at, html.unescape(action[1])), hidden | entered)
    return at, text


def _page(browser: OpenerDirector, url: str, form: dict[str, str] | None = None) -> tuple[str, str]:
    """Where a request leads, and the text that is there."""
    with browser.open(url, urlencode(form).encode() if form else None, timeout=60) as page:
        return page.url, page.read().decode()


def test_health_of_the_example(site: dict[str, Any], token: str) -> None:
    deadline = time.monotonic() + 120
    while True:
        reply = _get(site, token, "/status/systems")
        health = reply.json()["systems"][0]["servicesHealth"]
        if health or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    assert {check["serviceType"] for check in health} == {"scheduler", "ssh", "filesystem"}
    assert all(check["healthy"] for check in health), health


def test_a_person_works(site: dict[str, Any], token: str) -> None:
    assert _get(site, token, "/status/daint/nodes").json()["nodes"]
    assert _get(site, token, "/filesystem/daint/ops/ls?path=/home/alice").status_code == 200
    assert _get(site, token, "/status/daint/userinfo").json()["user"]["name"] == "alice"


def test_a_program_with_a_browser_logs_in_by_redirect(
    site: dict[str, Any], identity: Identity
) -> None:
    """To a port of its own machine (RFC 8252 §7.3): the gateway's front page stands for it here."""
    oidc, back = identity.shell["OIDC"], f"{site['ready']}/"
    verifier = secrets.token_urlsafe(48)
    digest = hashlib.sha256(verifier.encode()).digest()
    request = {
        "client_id": "passerelle-cli",
        "response_type": "code",
        "redirect_uri": back,
        "code_challenge_method": "S256",
        "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
    }
    at, _ = _log_in(f"{oidc}/auth?{urlencode(request)}")
    form = {
        "client_id": "passerelle-cli",
        "grant_type": "authorization_code",
        "redirect_uri": back,
        "code": parse_qs(urlsplit(at).query)["code"][0],
        "code_verifier": verifier,
    }
    answer = httpx.post(f"{oidc}/token", data=form, timeout=60)
    assert _get(site, answer.json()["access_token"], "/status/systems").status_code == 200


def test_a_token_of_another_client_opens_nothing(
    site: dict[str, Any], identity: Identity, token: str
) -> None:
    """A stock client's: the realm, the user and the signature are right, but it is not for us."""
    form = {"client_id": "admin-cli", "grant_type": "password", "scope": "profile"}
    answer = httpx.post(
        f"{identity.url}/realms/hpc/protocol/openid-connect/token",
        data=form | {"username": "alice", "password": PASSWORD},
        timeout=60,
    )
    reply = _get(site, answer.json()["access_token"], "/status/systems")
    assert reply.status_code == 401
    _await_in_log(site, "auth", "token refused: aud")


def _await_in_log(site: dict[str, Any], service: str, text: str) -> None:
    """`passerelle up` writes what a service logged up to 0.05 s later."""
    end = time.monotonic() + PATIENCE
    while not any(text in file.read_text() for file in Path(site["logs"]).glob(f"{service}*.log")):
        assert time.monotonic() < end, f"not logged within {PATIENCE} s: {text}"
        time.sleep(0.02)


def test_the_probes_token_has_only_its_scopes(site: dict[str, Any], identity: Identity) -> None:
    answer = httpx.post(
        f"{identity.url}/realms/hpc/protocol/openid-connect/token",
        data={"grant_type": "client_credentials"},
        auth=("passerelle-probe", identity.secret),
        timeout=60,
    )
    reply = _get(site, answer.json()["access_token"], "/status/systems")
    assert (reply.status_code, "systems.read" in reply.json()["message"]) == (403, True)


def _get(site: dict[str, Any], token: str, path: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.get(site["ready"] + path, headers=headers, timeout=30)


def test_a_session_that_was_ended_opens_nothing(
    site: dict[str, Any], identity: Identity, token: str
) -> None:
    """Last of all: an administrator logs alice out, and Keycloak says of her token that it is not active."""
    assert _get(site, token, "/status/systems").status_code == 200
    alice = "kcadm.sh get users -r hpc -q username=alice --fields id --format csv --noquotes"
    identity.run(f"kcadm.sh create users/$({alice})/logout -r hpc -s realm=hpc")
    end = time.monotonic() + 30
    while (reply := _get(site, token, "/status/systems")).status_code == 200:
        assert time.monotonic() < end
        time.sleep(0.2)
    assert reply.status_code == 401
    _await_in_log(site, "auth", "token refused: active")
