"""Asks login nodes for their host keys: FirecREST accepts any, Passerelle only those that its configuration names."""

import asyncio
from collections.abc import Iterable
from typing import Any

_SECONDS = 5.0


def add_host_keys(systems: Iterable[dict[str, Any]], notes: list[str]) -> None:
    """Ask every system's login node and jump host for its key, set `ssh.host_keys`, and add a note for each."""
    asyncio.run(_ask_all([(system["name"], system["ssh"]) for system in systems], notes))


async def _ask_all(systems: list[tuple[str, dict[str, Any]]], notes: list[str]) -> None:
    async with asyncio.TaskGroup() as group:
        for name, ssh in systems:
            group.create_task(_ask(name, ssh, notes))


async def _ask(name: str, ssh: dict[str, Any], notes: list[str]) -> None:
    hosts = [(ssh["host"], ssh["port"])]
    if "proxy_host" in ssh:
        hosts.insert(0, (ssh["proxy_host"], ssh.get("proxy_port", 22)))
    ssh["host_keys"] = []
    for host, port in hosts:
        key, text = await _key_of(host, port)
        notes.append(f"system {name}: ssh.host_keys: {host}:{port}: {text}")
        if key and key not in ssh["host_keys"]:
            ssh["host_keys"].append(key)


async def _key_of(host: str, port: int) -> tuple[str | None, str]:
    """The host key as `ssh-ed25519 AAAA...`, or None; and a note for the operator."""
    import asyncssh

    try:
        async with asyncio.timeout(_SECONDS):
            key = await asyncssh.get_server_host_key(host, port, config=None)
    except (OSError, asyncssh.Error, TimeoutError) as error:
        why = str(error) or "no answer"
        return (
            None,
            f"could not be read ({why}); add it, or nobody can log in: ssh-keyscan -p {port} {host}",
        )
    if key is None:
        return None, "the server showed no host key; add it, or nobody can log in"
    text = " ".join(key.export_public_key().decode().split()[:2])
    return text, f"read from the network; compare with the server's own: {key.get_fingerprint()}"
