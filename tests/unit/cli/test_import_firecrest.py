"""FirecREST v2 configurations become ours, and nothing in them is passed over in silence."""

import asyncio
from pathlib import Path
from typing import Any

import asyncssh
import pytest
import yaml
from click.testing import CliRunner

from passerelle.cli.import_firecrest.site import convert
from passerelle.cli.main import main
from passerelle.runtime.config.site import ConfigError

FULL = Path(__file__).parent / "firecrest" / "full.yaml"

SMALL = """\
auth:
  authentication: {token_url: "http://127.0.0.1:1/token", public_certs: ["http://127.0.0.1:1/jwks"]}
ssh_credentials:
  type: SSHStaticKeys
  keys: {alice: {private_key: text}}
clusters:
  - name: cluster
    ssh: {host: 127.0.0.1, port: 1}
    scheduler: {type: slurm, version: "22.05.8"}
    service_account: {client_id: probe, secret: hush}
    probing: {interval: 60, timeout: 10}
"""


@pytest.fixture(scope="module")
def full() -> tuple[dict[str, Any], list[str]]:
    text, notes = convert(FULL, read_host_keys=False)
    return yaml.safe_load(text), notes


def small(directory: Path, text: str = SMALL) -> tuple[dict[str, Any], list[str]]:
    path = directory / "firecrest.yaml"
    path.write_text(text)
    ours, notes = convert(path, read_host_keys=False)
    return yaml.safe_load(ours), [note.removeprefix(f"{path}: ") for note in notes]


def test_systems(full: tuple[dict[str, Any], list[str]]) -> None:
    daint = full[0]["systems"][0]
    assert daint["name"] == "daint"
    assert daint["ssh"] == {
        "host": "login.daint.example.org",
        "port": 2222,
        "proxy_host": "jump.example.org",
        "proxy_port": 2200,
        "max_connections": 300,
        "timeout": {"connection": 6, "login": 7, "command": 8, "idle": 90, "keep_alive": 9},
    }
    assert daint["scheduler"] == {"type": "slurm", "version": "24.05.4", "timeout": 15}
    assert daint["filesystems"] == [
        {"path": "/users/", "data_type": "users", "default_work_dir": True},
        {"path": "/capstor/scratch", "data_type": "scratch", "default_work_dir": False},
    ]
    assert daint["data_operation"] == {
        "max_ops_file_size": 1048576,
        "datatransfer_jobs_directives": ["#SBATCH -A {account}"],
        "staging": [
            {
                "type": "s3",
                "options": {
                    "private_url": "http://minio:9000",
                    "public_url": "https://s3.example.org",
                    "access_key_id": "id",
                    "secret_access_key": "secret_file:/etc/firecrest/s3",
                    "region": "us-east-1",
                    "ttl": 604800,
                    "part_size": 1073741824,
                    "parallel": 5,
                    "lifecycle_days": 7,
                },
            }
        ],
    }


def test_health_checks(full: tuple[dict[str, Any], list[str]]) -> None:
    daint, eiger = full[0]["systems"]
    assert daint["probing"] == {
        "service_account": {
            "token_url": "https://idp.example.org/realms/hpc/protocol/openid-connect/token",
            "auth_method": "client_secret_post",
            "client_id": "probe",
            "client_secret": "secret_file:/etc/firecrest/probe.secret",
        },
        "interval": 120,
        "timeout": 20,
    }
    assert eiger["probing"] == {"interval": 60}


def test_issuers(full: tuple[dict[str, Any], list[str]]) -> None:
    same = {
        "any_issuer": True,
        "any_audience": True,
        "username_claim": "posix_name",
        "min_token_life": 45,
        "algorithms": ["ES256"],
    }
    assert full[0]["auth"]["issuers"] == [
        {"jwks_uri": "https://idp.example.org/realms/hpc/protocol/openid-connect/certs", **same},
        {"jwks_uri": "file:///etc/firecrest/jwks.json", **same},
    ]


def test_static_keys_keep_their_secret_files(full: tuple[dict[str, Any], list[str]]) -> None:
    assert full[0]["auth"]["ssh_credentials"] == {
        "type": "keys",
        "options": {
            "users": {
                "alice": {
                    "private_key": "secret_file:/etc/firecrest/alice",
                    "public_cert": "ssh-ed25519-cert-v01@openssh.com AAAA",
                    "passphrase": "secret_file:/etc/firecrest/alice.passphrase",
                },
                "svc_probe": {"private_key": "secret_file:/etc/firecrest/probe"},
            }
        },
    }


@pytest.mark.parametrize(
    "key",
    [
        "app_debug",
        "apis_root_path",
        "doc_servers",
        "auth.authentication.scopes",
        "auth.authorization",
        "clusters.0.scheduler.connection_mode",
        "clusters.0.scheduler.api_url",
        "clusters.0.scheduler.api_version",
        "clusters.0.data_operation.data_transfer.multipart.use_split",
        "clusters.0.data_operation.data_transfer.multipart.tmp_folder",
        "clusters.1.probing",
        "clusters.2.scheduler.type",
        "logger",
        "made_up",
    ],
)
def test_what_is_not_carried_over_is_named(
    full: tuple[dict[str, Any], list[str]], key: str
) -> None:
    result = [note for note in full[1] if note.startswith(f"{FULL}: {key}: ")]
    assert len(result) == 1
    assert "\n" not in result[0]


def test_the_loss_of_openfga_is_told_loudly(full: tuple[dict[str, Any], list[str]]) -> None:
    assert any("NOT CARRIED OVER, AND THIS OPENS ACCESS" in note for note in full[1])


def test_a_small_file_has_no_notes_but_about_its_issuer_and_secrets(tmp_path: Path) -> None:
    site, notes = small(tmp_path)
    assert len(site["systems"]) == 1
    assert [note.partition(": ")[0] for note in notes] == [
        "clusters.0.service_account.secret",
        *["auth.authentication.public_certs"] * 2,
        "ssh_credentials.keys.alice.private_key",
    ]
    assert "checks no audience" in notes[2]
    assert "nobody else may read" in notes[0]
    assert not any("hush" in note for note in notes)


def test_plain_http_is_carried_over_and_said(tmp_path: Path) -> None:
    site, notes = small(tmp_path, SMALL.replace("http://127.0.0.1:1", "http://idp.example.org"))
    assert site["auth"]["issuers"][0]["insecure_http"] is True
    assert site["systems"][0]["probing"]["service_account"]["insecure_http"] is True
    noted = [note.partition(": ")[::2] for note in notes if "plain http" in note]
    assert noted == [
        ("auth.authentication.token_url", _http("http://idp.example.org/token")),
        ("auth.authentication.public_certs", _http("http://idp.example.org/jwks")),
    ]


def _http(url: str) -> str:
    return f"{url} is plain http, which `insecure_http: true` accepts; use https"


@pytest.mark.parametrize("kind", ["SSHCA", "SSHService"])
def test_key_services_say_what_to_do_instead(tmp_path: Path, kind: str) -> None:
    text = SMALL.replace("type: SSHStaticKeys", f"type: {kind}").replace(
        "keys: {alice: {private_key: text}}", "url: http://keys.example.org\n  max_connections: 5"
    )
    site, notes = small(tmp_path, text)
    assert "ssh_credentials" not in site["auth"]
    assert [note for note in notes if note.startswith("ssh_credentials: not carried over: ")]


def test_earlier_releases(tmp_path: Path) -> None:
    text = SMALL.replace("  type: SSHStaticKeys\n  keys: ", "  ").replace(
        "{alice: {private_key: text}}", "alice: {private_key: text}"
    )
    text += "    datatransfer_jobs_directives: [a]\nstorage: {name: x, max_ops_file_size: 7, "
    text += "private_url: 'http://minio', accessKeyId: id, secret_access_key: s}\n"
    site, notes = small(tmp_path, text)
    assert site["auth"]["ssh_credentials"]["options"]["users"] == {"alice": {"private_key": "text"}}
    assert site["systems"][0]["data_operation"] == {
        "max_ops_file_size": 7,
        "datatransfer_jobs_directives": ["a"],
        "staging": [
            {
                "type": "s3",
                "options": {
                    "private_url": "http://minio",
                    "access_key_id": "id",
                    "secret_access_key": "s",
                },
            }
        ],
    }
    noted = [note.partition(": ")[0] for note in notes if note.startswith("storage")]
    assert noted == ["storage.secret_access_key"]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (
            "{service_type: streamer, portRange: [1000, 1009], public_ips: [192.0.2.1], "
            "wait_timeout: 9, inbound_transfer_limit: 8, host: 127.0.0.1}",
            {
                "type": "streamer",
                "options": {
                    "host": "127.0.0.1",
                    "port_range": [1000, 1009],
                    "public_ips": ["192.0.2.1"],
                    "wait_timeout": 9,
                    "inbound_transfer_limit": 8,
                },
            },
        ),
        ("{serviceType: wormhole, pypi_index_url: 'http://x'}", {"type": "wormhole"}),
        ("{service_type: pigeon}", None),
    ],
)
def test_staging_methods(tmp_path: Path, theirs: str, ours: dict[str, Any] | None) -> None:
    site, notes = small(tmp_path, SMALL + f"    data_operation: {{data_transfer: {theirs}}}\n")
    operation = site["systems"][0].get("data_operation", {})
    assert operation.get("staging", []) == ([ours] if ours else [])
    noted = [note for note in notes if note.startswith("clusters.0.data_operation")]
    assert len(noted) == ("streamer" not in theirs)


def test_clusters_in_a_directory(tmp_path: Path) -> None:
    whole = yaml.safe_load(SMALL)
    (tmp_path / "clusters").mkdir()
    for name in ("one", "two"):
        cluster = {**whole["clusters"][0], "name": name}
        (tmp_path / "clusters" / f"{name}.yaml").write_text(yaml.safe_dump(cluster))
    whole["clusters"] = f"path:{tmp_path / 'clusters'}"
    site, _ = small(tmp_path, yaml.safe_dump(whole))
    assert [system["name"] for system in site["systems"]] == ["one", "two"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("token_url", "other_url", "auth.authentication.token_url: missing"),
        ("{host: 127.0.0.1, port: 1}", "text", "clusters.0.ssh: must be a mapping"),
        ("{host: 127.0.0.1, port: 1}", "{port: 1}", "clusters.0.ssh.host: missing"),
        ("port: 1}", "port: many}", "systems.0 (cluster).ssh.port: "),
        ("clusters:", "clusters: {", "not valid YAML"),
        ("name: cluster", 'name: "a b"', "systems.0 (a b).name: "),
    ],
)
def test_mistakes_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        small(tmp_path, SMALL.replace(old, new, 1))
    assert str(tmp_path / "firecrest.yaml") in str(caught.value)
    assert message in str(caught.value)


async def test_host_keys_are_read_from_the_network(tmp_path: Path) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    server = await asyncssh.listen("127.0.0.1", 0, server_host_keys=[key])
    path = tmp_path / "firecrest.yaml"
    path.write_text(SMALL.replace("port: 1}", f"port: {server.get_port()}}}"))
    command = ["config", "import-firecrest", str(path)]
    done = await asyncio.to_thread(CliRunner().invoke, main, command)
    server.close()
    assert done.exit_code == 0, done.output
    ours = yaml.safe_load(done.stdout)["systems"][0]["ssh"]["host_keys"]
    assert ours == [" ".join(key.export_public_key().decode().split()[:2])]
    assert f"compare with the server's own: {key.get_fingerprint()}" in done.stderr


def test_a_silent_login_node_gets_a_note(tmp_path: Path) -> None:
    path = tmp_path / "firecrest.yaml"
    path.write_text(SMALL)
    text, notes = convert(path, read_host_keys=True)
    assert yaml.safe_load(text)["systems"][0]["ssh"]["host_keys"] == []
    assert any(
        "could not be read" in note and "ssh-keyscan -p 1 127.0.0.1" in note for note in notes
    )


def test_the_result_is_correct(tmp_path: Path) -> None:
    runner = CliRunner()
    path = tmp_path / "firecrest.yaml"
    path.write_text(SMALL)
    done = runner.invoke(main, ["config", "import-firecrest", "--no-host-keys", str(path)])
    key = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    site = yaml.safe_load(done.stdout)
    site["auth"]["ssh_credentials"]["options"]["users"]["alice"]["private_key"] = key
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(site))
    checked = runner.invoke(main, ["config", "check", str(tmp_path / "site.yaml")])
    assert checked.exit_code == 0, checked.output
