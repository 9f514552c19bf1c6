"""One system, tried from outside to inside: the way, the token, the login, what is there, and what a user asks for."""

import time
from collections.abc import Iterator, Sequence

import asyncssh
import jwt

from passerelle.cli.connect.tries import Tries
from passerelle.gateway.directory.probe import GrpcProbe, as_the_accounts, said_by
from passerelle.runtime import caller
from passerelle.runtime.caller import Caller
from passerelle.runtime.config.trials import LoggedIn, Trial
from passerelle.runtime.errors import ApiError
from passerelle.runtime.serving.auth_client import AuthClient
from passerelle.runtime.ssh.connection import Connection
from passerelle.runtime.ssh.route import connect, greet, shown_credential, shown_key
from passerelle.runtime.ssh.trials import identity
from passerelle.v1.access_pb2 import Access


class OneSystem:
    """The trials of one system, each of which needs what the one before it found."""

    def __init__(self, on: LoggedIn, authority: AuthClient, probe: GrpcProbe, tries: Tries) -> None:
        self._on = on
        self._system = on.system
        self._authority = authority
        self._probe = probe
        self._tries = tries
        self._token = ""
        self._caller = Caller("", "")

    async def run(self, inside: Sequence[Trial]) -> None:
        """Make them all; `inside` are those that only need the login. The connection is closed at the end."""
        place = f"{self._system.name}: "
        account = "probing.service_account"
        client = "the client at the identity provider"
        refused = "TrustedUserCAKeys, of a jump host AllowTcpForwarding too; the log of the sshd that refused"
        way = Trial("way", self._greeted, "ssh.host, ssh.port, proxy_host, host_keys, firewalls")
        chain = (
            Trial("token", self._got, f"{account}, and {client}"),
            Trial("account", self._accepted, f"auth.issuers, and {client}"),
            Trial("login", self._logged_in, refused),
            identity(self._on),
        )
        met = await self._tries.make(way, place)
        lacking = "" if self._system.probing.service_account else f"there is no {account}"
        try:
            for trial in chain:
                if trial.name == "login" and not met:
                    lacking = lacking or f"{way.name} failed"
                if lacking:
                    self._tries.skip(trial, lacking, place)
                elif not await self._tries.make(trial, place):
                    lacking = f"{trial.name} failed"
            for trial in (*inside, *self._asked()):
                if lacking and (trial.needs_commands or not self._on.opened):
                    self._tries.skip(trial, lacking, place)
                else:
                    await self._tries.make(trial, place)
        finally:
            if self._on.opened:
                await self._on.opened.close()

    async def _greeted(self) -> str:
        return await greet(self._system)

    async def _got(self) -> str:
        self._token = await self._probe.token(self._system)
        return f"{said_by(self._token)}, ends in {_life(self._token):.0f} s"

    async def _accepted(self) -> str:
        name = self._system.name
        try:
            self._caller = await self._authority.caller(self._token, demand=Access(), system=name)
        except ApiError as error:
            raise as_the_accounts(error, self._token) from None
        return self._caller.username

    async def _logged_in(self) -> str:
        key = asyncssh.generate_private_key("ssh-ed25519")
        public = key.export_public_key().decode().strip()
        with caller.bind(self._caller):
            credential = await self._authority.ssh_credential(self._system.name, public)
        route = await connect(self._system, credential, key)
        self._on.opened = Connection(self._system.name, self._system.ssh, route, credential.expires)
        keys = ", ".join(shown_key(found) for hop in route if (found := hop.get_server_host_key()))
        return f"user {credential.username}, {shown_credential(credential)}; host keys on the way: {keys}"

    def _asked(self) -> Iterator[Trial]:
        """What a user would ask for, by the services."""

        async def scheduler() -> str:
            return await self._probe.scheduler(self._system) or "answers"

        yield Trial("scheduler", scheduler, "scheduler.type, and whether it runs")
        for filesystem in self._system.filesystems:
            path = filesystem.path

            async def look(path: str = path) -> str:
                return await self._probe.filesystem(self._system, path) or "can be looked at"

            yield Trial(f"filesystem {path}", look, "filesystems: is it mounted there?")


def _life(token: str) -> float:
    """Seconds until a token ends, as it says itself; 0 when it does not."""
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
        return max(0.0, float(claims["exp"]) - time.time())
    except (jwt.InvalidTokenError, KeyError, TypeError, ValueError):
        return 0.0
