"""The `auth` section of the configuration file."""

from pydantic import Field

from passerelle.runtime.config import Plugin, Section


class Issuer(Section):
    """An OIDC issuer whose access tokens are accepted."""

    issuer: str = Field(
        description="The issuer identifier: the tokens' `iss`, and the base of discovery."
    )
    jwks_uri: str | None = Field(
        default=None,
        description="Where its keys are (https://, http:// or file://), instead of discovery.",
    )
    audience: tuple[str, ...] = Field(
        default=(), description="Accepted values of `aud`; with none, `aud` is not checked."
    )
    algorithms: tuple[str, ...] = Field(
        default=("RS256", "ES256", "EdDSA", "PS256"), description="Accepted signature algorithms."
    )
    username_claim: str = Field(
        default="preferred_username",
        description="The claim that holds the account name on the systems.",
    )
    min_token_life: int = Field(
        default=30, ge=0, description="Tokens with less life left are refused, s."
    )


class AuthSection(Section):
    """Who may come in, and how they log in to the systems."""

    issuers: tuple[Issuer, ...] = Field(default=(), description="Accepted issuers.")
    enforce_scopes: bool = Field(
        default=False,
        description="Refuse calls whose token lacks the scope that the method demands.",
    )
    authorizer: Plugin = Field(
        default=Plugin(type="allow"),
        description="Decides what a principal may do (entry points `passerelle.authorizers`).",
    )
    ssh_credentials: Plugin | None = Field(
        default=None,
        description="Where SSH credentials come from (entry points `passerelle.credentials`).",
    )
