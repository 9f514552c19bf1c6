"""What a token says of its bearer stands under the same names wherever it travels."""

from dataclasses import fields
from typing import Any

from passerelle.auth.tokens.principal import Principal
from passerelle.runtime.caller import CLAIMS, Caller, claims_of
from passerelle.v1 import auth_pb2


def test_every_claim_has_its_field_everywhere() -> None:
    texts = {field.name for field in fields(Principal) if field.type in (str, "str")}
    assert texts == set(CLAIMS)
    assert set(CLAIMS) <= {field.name for field in fields(Caller)}
    assert set(CLAIMS) <= set(auth_pb2.Principal.DESCRIPTOR.fields_by_name)


def test_no_claim_is_lost_on_the_way() -> None:
    claims: Any = {name: f"the {name}" for name in CLAIMS}
    principal = Principal(scopes=frozenset(), expires=7, **claims)
    assert claims_of(principal.caller("token")) == claims
    assert claims_of(auth_pb2.Principal(**claims)) == claims
