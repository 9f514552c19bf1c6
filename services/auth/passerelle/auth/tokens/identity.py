"""Whom a token of an issuer stands for, and what it may do at most: from its claims, once they are verified."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from passerelle.auth.tokens.account_rules import (
    ACCOUNT,
    AccountRule,
    claim_of,
    texts_of,
    unfit_claim,
)
from passerelle.auth.tokens.accounts import why_barred
from passerelle.auth.tokens.issuer import Issuer
from passerelle.auth.tokens.principal import Limits
from passerelle.auth.tokens.refusals import Refusal
from passerelle.runtime.errors import ApiError, Forbidden, InvalidArgument

_NAME = "a POSIX account name"


@dataclass(frozen=True, slots=True)
class Identity:
    """An account on the systems, the scopes of the token, and its limits."""

    username: str
    scopes: frozenset[str]
    limits: Limits


def identity(
    claims: Mapping[str, Any], issuer: Issuer, accounts: Mapping[str, str] | None
) -> Identity:
    """Whom a token with these claims stands for: by the first of `rules` that fits, or else by `username_claim`.

    `accounts` are those of `accounts_file`. Raises Refusal: InvalidArgument without the claim, Forbidden for a value
    that stands for no account, or for one that it may not stand for.
    """
    if unfit := unfit_claim(claims, issuer.required_claims):
        expected = " or ".join(issuer.required_claims[unfit])
        error = Forbidden(f"The access token's '{unfit}' claim is not accepted here.")
        raise Refusal(error, unfit, claim_of(claims, unfit), f"{expected} (`required_claims`)")
    scopes = _scopes(claims, issuer)
    for rule in issuer.rules:
        if rule.fits(claims):
            name = _checked(_by_rule(claims, rule), issuer)
            own = scopes if rule.scopes is None else frozenset(rule.scopes)
            return Identity(name, own, Limits.of(rule.scopes, rule.systems))
    if issuer.username_claim is None:
        raise _refused("no rule of this site fits the access token", None, "claims as in `rules`")
    return Identity(_checked(_by_claim(claims, issuer, accounts), issuer), scopes, Limits())


def _by_rule(claims: Mapping[str, Any], rule: AccountRule) -> str:
    name = rule.account_of(claims)
    if name is None or not ACCOUNT.fullmatch(name):
        raise _refused(f"{rule.account} is no valid account name with its claims", name, _NAME)
    return name


def _by_claim(claims: Mapping[str, Any], issuer: Issuer, accounts: Mapping[str, str] | None) -> str:
    claim = issuer.username_claim or ""
    value = claim_of(claims, claim)
    if value is None or value == "":
        missing = InvalidArgument(f"Authentication token '{claim}' claim is missing")
        raise Refusal(missing, "username", None, f"a claim {claim!r} (`username_claim`)")
    unfit = Forbidden(f"The access token's '{claim}' claim is not a valid account name.")
    if not isinstance(value, str):
        raise Refusal(unfit, "username", value, _NAME)
    if accounts is not None:
        account = accounts.get(value)
        if account is None:
            raise _refused(
                f"the access token's '{claim}' claim has no account",
                value,
                "one in `accounts_file`",
            )
        return account
    if issuer.username_pattern is not None:
        match = issuer.username_pattern.fullmatch(value)
        if match is None:
            raise Refusal(
                unfit, "username", value, f"{issuer.username_pattern.pattern} (`username_pattern`)"
            )
        value = str(match[1] or "")
    if not ACCOUNT.fullmatch(value):
        raise Refusal(unfit, "username", value, _NAME)
    return value


def _checked(name: str, issuer: Issuer) -> str:
    """The account, which its tokens may stand for."""
    if accepted := why_barred(name, issuer):
        raise Refusal(Forbidden(f"The account {name} may not be used."), "username", name, accepted)
    return name


def _refused(reason: str, value: Any, expected: str) -> Refusal:
    error: ApiError = Forbidden(f"{reason[0].upper()}{reason[1:]}.")
    return Refusal(error, "username", value, expected)


def _scopes(claims: Mapping[str, Any], issuer: Issuer) -> frozenset[str]:
    """From `scope` (RFC 9068) or `scp` (Microsoft Entra), each a list or words in one text; and from the roles."""
    scopes = claims.get("scope", claims.get("scp", ""))
    words = scopes.split() if isinstance(scopes, str) else scopes
    own = frozenset(str(word) for word in words) if isinstance(words, list) else frozenset()
    roles = (role for claim in issuer.role_claims for role in texts_of(claims, claim))
    return own.union(*(issuer.scopes_of_roles.get(role, ()) for role in roles))
