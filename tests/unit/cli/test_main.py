"""The command `passerelle`, but for what needs a running site."""

import json
import os
import socket
import stat
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from passerelle.cli.main import main
from passerelle.cli.pages.reference import reference_page
from passerelle.cli.pages.scopes import scopes_page
from passerelle.cli.up import embedded
from passerelle.gateway.contracts import methods

TOP = Path(__file__).parents[3]
EXAMPLES = sorted((TOP / "deploy" / "examples").glob("*.yaml"))
SECRETS = dict.fromkeys(
    ("PASSERELLE_SERVICE_SECRET", "PROBE_CLIENT_SECRET", "ALICE_KEY", "BOB_KEY", "BOB_PASSPHRASE"),
    "a text of more than thirty-two characters",
)

SITE = """\
systems:
  - name: one
    ssh: {host: login.example.org}
    scheduler: {type: slurm}
auth:
  issuers:
    - issuer: https://idp.example.org
      audience: [passerelle]
  ssh_credentials: {type: ca, options: {key_file: /nowhere/ca, create: true}}
"""


def passerelle(*arguments: str, **environment: str) -> Result:
    return CliRunner(env={**SECRETS, **environment}).invoke(main, arguments)


def site(directory: Path, text: str = SITE) -> str:
    path = directory / "site.yaml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    "command",
    [
        (),
        ("up",),
        ("serve",),
        ("token",),
        ("config",),
        ("config", "check"),
        ("config", "reference"),
        ("config", "scopes"),
        ("config", "import-firecrest"),
    ],
)
def test_every_command_has_help(command: tuple[str, ...]) -> None:
    done = passerelle(*command, "--help")
    assert done.exit_code == 0
    assert "Usage:" in done.output
    assert len(done.output.splitlines()) >= 6


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_correct(path: Path) -> None:
    """But for the files and keys of a site, which are not here."""
    done = passerelle("config", "check", "--json", str(path))
    checked = json.loads(done.stdout)
    for line in checked["errors"]:
        assert "No such file or directory" in line or "key of user" in line
    assert not [line for line in checked["warnings"] if "no connection will be made" in line]


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 4


def test_the_reference_is_fresh() -> None:
    assert (TOP / "docs" / "configuration.md").read_text() == reference_page(), (
        "run: passerelle config reference > docs/configuration.md"
    )


def test_the_page_of_scopes_is_fresh() -> None:
    assert (TOP / "docs" / "scopes.md").read_text() == scopes_page(), (
        "run: passerelle config scopes > docs/scopes.md"
    )


def test_every_method_stands_under_its_scope() -> None:
    sections = {part.partition("\n")[0]: part for part in scopes_page().split("\n## ")[1:]}
    for method in (method for method in methods() if method.public):
        result = [name for name, text in sections.items() if f"`{method.path[1:]}`" in text]
        bare = "Without a token" if method.anyone else "With any valid token"
        assert result == [f"`{method.scope}`" if method.scope else bare], method.path


def test_the_reference_has_keys_types_and_defaults() -> None:
    page = reference_page()
    assert "## `systems[].ssh.timeout`" in page
    assert "| `port` | integer | `22` | SSH port. |" in page
    assert "| `host` | text | **required** |" in page
    headings = [line for line in page.splitlines() if line.startswith("## ")]
    assert len(set(headings)) == len(headings)
    at = headings.index("## `auth.ssh_credentials`")
    assert headings[at + 1] == "## `auth.ssh_credentials.options` for `type: ca`"
    assert "| `type` | one of `s3`, `streamer`, `wormhole` | **required** |" in page


def test_check_notes_what_will_not_work(tmp_path: Path) -> None:
    done = passerelle("config", "check", site(tmp_path))
    assert done.exit_code == 0
    assert "systems.0 (one).ssh: no host_keys" in done.stderr
    assert "systems.0 (one).filesystems: none is marked default_work_dir" in done.stderr
    assert done.stdout.endswith("site.yaml: correct\n")


def test_check_notes_every_setting_that_opens_something(tmp_path: Path) -> None:
    opened = SITE.replace("host:", "insecure_accept_any_host_key: true, host:", 1) + (
        "services: {insecure_metrics: true, reflection: true}\n"
        "gateway: {listen: '0.0.0.0:80', insecure_plain_http: true}\n"
    )
    done = passerelle("config", "check", site(tmp_path, opened))
    assert done.exit_code == 0, done.stderr
    for key in (
        "systems.0 (one).ssh.insecure_accept_any_host_key: DANGEROUS",
        "services.insecure_metrics: Let metrics be read off loopback",
        "services.reflection: Let everybody who reaches",
        "gateway.insecure_plain_http: DANGEROUS",
    ):
        assert key in done.stderr


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("host:", "hosst:", ":3: systems.0 (one).ssh.host: Field required"),
        ("host:", "hosst:", ":3: systems.0 (one).ssh.hosst: unknown key"),
        ("slurm", "slrum", ":4: systems.0 (one).scheduler.type: no plugin 'slrum'"),
        ("type: ca", "type: none", ":9: auth.ssh_credentials.type: no plugin 'none'"),
        ("key_file", "keyfile", ":9: auth.ssh_credentials.options.key_file: Field required"),
        (
            "type: ca, options: {key_file: ",
            "type: keys, options: {users: {a: {private_key: 'env:NOT_SET'}}, x: ",
            ":9: auth.ssh_credentials.options.users.a.private_key: the environment variable NOT_SET",
        ),
        ("https://", "", ":7: auth.issuers.0.issuer: "),
        ("systems:", "systems: [", "not valid YAML"),
    ],
)
def test_check_names_file_line_and_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = site(tmp_path, SITE.replace(old, new, 1))
    done = passerelle("config", "check", path)
    assert done.exit_code == os.EX_CONFIG
    assert path in done.stderr
    assert message in done.stderr


def test_check_for_programs(tmp_path: Path) -> None:
    right = json.loads(passerelle("config", "check", "--json", site(tmp_path)).stdout)
    completed = passerelle("config", "check", "--json", site(tmp_path, "systms: []\n"))
    assert right["valid"] is True
    assert len(right["warnings"]) == 4
    assert completed.exit_code == os.EX_CONFIG
    assert json.loads(completed.stdout)["errors"][0].endswith(
        "site.yaml:1: systms: unknown key; did you mean systems?"
    )


@pytest.mark.parametrize("command", [("up",), ("token",), ("serve", "auth")])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file or directory"),
        ("sistems: []", "unknown key"),
        ("a: b: c", "not valid YAML"),
    ],
)
def test_a_wrong_file_stops_every_command(
    tmp_path: Path, command: tuple[str, ...], text: str | None, message: str
) -> None:
    path = site(tmp_path, text) if text else str(tmp_path / "missing.yaml")
    done = passerelle(*command, "--config", path)
    assert done.exit_code == os.EX_CONFIG
    assert done.stderr.startswith(f"Error: {path}")
    assert message in done.stderr


@pytest.mark.parametrize(
    ("process", "message"),
    [
        ("storage.2", "storage.2: services.storage.workers is 2, counted from 0"),
        ("compute.1", "compute.1: services.compute.workers is 1, counted from 0"),
        ("development.1", "development.1: services.development.workers is 1"),
        ("storage.x", "storage.x"),
    ],
)
def test_a_worker_that_there_is_not(tmp_path: Path, process: str, message: str) -> None:
    path = site(tmp_path, "services: {storage: {workers: 2}}")
    done = passerelle("serve", process, "--config", path)
    assert done.exit_code == os.EX_CONFIG
    assert message in done.stderr


@pytest.mark.parametrize("port", ["0", "65536", "-1", "http"])
def test_a_port_that_is_none(port: str) -> None:
    done = passerelle("up", PASSERELLE_PORT=port)
    assert done.exit_code == 1
    assert f"PASSERELLE_PORT={port}: not a port" in done.stderr


def test_no_token_before_the_first_start(tmp_path: Path) -> None:
    done = passerelle("token", XDG_STATE_HOME=str(tmp_path))
    assert done.exit_code != 0
    assert "passerelle up" in done.stderr


@pytest.mark.parametrize("once_ran_on_the_default_port", [False, True])
def test_without_a_token_it_says_where_an_instance_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, once_ran_on_the_default_port: bool
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as default, socket.create_server(("", 0)) as other:
        missing, running = default.getsockname()[1], other.getsockname()[1]
        default.close()
        embedded.prepare(running)
        if once_ran_on_the_default_port:
            embedded.prepare(missing)
        done = passerelle("token", PASSERELLE_PORT=str(missing))
    assert done.exit_code != 0
    assert f"one runs on port {running}: set PASSERELLE_PORT={running}" in done.stderr


def test_no_token_without_a_development_issuer(tmp_path: Path) -> None:
    done = passerelle("token", "--config", site(tmp_path))
    assert done.exit_code == os.EX_CONFIG
    assert "no development issuer" in done.stderr


def test_no_token_from_an_issuer_that_does_not_run(tmp_path: Path) -> None:
    key = tmp_path / "key"
    issuer = {
        "listen": "127.0.0.1:1",
        "key_file": str(key),
        "clients": [{"id": "me", "secret": "hush", "username": "me"}],
    }
    path = site(tmp_path, yaml.safe_dump({"development": {"issuer": issuer}}))
    done = passerelle("token", "--config", path)
    assert done.exit_code == 1
    assert "is `passerelle up` running?" in done.stderr
    assert "hush" not in done.output
    unknown = passerelle("token", "--config", path, "--client", "you")
    assert "no client 'you'; there are: me" in unknown.stderr


def test_the_embedded_default_is_private_and_keeps_its_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    path = embedded.prepare(8000)
    first = path.read_text()
    assert embedded.prepare(8000).read_text() == first
    other = yaml.safe_load(embedded.prepare(8001).read_text())
    assert yaml.safe_load(first)["development"]["sshd"] != other["development"]["sshd"]
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(entry.stat().st_mode) for entry in path.parent.iterdir()} == {0o600}
    checked = json.loads(passerelle("config", "check", "--json", str(path)).stdout)
    assert checked["valid"]
    reported = {line.split(": ")[1] for line in checked["warnings"]}
    of_root = {"auth.issuers.0.allow_root", "systems.0 (local).ssh.least_uid"}
    assert reported <= {"auth.enforce_scopes", *of_root}
