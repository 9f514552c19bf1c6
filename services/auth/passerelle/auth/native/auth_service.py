"""The gRPC face of the auth service: converts, calls, converts."""

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
    """Who the caller is, for the caller."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    async def WhoAmI(self, request: pb.WhoAmIRequest, context: Any) -> pb.Principal:
        """The caller's own principal."""
        return _principal(await self._tokens.principal(caller.current().token))


class AccessService(pb_grpc.AccessServiceServicer):
    """What the other services ask."""

    def __init__(self, policy: Policy, logins: Logins) -> None:
        self._policy = policy
        self._logins = logins

    async def Authorize(self, request: pb.AuthorizeRequest, context: Any) -> pb.Principal:
        """Who a token stands for, if it may do what is asked."""
        found = await self._policy.principal(
            request.token, scope=request.scope, relation=request.relation, system=request.system
        )
        return _principal(found)

    async def IssueSshCredential(
        self, request: pb.IssueSshCredentialRequest, context: Any
    ) -> pb.SshCredential:
        """A way for a token's principal to log in."""
        issued = await self._logins.credential(
            request.token, system=request.system, public_key=request.public_key
        )
        return _credential(issued)


def _principal(found: Principal) -> pb.Principal:
    return pb.Principal(
        username=found.username,
        issuer=found.issuer,
        subject=found.subject,
        scopes=sorted(found.scopes),
        expire_time=Timestamp(seconds=found.expires),
        client_id=found.client_id,
    )


def _credential(issued: Credential) -> pb.SshCredential:
    return pb.SshCredential(
        username=issued.username,
        certificate=issued.certificate,
        private_key=issued.private_key,
        expire_time=None if issued.expires is None else Timestamp(seconds=issued.expires),
    )
