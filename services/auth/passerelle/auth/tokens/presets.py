"""What the settings of well-known identity providers have in common: `preset` in `auth.issuers`."""

import re
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
    # docs.github.com, "OpenID Connect reference", "OIDC token claims". Workflows that somebody else's pull request
    # starts (pull_request_target, workflow_run) run with the ref of the protected branch: those events are left out.
    "github-actions": {
        "issuer": "https://token.actions.githubusercontent.com",
        "algorithms": ["RS256"],
        "username_claim": None,
        "required_claims": {
            "ref_protected": "true",
            "event_name": [
                "push",
                "schedule",
                "workflow_dispatch",
                "repository_dispatch",
                "release",
                "deployment",
                "merge_group",
            ],
        },
    },
}
"""By its name, the settings that a preset gives; what the site says of the same key counts instead."""

_OWNER = r"[^*?\[\]/]+/"  # up to the first slash, without wildcards
_ORIGINS: Mapping[str, Mapping[str, str]] = {
    "gitlab": {"project_path": _OWNER, "project_id": r"\d+$", "sub": f"project_path:{_OWNER}"},
    "github-actions": {"repository": _OWNER, "repository_id": r"\d+$", "sub": f"repo:{_OWNER}"},
}
"""Of providers that sign tokens for everybody in the world: the claims that say whose a pipeline is, each with a
regular expression of how all its patterns in a rule have to begin, so that they are of one owner."""


def with_preset(settings: Any) -> Any:
    """The settings of an issuer with those of its preset, if it has one that is known, where it has none of its own."""
    name = settings.get("preset") if isinstance(settings, dict) else None
    return {**PRESETS.get(name, {}), **settings} if isinstance(name, str) else settings


def without_origin(name: str | None, claims: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The claims of which a rule of this preset has to name one with its owner, when it does so for none."""
    origins = _ORIGINS.get(name or "", {})
    for claim, beginning in origins.items():
        patterns = claims.get(claim, ())
        if patterns and all(re.match(beginning, pattern) for pattern in patterns):
            return ()
    return tuple(origins)
