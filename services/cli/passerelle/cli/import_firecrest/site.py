"""A FirecREST v2 configuration becomes ours.

The keys are those of FirecREST 2.6 (src/firecrest/config.py), and those of earlier 2.x releases where they differ.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from passerelle.cli.import_firecrest.host_keys import host_keys
from passerelle.cli.import_firecrest.part import Part
from passerelle.cli.import_firecrest.staging import former_staging, staging
from passerelle.runtime import plugins
from passerelle.runtime.config.addresses import is_plain_http
from passerelle.runtime.config.site import ConfigError, site_model

_INSTEAD_OF_KEY_SERVICE = (
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


def imported(path: Path, *, read_host_keys: bool) -> tuple[str, list[str]]:
    """Our configuration as YAML, and notes for the operator, one line each.

    `read_host_keys`: ask each login node for its host key. Raises ConfigError for a file that is none of FirecREST's.
    """
    notes: list[str] = []
    try:
        site = _site(Part(_yaml(path), "", notes), path)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    if read_host_keys:
        host_keys(site["systems"], notes)
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


def _site(top: Part, path: Path) -> dict[str, Any]:
    auth = top.part("auth")
    authentication = auth.part("authentication")
    account = {
        "token_url": authentication.demand("token_url"),
        "auth_method": authentication.take("token_endpoint_auth_method", "client_secret_basic"),
    }
    account |= _plain(account["token_url"], authentication, "token_url")
    limits = _former_limits(top)
    systems = [_system(part, account, limits) for part in _clusters(top, path)]
    site: dict[str, Any] = {
        "systems": [system for system in systems if system],
        "auth": _auth(authentication),
    }
    if credentials := _credentials(top.part("ssh_credentials")):
        site["auth"]["ssh_credentials"] = credentials
    if auth.take("authorization"):
        auth.note(_OPENFGA, "authorization")
    top.leave(
        "apis_root_path", "Passerelle serves at the root; let the proxy in front cut the prefix off"
    )
    top.leave(
        "doc_servers", "the OpenAPI document is served by the gateway itself, at /openapi.json"
    )
    top.leave("logger", "logs are JSON lines, always")
    top.leave("app_debug", "no answer ever shows debug pages")
    top.take("app_version")
    for part in (authentication, auth, top):
        part.end()
    return site


def _auth(authentication: Part) -> dict[str, Any]:
    settings = authentication.rename(
        username_claim="username_claim",
        min_token_life="min_token_ttl",  # noqa: S106  # a key's name
    )
    if algorithm := authentication.take("jwk_algorithm"):
        settings["algorithms"] = [algorithm]
    urls = authentication.take("public_certs", [])
    authentication.leave("scopes", "scopes were shown in FirecREST's documentation only")
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
            {**issuer, "jwks_uri": url, **_plain(url, authentication, "public_certs"), **settings}
            for url in urls
        ]
    }


def _plain(url: Any, part: Part, key: str) -> dict[str, bool]:
    """FirecREST takes plain http without a word; here it has to be said."""
    if not is_plain_http(str(url)):
        return {}
    part.note(f"{url} is plain http, which `insecure_http: true` accepts; use https", key)
    return {"insecure_http": True}


def _credentials(part: Part) -> dict[str, Any] | None:
    """Static keys, under `keys` or, as earlier releases had them, without a type; None for a service of keys."""
    kind = part.take("type")
    url = part.take("url")
    if url or kind in ("SSHCA", "SSHService"):
        part.note(f"not carried over: {_INSTEAD_OF_KEY_SERVICE}")
        part.take("max_connections")
        part.end()
        return None
    users = (part.part("keys") if kind else part).named()
    part.end()
    return {
        "type": "keys",
        "options": {"users": {name: _key(user) for name, user in users.items()}},
    }


def _key(user: Part) -> dict[str, Any]:
    key = {"private_key": user.secret("private_key")}
    if "passphrase" in user:
        key["passphrase"] = user.secret("passphrase")
    key |= user.rename(public_cert="public_cert")
    user.end()
    return key


def _clusters(top: Part, path: Path) -> list[Part]:
    """The systems: a list, or every *.yaml in the directory that `path:/directory` names."""
    where = top.take("clusters", [])
    if not (isinstance(where, str) and where.startswith("path:")):
        return list(Part({"clusters": where}, "", top.notes).parts("clusters"))
    directory = path.parent / Path(where.removeprefix("path:")).expanduser()
    if not directory.is_dir():
        raise ConfigError(f"clusters: {directory} is no directory")
    files = sorted(directory.glob("*.yaml"))
    return [Part(_yaml(file), f"clusters({file.name})", top.notes) for file in files]


def _former_limits(top: Part) -> dict[str, Any]:
    """What releases before 2.4 said once for all systems."""
    limits = top.part("data_operation")
    found = _data_operation(limits)
    storage = top.part("storage")
    found |= storage.rename(max_ops_file_size="max_ops_file_size")
    if methods := former_staging(storage):
        found["staging"] = methods
    storage.end()
    return found


def _system(
    part: Part, account: Mapping[str, Any], limits: Mapping[str, Any]
) -> dict[str, Any] | None:
    """One system; None, with a note, when its scheduler has no plugin here."""
    name = str(part.demand("name")).lower()
    scheduler = _scheduler(part.part("scheduler"))
    if scheduler["type"] not in plugins.names("passerelle.schedulers"):
        part.note(
            f"not carried over: there is no plugin for the scheduler {scheduler['type']}",
            "scheduler.type",
        )
        return None
    system: dict[str, Any] = {"name": name, "ssh": _ssh(part.part("ssh")), "scheduler": scheduler}
    filesystems = [_filesystem(inner) for inner in part.parts("file_systems")]
    former = part.rename(datatransfer_jobs_directives="datatransfer_jobs_directives")
    system |= {
        "filesystems": filesystems,
        "probing": _probing(part, account),
        "data_operation": {**limits, **former, **_data_operation(part.part("data_operation"))},
    }
    part.take("services_health")
    part.take("last_health_check")
    part.end()
    return {key: value for key, value in system.items() if value}


def _ssh(part: Part) -> dict[str, Any]:
    ssh = {"host": part.demand("host"), "port": part.demand("port")}
    ssh |= part.rename(
        proxy_host="proxy_host", proxy_port="proxy_port", max_connections="max_clients"
    )
    timeout = part.part("timeout")
    ssh["timeout"] = timeout.rename(
        connection="connection",
        login="login",
        command="command_execution",
        idle="idle_timeout",
        keep_alive="keep_alive",
    )
    timeout.end()
    part.end()
    return {key: value for key, value in ssh.items() if value != {}}


def _scheduler(part: Part) -> dict[str, Any]:
    scheduler = {"type": str(part.demand("type")).lower()}
    scheduler |= part.rename(version="version", timeout="timeout")
    if "version" in scheduler:
        scheduler["version"] = str(scheduler["version"])
    mode = part.take("connection_mode", "ssh")
    if mode != "ssh":
        part.note(
            f"{mode} not carried over: Passerelle talks to the scheduler over SSH",
            "connection_mode",
        )
    for name in ("api_url", "api_version"):
        part.leave(name, "Passerelle talks to the scheduler over SSH")
    part.end()
    return scheduler


def _filesystem(part: Part) -> dict[str, Any]:
    filesystem = {"path": part.demand("path"), "data_type": part.demand("data_type")}
    filesystem |= part.rename(default_work_dir="default_work_dir")
    part.end()
    return filesystem


def _probing(system: Part, account: Mapping[str, Any]) -> dict[str, Any]:
    """Health checks, by the service account; without services to check, none."""
    service_account = system.part("service_account")
    probing = system.part("probing")
    found = probing.rename(interval="interval_check", timeout="timeout")
    found |= probing.rename(interval="interval")
    services = probing.take("services")
    timeouts = [
        inner["timeout"] for inner in (services or {}).values() if inner and "timeout" in inner
    ]
    if timeouts:
        found["timeout"] = max(timeouts)
    client = {
        "client_id": service_account.demand("client_id"),
        "client_secret": service_account.secret("secret"),
    }
    probing.end()
    service_account.end()
    # `timeout` beside `interval` is how earlier releases asked for all checks.
    if services or "timeout" in found:
        return {"service_account": {**account, **client}, **found}
    probing.note(
        "no services, so that health is not checked; FirecREST accepts paths outside file_systems then, "
        "Passerelle refuses them"
    )
    return found


def _data_operation(part: Part) -> dict[str, Any]:
    found = part.rename(
        max_ops_file_size="max_ops_file_size",
        datatransfer_jobs_directives="datatransfer_jobs_directives",
    )
    if "data_transfer" in part:
        found["staging"] = staging(part.part("data_transfer"))
    part.end()
    return found
