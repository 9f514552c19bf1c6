"""What the settings of well-known identity providers have in common: `preset` in `auth.issuers`."""

from collections.abc import Mapping
from typing import Any, Literal

Preset = Literal["entra", "github-actions", "gitlab", "google", "keycloak"]

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "keycloak": {"role_claims": ["realm_access.roles"]},
    # `preferred_username` is like an address of mail; learn.microsoft.com, "Access token claims reference".
    "entra": {
        "algorithms": ["RS256"],
        "role_claims": ["roles", "groups"],
        "username_claim": "preferred_username",
    },
    # Its access tokens are no JWTs; developers.google.com, "OpenID Connect", "An ID token's payload".
    "google": {
        "issuer": "https://accounts.google.com",
        "algorithms": ["RS256"],
        "id_tokens": True,
        "username_claim": "email",
        "required_claims": {"email_verified": "true"},
    },
    # docs.gitlab.com, "OpenID Connect (OIDC) Authentication Using ID Tokens", "Token payload".
    "gitlab": {
        "issuer": "https://gitlab.com",
        "algorithms": ["RS256"],
        "username_claim": None,
        "required_claims": {"ref_protected": "true"},
    },
    # docs.github.com, "OpenID Connect reference", "OIDC token claims".
    "github-actions": {
        "issuer": "https://token.actions.githubusercontent.com",
        "algorithms": ["RS256"],
        "username_claim": None,
        "required_claims": {"ref_protected": "true"},
    },
}
"""By its name, the settings that a preset gives; what the site says of the same key counts instead."""

ORIGINS: Mapping[str, tuple[str, ...]] = {
    "gitlab": ("project_path", "project_id", "sub"),
    "github-actions": ("repository", "repository_id", "sub"),
}
"""Of providers that sign tokens for everybody in the world: the claims of which each rule has to name one."""


def with_preset(settings: Any) -> Any:
    """The settings of an issuer with those of its preset, if it has one that is known, where it has none of its own."""
    name = settings.get("preset") if isinstance(settings, dict) else None
    return {**PRESETS.get(name, {}), **settings} if isinstance(name, str) else settings


def without_origin(name: str | None, claims: Mapping[str, Any]) -> tuple[str, ...]:
    """The claims of which a rule of this preset has to name one, when it names none with a value; none when it may."""
    origins = ORIGINS.get(name or "", ())
    named = any(set(pattern) - set("*?") for one in origins for pattern in claims.get(one, ()))
    return () if named else origins
