"""The host keys that a FirecREST configuration lacks: FirecREST accepts any, Passerelle none that it was not told."""

import asyncio
from collections.abc import Iterable
from typing import Any

_SECONDS = 5.0


def host_keys(systems: Iterable[dict[str, Any]], notes: list[str]) -> None:
    """Ask every system's login node and jump host for their keys, and set `ssh.host_keys`; `notes` tell the rest."""
    asyncio.run(_ask_all([(system["name"], system["ssh"]) for system in systems], notes))


async def _ask_all(systems: list[tuple[str, dict[str, Any]]], notes: list[str]) -> None:
    async with asyncio.TaskGroup() as group:
        for name, ssh in systems:
            group.create_task(_ask(name, ssh, notes))


async def _ask(name: str, ssh: dict[str, Any], notes: list[str]) -> None:
    places = [(ssh["host"], ssh["port"])]
    if "proxy_host" in ssh:
        places.insert(0, (ssh["proxy_host"], ssh.get("proxy_port", 22)))
    ssh["host_keys"] = []
    for host, port in places:
        key, text = await _key_of(host, port)
        notes.append(f"system {name}: ssh.host_keys: {host}:{port}: {text}")
        if key and key not in ssh["host_keys"]:
            ssh["host_keys"].append(key)


async def _key_of(host: str, port: int) -> tuple[str | None, str]:
    """The host key as `ssh-ed25519 AAAA...`, or None; and what to tell the operator."""
    import asyncssh

    try:
        async with asyncio.timeout(_SECONDS):
            found = await asyncssh.get_server_host_key(host, port, config=None)
    except (OSError, asyncssh.Error, TimeoutError) as error:
        why = str(error) or "no answer"
        return (
            None,
            f"could not be read ({why}); add it, or nobody can log in: ssh-keyscan -p {port} {host}",
        )
    if found is None:
        return None, "the server showed no host key; add it, or nobody can log in"
    text = " ".join(found.export_public_key().decode().split()[:2])
    return text, f"read from the network; compare with the server's own: {found.get_fingerprint()}"
