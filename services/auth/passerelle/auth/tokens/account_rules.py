"""Rules by which tokens with certain claims, such as those of CI pipelines, stand for an account, with limits."""

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator

from passerelle.runtime.config.sections import Section

ACCOUNT = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?")
"""A POSIX portable account name (IEEE 1003.1 §3.426) that starts like a name; `$` ends those of machines."""

_PLACE = re.compile(r"\{([^{}]+)\}")


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Patterns = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...],
    BeforeValidator(_listed),
    Field(min_length=1),
]


class AccountRule(Section):
    """Tokens with certain claims, the account that they stand for, and what they may do at most."""

    claims: dict[str, Patterns] = Field(min_length=1)
    """Claims that a token must have, each with the values that are accepted: one, or a list, as patterns (`*`, `?`,
    `[a-z]`, case counts; `*` stands for slashes, too). `a.b` is `b` inside of `a`; of a claim that is a list, one
    element has to fit."""
    account: str
    """The account that they stand for. `{claim}` in it is the value of that claim."""
    scopes: tuple[str, ...] | None = None
    """The scopes that they have, instead of those that they carry, also without `enforce_scopes`."""
    systems: tuple[str, ...] | None = None
    """The only systems that they may use; by default, all."""

    @field_validator("account")
    @classmethod
    def _possible(cls, account: str) -> str:
        if not ACCOUNT.fullmatch(_PLACE.sub("x", account)):
            raise ValueError("not a valid account name, with or without `{claim}` in it")
        return account

    def fits(self, claims: Mapping[str, Any]) -> bool:
        """Whether a token with these claims is one of those."""
        return unfit_claim(claims, self.claims) is None

    def account_of(self, claims: Mapping[str, Any]) -> str | None:
        """The account that a token with these claims stands for; None when one of its claims has no text."""
        values = {name: list(texts_of(claims, name)) for name in _PLACE.findall(self.account)}
        if any(len(texts) != 1 or not texts[0] for texts in values.values()):
            return None
        return _PLACE.sub(lambda place: values[place[1]][0], self.account)


def unfit_claim(claims: Mapping[str, Any], accepted: Mapping[str, tuple[str, ...]]) -> str | None:
    """The first claim that has none of the accepted values, which are patterns; None when all have one."""
    for name, patterns in accepted.items():
        texts = list(texts_of(claims, name))
        if not any(fnmatchcase(text, pattern) for text in texts for pattern in patterns):
            return name
    return None


def texts_of(claims: Mapping[str, Any], name: str) -> Iterator[str]:
    """The values of a claim as texts: of a list each one, of `a.b` that of `b` inside of `a`; none for an object."""
    value = claim_of(claims, name)
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, bool):
            yield str(one).lower()
        elif isinstance(one, str | int):
            yield str(one)


def claim_of(claims: Mapping[str, Any], name: str) -> Any:
    """A claim by its name, or by its path: `realm_access.roles` is `roles` in `realm_access`. None where there is none.

    A claim whose name has a dot itself, such as a URL, counts first.
    """
    if name in claims:
        return claims[name]
    first, _, rest = name.partition(".")
    inner = claims.get(first)
    return claim_of(inner, rest) if rest and isinstance(inner, dict) else None
