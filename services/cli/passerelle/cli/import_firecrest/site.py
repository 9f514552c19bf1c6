"""Converts a FirecREST v2 configuration into ours.

The keys are those of FirecREST 2.6 (src/firecrest/config.py), and those of earlier 2.x releases where they differ.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from passerelle.cli.import_firecrest.host_keys import add_host_keys
from passerelle.cli.import_firecrest.section_reader import SectionReader
from passerelle.cli.import_firecrest.staging import former_staging, staging
from passerelle.runtime.config import plugins
from passerelle.runtime.config.addresses import is_plain_http
from passerelle.runtime.config.site import ConfigError, site_model

_USE_OWN_CA = (
    "Passerelle signs SSH certificates itself: make a key (ssh-keygen -t ed25519 -f user_ca), put its public half "
    "under TrustedUserCAKeys on the systems, and set auth.ssh_credentials to "
    "{type: ca, options: {key_file: /path/to/user_ca}}; until then nobody can log in"
)
_OPENFGA = (
    "NOT CARRIED OVER, AND THIS OPENS ACCESS: OpenFGA decided who may use which system; the result lets every user "
    "with a valid token use every system on which they have an account and SSH credentials"
)

_ANY_AUDIENCE = (
    "FirecREST checks no audience, so tokens made for any application of the issuer are accepted, as before; better "
    "set auth.issuers[].audience instead of any_audience"
)


def convert(path: Path, *, read_host_keys: bool) -> tuple[str, list[str]]:
    """Our configuration as YAML, and notes for the operator, one line each.

    `read_host_keys`: ask each login node for its host key. Raises ConfigError for a file that is none of FirecREST's.
    """
    notes: list[str] = []
    try:
        site = _site(SectionReader(_yaml(path), "", notes), path)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    if read_host_keys:
        add_host_keys(site["systems"], notes)
    text = yaml.safe_dump(site, sort_keys=False, allow_unicode=True, width=10_000)
    try:
        # The files of secrets need not be on the machine where the configuration is translated.
        site_model().parse(text.replace("secret_file:", "file-"))
    except ConfigError as error:
        lines = (
            line.removeprefix("<text>:").partition(": ")[2] for line in str(error).splitlines()
        )
        problems = "\n".join(f"  {line}" for line in lines)
        raise ConfigError(f"{path}: cannot be carried over; in our terms:\n{problems}") from None
    return text, [f"{path}: {note}" for note in notes]


def _yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None


def _site(top: SectionReader, path: Path) -> dict[str, Any]:
    auth = top.section("auth")
    authentication = auth.section("authentication")
    account = {
        "token_url": authentication.require("token_url"),
        "auth_method": authentication.take("token_endpoint_auth_method", "client_secret_basic"),
    }
    account |= _plain_http(account["token_url"], authentication, "token_url")
    limits = _former_limits(top)
    systems = [_system(section, account, limits) for section in _clusters(top, path)]
    site: dict[str, Any] = {
        "systems": [system for system in systems if system],
        "auth": _auth(authentication),
    }
    if credentials := _credentials(top.section("ssh_credentials")):
        site["auth"]["ssh_credentials"] = credentials
    if auth.take("authorization"):
        auth.note(_OPENFGA, "authorization")
    top.drop(
        "apis_root_path", "Passerelle serves at the root; let the proxy in front cut the prefix off"
    )
    top.drop(
        "doc_servers", "the OpenAPI document is served by the gateway itself, at /openapi.json"
    )
    top.drop("logger", "logs are JSON lines, always")
    top.drop("app_debug", "no answer ever shows debug pages")
    top.take("app_version")
    for section in (authentication, auth, top):
        section.finish()
    return site


def _auth(authentication: SectionReader) -> dict[str, Any]:
    settings = authentication.rename(
        username_claim="username_claim",
        min_token_life="min_token_ttl",  # noqa: S106  # a key's name
    )
    if algorithm := authentication.take("jwk_algorithm"):
        settings["algorithms"] = [algorithm]
    urls = authentication.take("public_certs", [])
    authentication.drop("scopes", "scopes were shown in FirecREST's documentation only")
    if urls:
        authentication.note(
            "FirecREST names no issuer, so any `iss` signed with these keys is accepted, as before; "
            "better name it: auth.issuers[].issuer instead of any_issuer",
            "public_certs",
        )
        authentication.note(_ANY_AUDIENCE, "public_certs")
    else:
        authentication.note("is empty, so that no token will be accepted", "public_certs")
    issuer = {"any_issuer": True, "any_audience": True}
    return {
        "issuers": [
            {
                **issuer,
                "jwks_uri": url,
                **_plain_http(url, authentication, "public_certs"),
                **settings,
            }
            for url in urls
        ]
    }


def _plain_http(url: Any, section: SectionReader, key: str) -> dict[str, bool]:
    """The setting that accepts plain http: FirecREST accepts it always, Passerelle only where the site says so."""
    if not is_plain_http(str(url)):
        return {}
    section.note(f"{url} is plain http, which `insecure_http: true` accepts; use https", key)
    return {"insecure_http": True}


def _credentials(section: SectionReader) -> dict[str, Any] | None:
    """Static keys, under `keys` or, as earlier releases had them, without a type; None for a service of keys."""
    kind = section.take("type")
    url = section.take("url")
    if url or kind in ("SSHCA", "SSHService"):
        section.note(f"not carried over: {_USE_OWN_CA}")
        section.take("max_connections")
        section.finish()
        return None
    users = (section.section("keys") if kind else section).named_sections()
    section.finish()
    return {
        "type": "keys",
        "options": {"users": {name: _key(user) for name, user in users.items()}},
    }


def _key(user: SectionReader) -> dict[str, Any]:
    key = {"private_key": user.secret("private_key")}
    if "passphrase" in user:
        key["passphrase"] = user.secret("passphrase")
    key |= user.rename(public_cert="public_cert")
    user.finish()
    return key


def _clusters(top: SectionReader, path: Path) -> list[SectionReader]:
    """The systems: a list, or every *.yaml in the directory that `path:/directory` names."""
    where = top.take("clusters", [])
    if not (isinstance(where, str) and where.startswith("path:")):
        return list(SectionReader({"clusters": where}, "", top.notes).sections("clusters"))
    directory = path.parent / Path(where.removeprefix("path:")).expanduser()
    if not directory.is_dir():
        raise ConfigError(f"clusters: {directory} is no directory")
    files = sorted(directory.glob("*.yaml"))
    return [SectionReader(_yaml(file), f"clusters({file.name})", top.notes) for file in files]


def _former_limits(top: SectionReader) -> dict[str, Any]:
    """The limits that releases before 2.4 had once for all systems."""
    limits = top.section("data_operation")
    values = _data_operation(limits)
    storage = top.section("storage")
    values |= storage.rename(max_ops_file_size="max_ops_file_size")
    if methods := former_staging(storage):
        values["staging"] = methods
    storage.finish()
    return values


def _system(
    section: SectionReader, account: Mapping[str, Any], limits: Mapping[str, Any]
) -> dict[str, Any] | None:
    """One system; None, with a note, when its scheduler has no plugin here."""
    name = str(section.require("name")).lower()
    scheduler = _scheduler(section.section("scheduler"))
    if scheduler["type"] not in plugins.names("passerelle.schedulers"):
        section.note(
            f"not carried over: there is no plugin for the scheduler {scheduler['type']}",
            "scheduler.type",
        )
        return None
    system: dict[str, Any] = {
        "name": name,
        "ssh": _ssh(section.section("ssh")),
        "scheduler": scheduler,
    }
    filesystems = [_filesystem(inner) for inner in section.sections("file_systems")]
    former = section.rename(datatransfer_jobs_directives="datatransfer_jobs_directives")
    system |= {
        "filesystems": filesystems,
        "probing": _probing(section, account),
        "data_operation": {
            **limits,
            **former,
            **_data_operation(section.section("data_operation")),
        },
    }
    section.take("services_health")
    section.take("last_health_check")
    section.finish()
    return {key: value for key, value in system.items() if value}


def _ssh(section: SectionReader) -> dict[str, Any]:
    ssh = {"host": section.require("host"), "port": section.require("port")}
    ssh |= section.rename(
        proxy_host="proxy_host", proxy_port="proxy_port", max_connections="max_clients"
    )
    timeout = section.section("timeout")
    ssh["timeout"] = timeout.rename(
        connection="connection",
        login="login",
        command="command_execution",
        idle="idle_timeout",
        keep_alive="keep_alive",
    )
    timeout.finish()
    section.finish()
    return {key: value for key, value in ssh.items() if value != {}}


def _scheduler(section: SectionReader) -> dict[str, Any]:
    scheduler = {"type": str(section.require("type")).lower()}
    scheduler |= section.rename(version="version", timeout="timeout")
    if "version" in scheduler:
        scheduler["version"] = str(scheduler["version"])
    mode = section.take("connection_mode", "ssh")
    if mode != "ssh":
        section.note(
            f"{mode} not carried over: Passerelle talks to the scheduler over SSH",
            "connection_mode",
        )
    for name in ("api_url", "api_version"):
        section.drop(name, "Passerelle talks to the scheduler over SSH")
    section.finish()
    return scheduler


def _filesystem(section: SectionReader) -> dict[str, Any]:
    filesystem = {"path": section.require("path"), "data_type": section.require("data_type")}
    filesystem |= section.rename(default_work_dir="default_work_dir")
    section.finish()
    return filesystem


def _probing(system: SectionReader, account: Mapping[str, Any]) -> dict[str, Any]:
    """Health checks, by the service account; without services to check, none."""
    service_account = system.section("service_account")
    probing = system.section("probing")
    values = probing.rename(interval="interval_check", timeout="timeout")
    values |= probing.rename(interval="interval")
    services = probing.take("services")
    timeouts = [
        check["timeout"] for check in (services or {}).values() if check and "timeout" in check
    ]
    if timeouts:
        values["timeout"] = max(timeouts)
    client = {
        "client_id": service_account.require("client_id"),
        "client_secret": service_account.secret("secret"),
    }
    probing.finish()
    service_account.finish()
    # `timeout` beside `interval` is how earlier releases asked for all checks.
    if services or "timeout" in values:
        return {"service_account": {**account, **client}, **values}
    probing.note(
        "no services, so that health is not checked; FirecREST accepts paths outside file_systems then, "
        "Passerelle refuses them"
    )
    return values


def _data_operation(section: SectionReader) -> dict[str, Any]:
    values = section.rename(
        max_ops_file_size="max_ops_file_size",
        datatransfer_jobs_directives="datatransfer_jobs_directives",
    )
    if "data_transfer" in section:
        values["staging"] = staging(section.section("data_transfer"))
    section.finish()
    return values
