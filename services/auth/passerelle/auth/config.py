"""The `auth` section of the configuration file."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import Field, field_validator

from passerelle.auth.api_keys.key_file import keys_in
from passerelle.auth.tokens.issuer import Issuer
from passerelle.runtime.config.findings import Finding, SectionContext, exposed, note, problem
from passerelle.runtime.config.sections import Plugin, Section


class Authorization(Plugin):
    """The authorizer of the site."""

    group = "passerelle.authorizers"


class SshCredentials(Plugin):
    """Where credentials to log in to the systems come from."""

    group = "passerelle.credentials"


class ApiKeySettings(Section):
    """API keys of programs; `passerelle auth key` makes, lists and revokes them."""

    file: Path
    """The file with their digests, read again when it changes. Whoever may write it may make keys of any account."""

    def findings(self, context: SectionContext) -> Iterator[Finding]:
        """See `Section.findings`."""
        try:
            keys_in(self.file)
        except ValueError as error:
            yield problem(str(error), "file")
        else:
            if reason := exposed(self.file):
                yield note(reason, "file")


class AuthSection(Section):
    """Whose tokens are accepted, and how callers log in to the systems."""

    issuers: tuple[Issuer, ...] = ()
    """Accepted issuers."""
    api_keys: ApiKeySettings | None = None
    """API keys, which programs show instead of a token; without it there are none."""
    enforce_scopes: bool = False
    """Refuse calls whose token lacks the scope that the method requires."""
    max_failures: int = Field(default=300, ge=1)
    """Requests with no valid token that one client address may send a minute; more are answered 429."""
    authorizer: Authorization = Authorization(type="allow")
    """Decides what a principal may do (entry points `passerelle.authorizers`)."""
    ssh_credentials: SshCredentials | None = None
    """Where SSH credentials come from (entry points `passerelle.credentials`)."""

    def findings(self, context: SectionContext) -> Iterator[Finding]:
        """See `Section.findings`."""
        if not self.issuers and self.api_keys is None:
            yield note("there is none, so that nobody can come in", "issuers")
        if self.ssh_credentials is None:
            yield note("not set, so that nobody can log in to a system", "ssh_credentials")
        if not self.enforce_scopes:
            yield note(
                "false, so that every token of an accepted issuer may do all that its account may",
                "enforce_scopes",
            )

    @field_validator("issuers")
    @classmethod
    def _unique(cls, issuers: tuple[Issuer, ...]) -> tuple[Issuer, ...]:
        names = [issuer.issuer for issuer in issuers if issuer.issuer is not None]
        if len(set(names)) != len(names):
            raise ValueError("two issuers have the same identifier")
        return issuers
