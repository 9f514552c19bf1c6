"""What a site's authorizer decides, with a fake at its port."""

import pytest

from passerelle.auth.authorizers.allow import Allow
from passerelle.auth.policy import Policy
from passerelle.auth.tokens.issuer import Issuer
from passerelle.auth.tokens.jwks import keys_of
from passerelle.auth.tokens.keyset import Key, KeySet
from passerelle.auth.tokens.principal import Principal
from passerelle.auth.tokens.validation import Tokens, TrustedIssuer
from passerelle.runtime.errors import Forbidden
from passerelle.v1.access_pb2 import Access
from tests.unit.auth.idp import Idp


class _Published:
    """Keys that are there without a server."""

    name = "the test"

    def __init__(self, idp: Idp) -> None:
        self._keys = keys_of({"keys": [idp.key.jwk]})

    async def keys(self) -> tuple[Key, ...]:
        return self._keys


class _OnlyReading:
    """An authorizer that knows one relation on one system."""

    async def allowed(self, principal: Principal, *, relation: str, system: str) -> bool:
        return (principal.username, relation, system) == ("alice", "can_read", "daint")


def _tokens(idp: Idp) -> Tokens:
    keys = KeySet(_Published(idp), refresh=60, cooldown=60, grace=60)
    return Tokens([TrustedIssuer(Issuer(issuer=idp.url, any_audience=True), keys)])


async def test_the_relation_is_asked_for_on_the_system() -> None:
    idp = Idp()
    policy = Policy(_tokens(idp), _OnlyReading(), enforce_scopes=False)
    access = Access(audience=Access.USER, relation="can_read")
    assert (await policy.caller(idp.token(), access=access, system="daint")).username == "alice"
    with pytest.raises(Forbidden, match="User alice may not do that on system alps"):
        await policy.caller(idp.token(), access=access, system="alps")
    write = Access(audience=Access.USER, relation="can_submit")
    with pytest.raises(Forbidden):
        await policy.caller(idp.token(), access=write, system="daint")


async def test_no_relation_asks_nobody() -> None:
    idp = Idp()
    policy = Policy(_tokens(idp), _OnlyReading(), enforce_scopes=False)
    result = await policy.caller(idp.token(), access=Access(audience=Access.USER), system="alps")
    assert result.username == "alice"


async def test_allow_leaves_the_decision_to_the_systems() -> None:
    idp = Idp()
    policy = Policy(_tokens(idp), Allow(Allow.Options()), enforce_scopes=False)
    access = Access(audience=Access.USER, relation="can_submit")
    assert (await policy.caller(idp.token(), access=access, system="any")).username == "alice"
