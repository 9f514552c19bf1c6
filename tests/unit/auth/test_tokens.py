"""Access tokens, through the real service: who is let in, and what the others are told."""

import base64
import time
from typing import Any

import grpc
import jwt
import pytest
from grpc import StatusCode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from passerelle.auth.tokens.issuer import Issuer
from passerelle.auth.tokens.refusals import Refusal, RefusalLog
from passerelle.auth.tokens.validation import Tokens
from passerelle.runtime.config.site import ConfigError
from passerelle.runtime.errors import Unauthenticated
from passerelle.v1 import auth_pb2 as pb
from passerelle.v1 import auth_pb2_grpc as pb_grpc
from tests.examples import examples
from tests.unit.auth.conftest import Auth, serving_auth
from tests.unit.auth.idp import Idp, SigningKey, forged

INVALID = (StatusCode.UNAUTHENTICATED, "Access token is invalid.")
EXPIRED = (StatusCode.UNAUTHENTICATED, "Access token expired")
NO_KEY = (StatusCode.UNAUTHENTICATED, "Token's public key not found.")
TOO_SHORT = (
    StatusCode.UNAUTHENTICATED,
    "Access token expires too soon (less than 30s remaining).",
)


async def test_a_good_token_tells_who_it_stands_for(idp: Idp, auth: Auth) -> None:
    claims = idp.claims()
    principal = await auth.authorize(idp.key.token(**claims))
    assert principal.username == "alice"
    assert (principal.issuer, principal.subject) == (idp.url, "a-1")
    assert list(principal.scopes) == ["files.read", "jobs.read"]
    assert principal.expire_time.seconds == claims["exp"]


@pytest.mark.parametrize(
    ("claims", "client_id"),
    [
        ({"azp": "portal", "client_id": "other"}, "portal"),
        ({"client_id": "robot"}, "robot"),
        ({}, ""),
    ],
)
async def test_the_client_that_a_token_was_issued_to(
    idp: Idp, auth: Auth, claims: dict[str, str], client_id: str
) -> None:
    assert (await auth.authorize(idp.token(**claims))).client_id == client_id


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA"])
async def test_every_default_algorithm(idp: Idp, auth: Auth, algorithm: str) -> None:
    idp.key = SigningKey("other", algorithm)
    idp.keys.append(idp.key)
    assert (await auth.authorize(idp.token())).username == "alice"


def _wrong_signature(idp: Idp) -> str:
    return SigningKey("first").token(**idp.claims())


def _unsigned(idp: Idp) -> str:
    return forged({"alg": "none", "kid": "first"}, idp.claims())


def _hmac_with_the_public_key(idp: Idp) -> str:
    return forged({"alg": "HS256", "kid": "first"}, idp.claims(), idp.key.pem)


def _algorithm_of_another_key_type(idp: Idp) -> str:
    return SigningKey("first", "RS256").token(**idp.claims())


def _critical_extension(idp: Idp) -> str:
    header = {"kid": "first", "crit": ["exotic"], "exotic": 1}
    return jwt.encode(idp.claims(), idp.key.private, algorithm="ES256", headers=header)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda idp: "", INVALID),
        (lambda idp: "not a token", INVALID),
        (lambda idp: "a.b.c", INVALID),
        (lambda idp: "a" * 100_000, INVALID),
        (_wrong_signature, INVALID),
        (_unsigned, INVALID),
        (_hmac_with_the_public_key, INVALID),
        (_algorithm_of_another_key_type, NO_KEY),
        (_critical_extension, INVALID),
        (lambda idp: idp.key.token(kid="unknown", **idp.claims()), NO_KEY),
        (lambda idp: idp.token(iss="https://elsewhere.example"), INVALID),
        (lambda idp: idp.token(iss=idp.url + "/"), INVALID),
        (lambda idp: idp.token(iss=None), INVALID),
        (lambda idp: forged({"alg": "ES256"}, {"iss": [idp.url]}), INVALID),
        (lambda idp: idp.token(exp=None), INVALID),
        (lambda idp: idp.token(exp="soon"), INVALID),
        (lambda idp: idp.token(exp=str(int(time.time()) + 600)), INVALID),
        (lambda idp: idp.token(nbf="0"), INVALID),
        (lambda idp: idp.token(iat=True), INVALID),
        (lambda idp: idp.token(sub="\ud800"), INVALID),
        (lambda idp: idp.token(azp="a \udfff"), INVALID),
        (lambda idp: idp.token(scope=["\ud800"]), INVALID),
        (lambda idp: idp.token(exp=int(time.time()) - 3600), EXPIRED),
        (lambda idp: idp.token(exp=int(time.time()) - 2), EXPIRED),
        (lambda idp: idp.token(exp=int(time.time()) + 10), TOO_SHORT),
        (lambda idp: idp.token(nbf=int(time.time()) + 600), INVALID),
        (lambda idp: idp.token(iat=int(time.time()) + 600), INVALID),
    ],
)
async def test_a_bad_token_is_refused(idp: Idp, auth: Auth, make: Any, expected: Any) -> None:
    assert await auth.refusal(make(idp)) == expected


@settings(max_examples=examples(200), deadline=None)
@given(
    st.one_of(
        st.text(max_size=200),
        st.builds(
            forged,
            st.dictionaries(st.sampled_from(["alg", "kid", "crit", "b64", "typ"]), st.text()),
            st.dictionaries(
                st.sampled_from(["iss", "exp", "sub"]), st.recursive(st.none(), st.lists)
            ),
        ),
        st.integers(1, 40_000).map(lambda depth: forged({"alg": "ES256"}, {}) + "[" * depth),
    )
)
async def test_whatever_is_sent_is_refused_as_no_token(text: str) -> None:
    with pytest.raises(Unauthenticated):
        await Tokens([]).principal(text)


async def test_deeply_nested_json_is_refused_as_no_token() -> None:
    nested = base64.urlsafe_b64encode(b"[" * 20_000).decode().rstrip("=")
    with pytest.raises(Unauthenticated):
        await Tokens([]).principal(f"{nested}.{nested}.")


async def test_a_token_without_key_id_when_there_is_one_key(idp: Idp, auth: Auth) -> None:
    token = idp.key.token(kid=None, **idp.claims())
    assert (await auth.authorize(token)).username == "alice"


async def test_a_token_without_key_id_when_there_are_two(idp: Idp, auth: Auth) -> None:
    idp.keys.append(SigningKey("second"))
    assert await auth.refusal(idp.key.token(kid=None, **idp.claims())) == NO_KEY


async def test_dates_at_the_end_of_time(idp: Idp, auth: Auth) -> None:
    principal = await auth.authorize(idp.token(exp=10**15))
    assert principal.expire_time.ToDatetime().year == 9999


@pytest.mark.parametrize(
    ("aud", "allowed"),
    [("api", True), (["other", "api"], True), ("other", False), (["other"], False), (None, False)],
)
async def test_the_audience_when_configured(idp: Idp, aud: Any, allowed: bool) -> None:
    async with serving_auth({"issuer": idp.url, "audience": ["api", "web"]}) as auth:
        token = idp.token(aud=aud)
        if allowed:
            assert (await auth.authorize(token)).username == "alice"
        else:
            assert await auth.refusal(token) == INVALID


async def test_any_audience_where_that_is_said(idp: Idp, auth: Auth) -> None:
    assert (await auth.authorize(idp.token(aud="other"))).username == "alice"


async def test_the_clock_may_differ_by_the_configured_skew(idp: Idp, auth: Auth) -> None:
    ahead = int(time.time()) + 3
    assert (await auth.authorize(idp.token(nbf=ahead, iat=ahead))).username == "alice"


async def test_the_least_minimum_life_still_refuses_what_has_expired(idp: Idp) -> None:
    async with serving_auth({"issuer": idp.url, "min_token_life": 1}) as auth:
        assert (await auth.authorize(idp.token(exp=int(time.time()) + 10))).username == "alice"
        assert await auth.refusal(idp.token(exp=int(time.time()) - 2)) == EXPIRED


async def test_only_configured_algorithms(idp: Idp) -> None:
    async with serving_auth({"issuer": idp.url, "algorithms": ["RS256"]}) as auth:
        assert await auth.refusal(idp.token()) == INVALID


@pytest.mark.parametrize("value", [None, ""])
async def test_a_missing_user_name(idp: Idp, auth: Auth, value: Any) -> None:
    code, message = await auth.refusal(idp.token(preferred_username=value))
    assert code is StatusCode.INVALID_ARGUMENT
    assert message == "Authentication token 'preferred_username' claim is missing"


async def test_another_claim_for_the_user_name(idp: Idp) -> None:
    async with serving_auth({"issuer": idp.url, "username_claim": "account"}) as auth:
        assert (await auth.authorize(idp.token(account="bob_1"))).username == "bob_1"
        _, message = await auth.refusal(idp.token())
        assert message == "Authentication token 'account' claim is missing"


@pytest.mark.parametrize(
    "name",
    [
        "a b",
        "-rf",
        "../x",
        "a\nb",
        "alice\n",
        "a;id",
        "x" * 33,
        "é",
        "a@b",
        "1000",
        ".",
        7,
        ["alice"],
    ],
)
async def test_a_user_name_that_is_no_account_name(idp: Idp, auth: Auth, name: Any) -> None:
    code, message = await auth.refusal(idp.token(preferred_username=name))
    assert code is StatusCode.PERMISSION_DENIED
    assert "not a valid account name" in message


@settings(
    max_examples=examples(50),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(name=st.text(min_size=1, max_size=40))
async def test_an_accepted_user_name_is_safe_everywhere(idp: Idp, auth: Auth, name: str) -> None:
    try:
        result = (await auth.authorize(idp.token(preferred_username=name))).username
    except grpc.aio.AioRpcError as error:
        assert error.code() is StatusCode.PERMISSION_DENIED  # noqa: PT017
        return
    assert result == name
    assert result.isascii()
    assert not set(result) & set(" /:;&|\\'\"`(){}<>*?!#~\n\0")


@pytest.mark.parametrize("name", ["root", "ROOT"])
async def test_root_only_where_it_is_allowed(idp: Idp, auth: Auth, name: str) -> None:
    code, message = await auth.refusal(idp.token(preferred_username=name))
    assert (code, message) == (StatusCode.PERMISSION_DENIED, f"The account {name} may not be used.")
    async with serving_auth({"issuer": idp.url, "allow_root": True}) as lenient:
        assert (await lenient.authorize(idp.token(preferred_username=name))).username == name


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({"scope": "a b"}, ["a", "b"]),
        ({"scope": ["b", "a"]}, ["a", "b"]),
        ({"scope": None, "scp": "a"}, ["a"]),
        ({"scope": None, "scp": ["a"]}, ["a"]),
        ({"scope": None}, []),
        ({"scope": 7}, []),
    ],
)
async def test_scopes_in_all_their_spellings(
    idp: Idp, auth: Auth, claims: dict[str, Any], scopes: list[str]
) -> None:
    assert list((await auth.authorize(idp.token(**claims))).scopes) == scopes


async def test_scopes_are_enforced_where_configured(idp: Idp) -> None:
    async with serving_auth({"issuer": idp.url}, enforce_scopes=True) as auth:
        assert (await auth.authorize(idp.token(), scope="jobs.read")).username == "alice"
        code, message = await auth.refusal(idp.token(), scope="jobs.write")
    assert (code, message) == (
        StatusCode.PERMISSION_DENIED,
        "The access token lacks the scope jobs.write.",
    )


async def test_scopes_are_ignored_otherwise(idp: Idp, auth: Auth) -> None:
    assert (await auth.authorize(idp.token(), scope="jobs.write")).username == "alice"


async def test_who_am_i_is_for_users(idp: Idp, auth: Auth) -> None:
    stub: pb_grpc.AuthServiceAsyncStub = pb_grpc.AuthServiceStub(auth.channel)
    bearer = (("authorization", f"Bearer {idp.token()}"),)
    assert (await stub.GetPrincipal(pb.GetPrincipalRequest(), metadata=bearer)).username == "alice"
    with pytest.raises(grpc.aio.AioRpcError, match="Not authenticated"):
        await stub.GetPrincipal(pb.GetPrincipalRequest())


async def test_authorize_is_for_services_only(idp: Idp, auth: Auth) -> None:
    stub: pb_grpc.AccessServiceAsyncStub = pb_grpc.AccessServiceStub(auth.channel)
    bearer = (("authorization", f"Bearer {idp.token()}"),)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.Authorize(pb.AuthorizeRequest(token=idp.token()), metadata=bearer)
    assert refused.value.code() is StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize(
    "invalid",
    [
        {},
        {"issuer": "https://a.example", "any_issuer": True},
        {"any_issuer": True},
        {"issuer": "a.example"},
        {"issuer": "https://a.example", "jwks_uri": "ftp://a.example/jwks"},
        {"issuer": "https://a.example", "algorithms": ["HS256"]},
        {"issuer": "https://a.example", "algorithms": ["none"]},
        {"issuer": "https://a.example", "algorithms": []},
        {"issuer": "https://a.example", "any_audience": False},
        {"issuer": "https://a.example", "audience": ["a"]},
        {"issuer": "https://a.example", "min_token_life": 0},
        {"issuer": "https://a.example", "grace": 10**9},
        {"issuer": "https://a.example", "accounts": []},
    ],
)
def test_a_configuration_that_would_be_unsafe_is_refused(invalid: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        Issuer.model_validate({"any_audience": True} | invalid)


async def test_the_same_issuer_twice_is_refused(idp: Idp) -> None:
    with pytest.raises(ConfigError, match="same identifier"):
        async with serving_auth({"issuer": idp.url}, {"issuer": idp.url, "audience": ["x"]}):
            pass


@pytest.mark.parametrize("typ", ["JWT", "jwt", "at+jwt", "application/at+jwt", "AT+JWT", None])
async def test_header_types_of_access_tokens(idp: Idp, auth: Auth, typ: str | None) -> None:
    assert (await auth.authorize(_typed(idp, typ))).username == "alice"


@pytest.mark.parametrize(
    "typ", ["logout+jwt", "dpop+jwt", "secevent+jwt", "token-introspection+jwt", "id+jwt", 7]
)
async def test_header_types_of_other_tokens(idp: Idp, auth: Auth, typ: Any) -> None:
    assert await auth.refusal(_typed(idp, typ)) == INVALID


def _typed(idp: Idp, typ: Any) -> str:
    headers = {"kid": idp.key.kid, "typ": typ}
    return jwt.encode(idp.claims(), idp.key.private, algorithm="ES256", headers=headers)


@pytest.mark.parametrize(
    "claims",
    [
        {"typ": "ID"},
        {"typ": "Refresh"},
        {"typ": "Offline"},
        {"typ": "Logout"},
        {"typ": "DPoP"},
        {"typ": ["Bearer"]},
        {"token_use": "id"},
        {"at_hash": "x"},
        {"c_hash": "x"},
        {"events": {}},
        {"nonce": "n", "scope": None},
        {"cnf": {"jkt": "x"}},
        {"cnf": {"x5t#S256": "x"}},
        {"cnf": {}},
    ],
)
async def test_what_is_no_bearer_access_token(idp: Idp, claims: dict[str, Any]) -> None:
    """OpenID Connect Core §2, RFC 9449, RFC 8705; an audience that fits does not make it one."""
    async with serving_auth({"issuer": idp.url, "audience": ["api"]}) as auth:
        assert await auth.refusal(idp.token(aud="api", **claims)) == INVALID


@pytest.mark.parametrize(
    "claims",
    [
        {"typ": "Bearer"},
        {"typ": "Bearer", "nonce": "n", "scope": None},
        {"token_use": "access"},
        {"nonce": "n"},
    ],
)
async def test_what_access_tokens_of_the_field_carry(
    idp: Idp, auth: Auth, claims: dict[str, Any]
) -> None:
    """`typ: Bearer` is Keycloak's; before release 24 it put the nonce into access tokens, too."""
    assert (await auth.authorize(idp.token(**claims))).username == "alice"


@pytest.mark.parametrize(
    ("claims", "allowed"),
    [
        ({"azp": "portal"}, True),
        ({"client_id": "portal"}, True),
        ({"cid": "portal", "azp": "portal"}, True),
        ({"azp": "other"}, False),
        ({"azp": "portal", "client_id": "other"}, False),
        ({"azp": ["portal"]}, False),
        ({}, False),
    ],
)
async def test_only_listed_clients(idp: Idp, claims: dict[str, Any], allowed: bool) -> None:
    async with serving_auth({"issuer": idp.url, "clients": ["portal", "cli"]}) as auth:
        if allowed:
            assert (await auth.authorize(idp.token(**claims))).username == "alice"
        else:
            assert await auth.refusal(idp.token(**claims)) == INVALID


@pytest.mark.parametrize(
    "name",
    ["daemon", "nobody", "Nobody", "slurm", "sync", "munge", "sshd", "alice$", "_apt", "systemd-network", "postgres",
     "www-data", "bin", "slurmrestd", "passerelle"],
)  # fmt: skip
async def test_system_accounts_only_where_named(idp: Idp, auth: Auth, name: str) -> None:
    token = idp.token(preferred_username=name)
    answer = (StatusCode.PERMISSION_DENIED, f"The account {name} may not be used.")
    assert await auth.refusal(token) == answer
    async with serving_auth({"issuer": idp.url, "system_accounts": [name]}) as lenient:
        assert (await lenient.authorize(token)).username == name


@pytest.mark.parametrize(
    ("settings", "name", "allowed"),
    [
        ({"accounts": ["u[0-9]*"]}, "u1234", True),
        ({"accounts": ["u[0-9]*"]}, "alice", False),
        ({"denied_accounts": ["svc-*"]}, "svc-backup", False),
        ({"denied_accounts": ["svc-*"]}, "SVC-backup", False),
        ({"denied_accounts": ["svc-*"]}, "alice", True),
        ({"system_accounts": ["*"]}, "root", False),
    ],
)
async def test_accounts_by_pattern(
    idp: Idp, settings: dict[str, Any], name: str, allowed: bool
) -> None:
    async with serving_auth({"issuer": idp.url, **settings}) as auth:
        token = idp.token(preferred_username=name)
        if allowed:
            assert (await auth.authorize(token)).username == name
        else:
            assert (await auth.refusal(token))[0] is StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"aud": "other"}, 'aud is other; accepted: ["api"]'),
        ({"aud": ["x", "y"]}, 'aud is ["x", "y"]; accepted: ["api"]'),
        ({"aud": None}, 'aud is null; accepted: ["api"]'),
        ({"iss": "https://elsewhere.example"}, "iss is https://elsewhere.example; accepted: ["),
        ({"nbf": int(time.time()) + 3600}, "s in the future; accepted: at most 5 s: compare the clocks"),
        ({"exp": 1}, "exp is 1; accepted: a later date"),
        ({"typ": "ID"}, "typ is ID; accepted: "),
        ({"cnf": {"jkt": "abc"}}, 'cnf is {"jkt": "abc"}; accepted: bearer tokens'),
        ({"preferred_username": "slurm"}, "username is slurm; accepted: no account of the system"),
        ({"aud": "x" * 5000}, "xx…xx"),
        ({"aud": "two\nlines\x1b[2J"}, "aud is two?lines?[2J"),
    ],
)  # fmt: skip
async def test_the_log_says_why_and_never_the_token(
    idp: Idp, caplog: pytest.LogCaptureFixture, changed: dict[str, Any], message: str
) -> None:
    async with serving_auth({"issuer": idp.url, "audience": ["api"]}) as auth:
        token = idp.token(**{"aud": "api"} | changed)
        await auth.refusal(token)
    messages = [
        record for record in caplog.records if record.name == "passerelle.auth.tokens.refusals"
    ]
    assert [record.levelname for record in messages] == ["WARNING"]
    assert message in messages[0].getMessage()
    assert len(messages[0].getMessage()) < 600
    assert token.split(".")[2] not in caplog.text


def test_the_log_of_refusals_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    refusals = RefusalLog(lambda: now)
    for _ in range(1000):
        refusals.write(Refusal(Unauthenticated("No."), "aud", "a", "b"))
    assert len(caplog.records) == 20
    now = 1.5
    refusals.write(Refusal(Unauthenticated("No."), "aud", "a", "b"))
    assert caplog.records[-1].__dict__["not_logged"] == "980"
