"""Whom a token stands for: by a claim, by a file, and by rules with limits, through the real service."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode

from passerelle.auth.tokens import watched_file
from passerelle.auth.tokens.accounts_file import accounts_in
from passerelle.auth.tokens.issuer import Issuer
from passerelle.runtime.config.site import ConfigError
from tests.unit.auth.conftest import serving_auth
from tests.unit.auth.idp import Idp

DENIED = StatusCode.PERMISSION_DENIED

# The claims that docs.github.com lists for a job of a workflow, on 2026-11-29; of a push to the branch main.
GITHUB = {
    "sub": "repo:climate/icon:ref:refs/heads/main",
    "repository": "climate/icon",
    "repository_id": "74",
    "repository_owner": "climate",
    "ref": "refs/heads/main",
    "ref_type": "branch",
    "ref_protected": "true",
    "event_name": "push",
    "environment": "hpc",
    "runner_environment": "github-hosted",
    "job_workflow_ref": "climate/icon/.github/workflows/run.yml@refs/heads/main",
}
# Those that docs.gitlab.com lists for an ID token of a job, on the same day.
GITLAB = {
    "sub": "project_path:climate/icon:ref_type:branch:ref:main",
    "project_path": "climate/icon",
    "project_id": "20",
    "ref": "main",
    "ref_type": "branch",
    "ref_protected": "true",
    "environment": "hpc",
    "environment_protected": "true",
    "pipeline_source": "push",
}
CI = {"preferred_username": None, "scope": None}


def github(idp: Idp, **rule: Any) -> dict[str, Any]:
    claims = {"repository": "climate/icon", "ref": "refs/heads/main"}
    return {
        "preset": "github-actions",
        "issuer": idp.url,
        "algorithms": ["ES256"],
        "rules": [{"claims": claims, "account": "ci-icon", **rule}],
    }


async def test_a_pipeline_stands_for_its_account(idp: Idp) -> None:
    async with serving_auth(github(idp, scopes=["jobs.write"])) as auth:
        principal = await auth.authorize(idp.token(**CI | GITHUB))
    assert (principal.username, list(principal.scopes)) == ("ci-icon", ["jobs.write"])
    assert principal.subject == GITHUB["sub"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"repository": "mallory/icon"}, "No rule of this site fits the access token."),
        ({"repository": "climate/icon-fork"}, "No rule of this site fits the access token."),
        ({"repository": "CLIMATE/icon"}, "No rule of this site fits the access token."),
        ({"repository": None}, "No rule of this site fits the access token."),
        ({"ref": "refs/heads/main2"}, "No rule of this site fits the access token."),
        ({"ref": "refs/pull/7/merge"}, "No rule of this site fits the access token."),
        (
            {"ref_protected": "false"},
            "The access token's 'ref_protected' claim is not accepted here.",
        ),
        (
            {"event_name": "pull_request_target"},
            "The access token's 'event_name' claim is not accepted here.",
        ),
        (
            {"event_name": "workflow_run"},
            "The access token's 'event_name' claim is not accepted here.",
        ),
        ({"ref_protected": None}, "The access token's 'ref_protected' claim is not accepted here."),
        (
            {"preferred_username": "alice", "repository": "x"},
            "No rule of this site fits the access token.",
        ),
    ],
)
async def test_a_fork_or_an_unprotected_branch_gets_nothing(
    idp: Idp, changed: dict[str, Any], message: str
) -> None:
    async with serving_auth(github(idp)) as auth:
        assert await auth.refusal(idp.token(**CI | GITHUB | changed)) == (DENIED, message)


async def test_the_limits_of_a_rule_hold_where_scopes_are_not_enforced(idp: Idp) -> None:
    async with serving_auth(github(idp, scopes=["jobs.read"], systems=["eiger"])) as auth:
        token = idp.token(**CI | GITHUB | {"scope": "jobs.read jobs.write"})
        await auth.authorize(token, scope="jobs.read", system="eiger")
        assert await auth.refusal(token, scope="jobs.write", system="eiger") == (
            DENIED,
            "The access token lacks the scope jobs.write.",
        )
        other = (DENIED, "The access token is not for system daint.")
        assert await auth.refusal(token, scope="jobs.read", system="daint") == other
        with pytest.raises(Exception, match="not for system daint"):
            await auth.credential(token)


async def test_the_first_rule_that_fits_counts(idp: Idp) -> None:
    issuer = github(idp) | {
        "rules": [
            {"claims": {"project_path": "climate/icon", "environment": "hpc"}, "account": "prod"},
            {"claims": {"project_path": ["climate/*", "ocean/*"]}, "account": "ci-{project_id}"},
        ],
        "preset": "gitlab",
    }
    async with serving_auth(issuer) as auth:
        cases: tuple[tuple[dict[str, Any], str], ...] = (
            ({}, "prod"),
            ({"environment": "test"}, "ci-20"),
            ({"project_path": "ocean/a/b", "environment": None}, "ci-20"),
        )
        for changed, account in cases:
            token = idp.token(**CI | GITLAB | changed)
            assert (await auth.authorize(token)).username == account
        for project in ("../../etc", "a b", "x" * 40, "", ["1", "2"], {"a": 1}, None):
            token = idp.token(**CI | GITLAB | {"environment": None, "project_id": project})
            code, message = await auth.refusal(token)
            assert (code, "no valid account name" in message) == (DENIED, True), project


async def test_a_service_account_beside_people(idp: Idp) -> None:
    rule = {"claims": {"client_id": "portal"}, "account": "svc-portal", "systems": ["daint"]}
    async with serving_auth({"issuer": idp.url, "rules": [rule]}) as auth:
        robot = idp.token(client_id="portal", preferred_username="service-account-portal")
        assert (await auth.authorize(robot)).username == "svc-portal"
        assert (await auth.authorize(idp.token(client_id="other"))).username == "alice"


async def test_an_account_of_a_rule_may_not_be_one_of_the_system(idp: Idp) -> None:
    async with serving_auth(github(idp, account="slurm")) as auth:
        code, message = await auth.refusal(idp.token(**CI | GITHUB))
    assert (code, message) == (DENIED, "The account slurm may not be used.")


@pytest.mark.parametrize(
    ("value", "account"),
    [
        ("alice@example.org", "alice"),
        ("Alice.B@example.org", "Alice.B"),
        ("alice@example.org.evil.org", None),
        ("alice@examplexorg", None),
        ("root@evil.org@example.org", None),
        ("a b@example.org", None),
        ("@example.org", None),
    ],
)
async def test_a_part_of_the_claim(idp: Idp, value: str, account: str | None) -> None:
    issuer = {
        "preset": "entra",
        "issuer": idp.url,
        "algorithms": ["ES256"],
        "username_pattern": r"(.*)@example\.org",
    }
    async with serving_auth(issuer) as auth:
        token = idp.token(preferred_username=value)
        if account is not None:
            assert (await auth.authorize(token)).username == account
        else:
            assert (await auth.refusal(token))[0] is DENIED


async def test_roles_give_scopes(idp: Idp) -> None:
    issuer = {
        "preset": "keycloak",
        "issuer": idp.url,
        "scopes_of_roles": {"hpc-user": ["jobs.read", "jobs.write"], "hpc-admin": ["x"]},
    }
    async with serving_auth(issuer, enforce_scopes=True) as auth:
        granted = idp.token(scope="openid", realm_access={"roles": ["hpc-user", "other"]})
        principal = await auth.authorize(granted, scope="jobs.write")
        assert list(principal.scopes) == ["jobs.read", "jobs.write", "openid"]
        for claims in (
            {},
            {"realm_access": ["hpc-user"]},
            {"realm_access": {"roles": {"hpc-user": 1}}},
        ):
            assert (await auth.refusal(idp.token(**claims), scope="jobs.write"))[0] is DENIED


GOOGLE = {
    "preferred_username": None,
    "scope": None,
    "at_hash": "x",
    "nonce": "y",
    "email_verified": True,
}


async def test_id_tokens_only_where_they_are_wanted(idp: Idp) -> None:
    issuer = {
        "preset": "google",
        "issuer": idp.url,
        "algorithms": ["ES256"],
        "audience": ["our-client"],
        "username_pattern": r"(.*)@example\.org",
    }
    mail = {"email": "alice@example.org", "aud": "our-client"}
    async with serving_auth(issuer) as auth:
        assert (await auth.authorize(idp.token(**GOOGLE | mail))).username == "alice"
        bad: tuple[dict[str, Any], ...] = (
            {"aud": "other"},
            {"typ": "Bearer"},
            {"events": {}},
            {"cnf": {"jkt": "x"}},
        )
        for changed in bad:
            assert (await auth.refusal(idp.token(**GOOGLE | mail | changed)))[0] is (
                StatusCode.UNAUTHENTICATED
            )
        unverified = idp.token(**GOOGLE | mail | {"email_verified": False})
        assert (await auth.refusal(unverified))[0] is DENIED
    async with serving_auth({"issuer": idp.url, "username_claim": "email"}) as plain:
        assert (await plain.refusal(idp.token(**GOOGLE | mail)))[0] is StatusCode.UNAUTHENTICATED


async def test_accounts_of_a_file_which_is_read_again(
    idp: Idp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watched_file, "_EVERY", 0.01)
    file = tmp_path / "accounts"
    file.write_text('# people\n"a-1" alice\n"/C=CH/CN=Bob B" bob # left\n\n')
    issuer = {"issuer": idp.url, "username_claim": "sub", "accounts_file": str(file)}
    async with serving_auth(issuer) as auth:
        assert (await auth.authorize(idp.token())).username == "alice"
        assert (await auth.authorize(idp.token(sub="/C=CH/CN=Bob B"))).username == "bob"
        assert await auth.refusal(idp.token(sub="a-2")) == (
            DENIED,
            "The access token's 'sub' claim has no account.",
        )
        _replace(file, "a-2 carol\n")
        await _until(lambda: "read again: " in caplog.text, caplog)
        assert (await auth.authorize(idp.token(sub="a-2"))).username == "carol"
        assert (await auth.refusal(idp.token()))[0] is DENIED
        _replace(file, "a-1 alice extra\n")
        await _until(lambda: "line 1" in caplog.text, caplog)
        assert (await auth.authorize(idp.token(sub="a-2"))).username == "carol"


def _replace(file: Path, text: str) -> None:
    new = file.with_suffix(".new")
    new.write_text(text)
    os.replace(new, file)


async def _until(happened: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with asyncio.timeout(10):
        while not happened():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\n", "line 1: a value and a valid account name"),
        ("a b c\n", "line 1: "),
        ("ok alice\na -rf\n", "line 2: "),
        ('"a alice\n', "line 1: No closing quotation"),
        ("a alice\na bob\n", "line 2: the value has two accounts"),
    ],
)
def test_a_file_that_cannot_be_right(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "accounts").write_text(text)
    with pytest.raises(ValueError, match=message):
        accounts_in(tmp_path / "accounts")


async def test_a_file_that_is_not_there(idp: Idp, tmp_path: Path) -> None:
    issuer = {"issuer": idp.url, "accounts_file": str(tmp_path / "none")}
    with pytest.raises(ConfigError, match=r"accounts_file: .*none: No such file"):
        async with serving_auth(issuer):
            pass


RULE = {"claims": {"repository": "a/b"}, "account": "ci"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"username_claim": None}, "give `rules`"),
        ({"preset": "github-actions"}, "give `rules`"),
        (
            {"preset": "github-actions", "rules": [RULE | {"claims": {"ref": "x"}}]},
            "name one of repository",
        ),
        (
            {"preset": "github-actions", "rules": [RULE | {"claims": {"repository": "*"}}]},
            "name one of",
        ),
        *(
            ({"preset": "github-actions", "rules": [RULE | {"claims": claims}]}, "name one of")
            for claims in (
                {"repository": "*/*"},
                {"repository": "[a-z]*"},
                {"repository": ["a/b", "*"]},
                {"repository": "*/icon"},
                {"repository_id": "7*"},
                {"sub": "repo:*"},
                {"sub": "repo:*/icon:ref:refs/heads/main"},
            )
        ),
        ({"preset": "gitlab", "rules": [RULE]}, "name one of project_path"),
        ({"preset": "unknown"}, "preset"),
        ({"preset": ["gitlab"]}, "preset"),
        ({"preset": "google"}, "`id_tokens` needs `audience`"),
        ({"rules": [RULE | {"claims": {}}]}, "claims"),
        ({"rules": [RULE | {"claims": {"a": []}}]}, "claims"),
        ({"rules": [RULE | {"account": "-rf"}]}, "not a valid account name"),
        ({"rules": [RULE | {"account": "{a} b"}]}, "not a valid account name"),
        ({"username_pattern": ".*"}, "one group"),
        ({"username_pattern": "("}, "username_pattern"),
        ({"username_pattern": "(.*)", "accounts_file": "/x"}, "either `accounts_file` or"),
        ({"scopes_of_roles": {"a": ["b"]}}, "`scopes_of_roles` needs `role_claims`"),
    ],
)
def test_settings_that_cannot_be_meant(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Issuer.model_validate({"issuer": "https://a.example", "any_audience": True} | settings)


def test_what_a_site_says_counts_before_its_preset() -> None:
    issuer = Issuer.model_validate(
        {
            "preset": "gitlab",
            "audience": ["x"],
            "rules": [RULE | {"claims": {"project_path": "a/*"}}],
        }
    )
    assert (issuer.issuer, issuer.algorithms) == ("https://gitlab.com", ("RS256",))
    own = issuer.model_validate(issuer.model_dump() | {"issuer": "https://git.example.org"})
    assert own.issuer == "https://git.example.org"
