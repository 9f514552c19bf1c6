"""The `auth.issuers` section of the configuration file: whose tokens are accepted, and on which conditions."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import Field, field_validator, model_validator

from passerelle.auth.tokens.account_rules import AccountRule, Patterns
from passerelle.auth.tokens.introspection import IntrospectionSettings
from passerelle.auth.tokens.presets import Preset, with_preset, without_origin
from passerelle.runtime.config.addresses import Url, is_plain_http
from passerelle.runtime.config.findings import Finding, SectionContext, note, problem, unreadable
from passerelle.runtime.config.sections import Section
from passerelle.runtime.config.trials import Failed, Trial

Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]
"""Signatures by a private key (RFC 7518, RFC 8037). `none` and HMAC are not among them, on purpose."""


class Issuer(Section):
    """An OIDC issuer whose access tokens are accepted."""

    preset: Preset | None = None
    """A well-known identity provider, which gives other keys their defaults; see identity-providers.md."""
    issuer: Url | None = None
    """The issuer identifier: the tokens' `iss`, and the base of discovery."""
    any_issuer: bool = False
    """Accept any `iss` in tokens signed by the keys at `jwks_uri`, instead of naming the issuer. For configurations
    taken over from FirecREST, which names none; name the issuer when you can."""
    jwks_uri: str | None = None
    """Where its keys are (https://, http:// or file://), instead of discovery."""
    insecure_http: bool = False
    """DANGEROUS: read its keys over plain http from another machine. Whoever is on the network can forge them, and
    reads what `introspection` sends."""
    audience: tuple[str, ...] = ()
    """Accepted values of `aud`."""
    any_audience: bool = False
    """Accept tokens whatever their `aud`, instead of naming it: then a token that the issuer made for any other
    application opens this one, too."""
    clients: tuple[str, ...] = ()
    """OAuth clients whose tokens are accepted, as `azp` or `client_id` names them; with none, all."""
    required_claims: dict[str, Patterns] = Field(default_factory=dict)
    """Claims that every token must have, each with the values that are accepted, as in `rules`."""
    id_tokens: bool = False
    """Take ID tokens instead of access tokens, from a provider whose access tokens are no JWTs. `audience` is then the
    client that they were issued to."""
    algorithms: tuple[Algorithm, ...] = Field(
        default=("RS256", "ES256", "EdDSA", "PS256"), min_length=1
    )
    """Accepted signature algorithms."""
    username_claim: str | None = "preferred_username"
    """The claim that holds the account name on the systems; `a.b` is `b` inside of `a`. null: `rules` alone decide."""
    username_pattern: re.Pattern[str] | None = None
    """A regular expression with one group, which the whole claim must match; the group is the account, such as
    `(.+)@example\\.org`."""
    accounts_file: Path | None = None
    """A file with the accounts of the claim's values: lines `VALUE ACCOUNT`, read again when it changes. A value
    without a line has no account."""
    rules: tuple[AccountRule, ...] = ()
    """Accounts and limits of tokens by other claims, such as those of CI pipelines and service accounts. The first rule
    that fits counts, before `username_claim`."""
    role_claims: tuple[str, ...] = ()
    """Claims with roles or groups: a text, or a list of them; `a.b` is `b` inside of `a`."""
    scopes_of_roles: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """The scopes that each role gives, beside those that the token carries."""
    allow_root: bool = False
    """Whether its tokens may stand for the account root."""
    accounts: tuple[str, ...] = Field(default=("*",), min_length=1)
    """Patterns (`*`, `?`, `[a-z]`) of the accounts that its tokens may stand for."""
    denied_accounts: tuple[str, ...] = ()
    """Patterns of accounts that they may not stand for, beside the systems' own (`daemon`, `nobody`, `slurm`, `alice$`
    …; all are listed in security.md)."""
    system_accounts: tuple[str, ...] = ()
    """Patterns of accounts that they may stand for although they look like a system's own."""
    introspection: IntrospectionSettings | None = None
    """Ask the issuer whether a token was revoked; without it, a token counts until it expires."""
    min_token_life: int = Field(default=30, ge=1, le=3600)
    """Tokens with less life left are refused, s."""
    clock_skew: int = Field(default=5, ge=0, le=300)
    """How far its clock may run ahead of ours, for `nbf` and `iat`, s."""
    refresh: float = Field(default=300, gt=0, le=86400)
    """Interval at which its keys are read again, s."""
    cooldown: float = Field(default=10, ge=0, le=3600)
    """Tokens signed by an unknown key make us read the keys at most this often, s."""
    grace: float = Field(default=86400, ge=0, le=604800)
    """How long its known keys are used after `refresh` when it cannot be reached, s."""
    timeout: float = Field(default=5, gt=0, le=60)
    """Reading its keys, with discovery, s."""

    def may_read(self, address: str) -> bool:
        """Whether keys may be read by way of `address`, to which discovery or a redirect leads.

        From plain http only where the site says so, or on this machine for an issuer that is there, too.
        """
        scheme = urlsplit(address).scheme
        if scheme != "http":
            return scheme == "https"
        begun = self.issuer or self.jwks_uri or ""
        return self.insecure_http or not (begun.startswith("https:") or is_plain_http(address))

    @field_validator("username_pattern")
    @classmethod
    def _one_group(cls, pattern: re.Pattern[str] | None) -> re.Pattern[str] | None:
        if pattern is not None and pattern.groups != 1:
            raise ValueError("one group is wanted, which is the account: (.+)@example\\.org")
        return pattern

    @field_validator("jwks_uri")
    @classmethod
    def _address(cls, address: str | None) -> str | None:
        if address is not None and urlsplit(address).scheme not in ("https", "http", "file"):
            raise ValueError("the address of keys is an https://, http:// or file:// URL")
        return address

    def findings(self, context: SectionContext) -> Iterator[Finding]:
        """See `Section.findings`."""
        if self.allow_root:
            yield note("tokens of this issuer may stand for root", "allow_root")
        address = urlsplit(self.jwks_uri or "")
        if address.scheme == "file" and (reason := unreadable(Path(unquote(address.path)))):
            yield problem(reason, "jwks_uri")
        if self.accounts_file and (reason := unreadable(self.accounts_file)):
            yield problem(reason, "accounts_file")

    def trials(self, context: SectionContext) -> Iterator[Trial]:
        """See `Section.trials`."""

        async def keys() -> str:
            import aiohttp

            from passerelle.auth.tokens.jwks import PublishedKeys
            from passerelle.auth.tokens.keyset import SourceFailed

            async with aiohttp.ClientSession() as http:
                try:
                    published = await PublishedKeys(http, self).keys()
                except SourceFailed as error:
                    raise Failed(str(error)) from None
            fitting = {name for key in published for name in key.algorithms} & set(self.algorithms)
            if not fitting:
                raise Failed(
                    f"none of its {len(published)} keys is for {', '.join(self.algorithms)}"
                )
            return f"for {', '.join(sorted(fitting))}; {len(published)} in all"

        name = self.issuer or self.jwks_uri
        yield Trial(
            f"keys of the issuer {name}", keys, "issuer, jwks_uri, algorithms; the way to it"
        )

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, settings: Any) -> Any:
        return with_preset(settings)

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.username_claim is None and not self.rules:
            raise ValueError(
                "give `rules`, or a `username_claim`: otherwise no token stands for an account"
            )
        if self.accounts_file and self.username_pattern:
            raise ValueError("give either `accounts_file` or `username_pattern`")
        if self.scopes_of_roles and not self.role_claims:
            raise ValueError("`scopes_of_roles` needs `role_claims`: where the roles are")
        if self.id_tokens and self.any_audience:
            raise ValueError(
                "`id_tokens` needs `audience`: everybody who logs in anywhere has an ID token"
            )
        for rule in self.rules:
            if origins := without_origin(self.preset, rule.claims):
                raise ValueError(
                    f"a rule for {rule.account} has to name one of {', '.join(origins)}, each value with its "
                    "owner (OWNER/…): this provider signs tokens for everybody"
                )
        if (self.issuer is None) is not self.any_issuer:
            raise ValueError("give either `issuer` or `any_issuer: true`")
        if self.any_issuer and self.jwks_uri is None:
            raise ValueError("`any_issuer` needs `jwks_uri`")
        asked = self.introspection.url if self.introspection else None
        urls = (self.issuer, self.jwks_uri, asked)
        plain = [url for url in urls if url and is_plain_http(url)]
        if plain and not self.insecure_http:
            raise ValueError(f"{plain[0]} is plain http: use https, or set `insecure_http: true`")
        if not self.audience and not self.any_audience:
            raise ValueError(
                "name the accepted `audience`, or set `any_audience: true`: then tokens of any application come in"
            )
        if self.audience and self.any_audience:
            raise ValueError("give either `audience` or `any_audience: true`")
        return self
