"""Tries one system, step by step: network, token, login, programs on the system, and a user's requests."""

import time
from collections.abc import Iterator, Sequence
from functools import partial

import asyncssh
import jwt

from passerelle.cli.check.trial_runner import TrialRunner
from passerelle.gateway.directory.checks import CHECKS, Check
from passerelle.gateway.directory.probe import GrpcProbe, about_the_account, token_summary
from passerelle.runtime import caller
from passerelle.runtime.caller import Caller
from passerelle.runtime.config.system_trials import output_of
from passerelle.runtime.config.trials import SystemLogin, Trial
from passerelle.runtime.errors import ApiError
from passerelle.runtime.serving.auth_client import AuthClient
from passerelle.runtime.ssh.accounts import require_user
from passerelle.runtime.ssh.connection import Connection
from passerelle.runtime.ssh.route import connect, credential_summary, greet, key_summary
from passerelle.v1.access_pb2 import Access


class SystemCheck:
    """The trials of one system. Most of them need the result of the one before."""

    def __init__(
        self, login: SystemLogin, authority: AuthClient, probe: GrpcProbe, runner: TrialRunner
    ) -> None:
        self._login = login
        self._system = login.system
        self._authority = authority
        self._probe = probe
        self._runner = runner
        self._prefix = f"{self._system.name}: "
        self._token = ""
        self._caller = Caller("", "")
        self._connection: Connection | None = None

    async def run(self, on_system: Sequence[Trial]) -> None:
        """Run them all; `on_system` are those that need the login only. Closes the connection at the end."""
        try:
            missing = await self._run_chain()
            for trial in (*on_system, *self._requests()):
                if missing and (trial.needs_commands or not self._login.opened):
                    self._runner.skip(trial, missing, self._prefix)
                else:
                    await self._runner.run(trial, self._prefix)
        finally:
            if self._connection:
                await self._connection.close()

    async def _run_chain(self) -> str:
        """Run the trials that lead to a command on the system; returns what is missing for the others, or nothing."""
        account = "probing.service_account"
        client = "the client at the identity provider"
        refused = "TrustedUserCAKeys, of a jump host AllowTcpForwarding too; the log of the sshd that refused"
        way = Trial("way", self._greet, "ssh.host, ssh.port, proxy_host, host_keys, firewalls")
        chain = (
            Trial("token", self._get_token, f"{account}, and {client}"),
            Trial("account", self._authorize, f"auth.issuers, and {client}"),
            Trial("login", self._log_in, refused),
            Trial(
                "id",
                self._identify,
                "the account's login shell and its start-up files, ForceCommand, ssh.least_uid",
            ),
        )
        reachable = await self._runner.run(way, self._prefix)
        missing = "" if self._system.probing.service_account else f"there is no {account}"
        for trial in chain:
            if trial.name == "login" and not reachable:
                missing = missing or f"{way.name} failed"
            if missing:
                self._runner.skip(trial, missing, self._prefix)
            elif not await self._runner.run(trial, self._prefix):
                missing = f"{trial.name} failed"
        return missing

    async def _greet(self) -> str:
        return await greet(self._system)

    async def _get_token(self) -> str:
        self._token = await self._probe.token(self._system)
        return f"{token_summary(self._token)}, ends in {_remaining(self._token):.0f} s"

    async def _authorize(self) -> str:
        name = self._system.name
        try:
            self._caller = await self._authority.caller(self._token, access=Access(), system=name)
        except ApiError as error:
            raise about_the_account(error, self._token) from None
        return self._caller.username

    async def _log_in(self) -> str:
        key = asyncssh.generate_private_key("ssh-ed25519")
        public = key.export_public_key().decode().strip()
        with caller.bind(self._caller):
            credential = await self._authority.ssh_credential(self._system.name, public)
        route = await connect(self._system, credential, key)
        connection = Connection(self._system.name, self._system.ssh, route, credential.expires)
        self._connection = self._login.opened = connection
        keys = ", ".join(key_summary(host) for hop in route if (host := hop.get_server_host_key()))
        return f"user {credential.username}, {credential_summary(credential)}; host keys on the way: {keys}"

    async def _identify(self) -> str:
        """Whether commands run, as a user's account."""
        identity = (await output_of(self._login, ("id",))).strip()
        if self._connection:
            await require_user(self._connection, self._system.ssh)
        return identity

    def _requests(self) -> Iterator[Trial]:
        """The health checks, as a user would ask the services."""
        for check in CHECKS:
            for path in check.paths(self._system):
                name = f"{check.service} {path}".rstrip()
                yield Trial(name, partial(self._ask, check, path), check.advice)

    async def _ask(self, check: Check, path: str) -> str:
        return await self._probe.ask(check, self._system, path) or check.success


def _remaining(token: str) -> float:
    """Seconds until the end of a token, by its own claims; 0 when they do not say."""
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
        return max(0.0, float(claims["exp"]) - time.time())
    except (jwt.InvalidTokenError, KeyError, TypeError, ValueError):
        return 0.0
