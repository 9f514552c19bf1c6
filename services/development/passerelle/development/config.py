"""The `development` section of the configuration file. Without it, nothing of this package runs."""

from pydantic import Field

from passerelle.runtime.config import Section, Secret


class Client(Section):
    """An OAuth client of the development issuer; its tokens are for one account."""

    id: str = Field(description="The client's id.")
    secret: Secret = Field(description="The client's secret.")
    username: str = Field(description="The account its tokens stand for (`preferred_username`).")


class DevelopmentIssuer(Section):
    """An identity provider for trying things out."""

    listen: str = Field(description="host:port; only loopback is accepted.")
    key_file: str = Field(description="Where its signing key is kept; made when absent.")
    clients: tuple[Client, ...] = Field(default=(), description="Its OAuth clients.")
    token_life: int = Field(default=3600, ge=60, description="Life of a token, s.")


class DevelopmentSshd(Section):
    """An SSH server for the current user, for trying things out."""

    listen: str = Field(description="host:port; only loopback is accepted.")
    host_key_file: str = Field(description="Where its host key is kept; made when absent.")
    user_ca: str = Field(
        description="Public key of the certificate authority whose user certificates it accepts."
    )


class DevelopmentSection(Section):
    """What the embedded default adds to a machine that has no identity provider and no system."""

    issuer: DevelopmentIssuer | None = None
    sshd: DevelopmentSshd | None = None
