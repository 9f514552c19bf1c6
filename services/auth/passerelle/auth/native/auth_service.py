"""The services of `passerelle.v1` that auth serves: `AuthService` for clients, `AccessService` for other services."""

from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from passerelle.auth.credentials.port import Credential
from passerelle.auth.logins import Logins
from passerelle.auth.policy import Policy
from passerelle.auth.tokens.principal import Principal
from passerelle.auth.tokens.validation import Tokens
from passerelle.runtime import caller
from passerelle.v1 import auth_pb2 as pb
from passerelle.v1 import auth_pb2_grpc as pb_grpc


class AuthService(pb_grpc.AuthServiceServicer):
    """Returns the caller's principal."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    async def GetPrincipal(self, request: pb.GetPrincipalRequest, context: Any) -> pb.Principal:
        """Return the caller's own principal."""
        return _principal(await self._tokens.principal(caller.current().token))


class AccessService(pb_grpc.AccessServiceServicer):
    """Answers the other services."""

    def __init__(self, policy: Policy, logins: Logins) -> None:
        self._policy = policy
        self._logins = logins

    async def Authorize(self, request: pb.AuthorizeRequest, context: Any) -> pb.Principal:
        """The principal of a token, if it is authorised."""
        principal = await self._policy.principal(
            request.token, scope=request.scope, relation=request.relation, system=request.system
        )
        return _principal(principal)

    async def IssueSshCredential(
        self, request: pb.IssueSshCredentialRequest, context: Any
    ) -> pb.SshCredential:
        """A credential for a token's principal to log in to a system."""
        issued = await self._logins.credential(
            request.token, system=request.system, public_key=request.public_key
        )
        return _credential(issued)


def _principal(principal: Principal) -> pb.Principal:
    return pb.Principal(
        scopes=sorted(principal.scopes),
        expire_time=Timestamp(seconds=principal.expires),
        **caller.claims_of(principal),
    )


def _credential(issued: Credential) -> pb.SshCredential:
    texts = {name: getattr(issued, name) for name in ("username", "certificate", "private_key")}
    expires = None if issued.expires is None else Timestamp(seconds=issued.expires)
    return pb.SshCredential(**texts, expire_time=expires)
