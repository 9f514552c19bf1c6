"""The command `passerelle`.

Each command imports what it needs when it runs, so that no process of a site loads what only another one uses.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from passerelle.cli.up.supervisor import EXIT_CONFIG
from passerelle.runtime.config.site import ConfigError

CONFIG = click.option(
    "--config",
    "config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The site's configuration file; the embedded default without it.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


class _BadConfiguration(click.ClickException):
    exit_code = EXIT_CONFIG


@contextmanager
def _configuration_errors() -> Iterator[None]:
    """Print a ConfigError as a message, and exit with status 78."""
    try:
        yield
    except ConfigError as error:
        raise _BadConfiguration(str(error)) from error


class _Commands(click.Group):
    """Our commands, and those that services bring along (entry points `passerelle.commands`), loaded when needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """See `click.Group`."""
        from passerelle.runtime.config import plugins

        return sorted([*super().list_commands(ctx), *plugins.names("passerelle.commands")])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """See `click.Group`."""
        if (own := super().get_command(ctx, cmd_name)) is not None:
            return own
        from passerelle.runtime.config import plugins

        if cmd_name not in plugins.names("passerelle.commands"):
            return None
        command: click.Command = plugins.load("passerelle.commands", cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> object:
        """See `click.Group`; a wrong configuration is a message, whichever command reads it."""
        with _configuration_errors():
            return super().invoke(ctx)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="passerelle")
def main() -> None:
    """One secure REST and gRPC API to HPC and AI systems: jobs, files, data transfer.

    `passerelle up` serves everything; without a configuration file, this very machine as the system `local`.
    """


@main.command()
@CONFIG
@click.option("--verbose", is_flag=True, help="Logs of all services to stderr instead of files.")
@JSON
def up(config: Path | None, verbose: bool, as_json: bool) -> None:
    """Start every service of a site, keep them alive, and stop them cleanly on Ctrl-C or SIGTERM.

    Prints `READY <url>` once a request through the gateway succeeds, and three lines to copy: a token, a curl, and
    pyfirecrest. The environment variable PASSERELLE_PORT overrides the gateway's port.
    """
    import asyncio

    from passerelle.cli.up.run import CannotStart, SiteRun

    try:
        site = _completed_site(config)
        port_from = "gateway.listen" if config and not _port() else "PASSERELLE_PORT"
        run = SiteRun(site, port_from=port_from, verbose=verbose, as_json=as_json)
        asyncio.run(run.run())
    except CannotStart as error:
        raise click.ClickException(str(error)) from error


@main.command("serve")
@click.argument("process")
@click.option(
    "--config", "config", type=click.Path(path_type=Path), required=True, metavar="FILE",
    help="The site's configuration file.",
)  # fmt: skip
def serve_command(process: str, config: Path) -> None:
    """Run one process of a site: auth, compute, storage, gateway, development, or envoy.

    Of a service with several workers, storage.0, storage.1 and so on are one each; storage is the first.
    The configuration must give every service its address, and the services their secret (`services` section).
    """
    from passerelle.cli.up.serve import serve

    serve(process, config)


@main.command()
@CONFIG
@click.option("--client", metavar="ID", help="The client whose token it is; the first without it.")
@JSON
def token(config: Path | None, client: str | None, as_json: bool) -> None:
    """Print an access token from the running development issuer.

    Without --config it is the embedded default's on port PASSERELLE_PORT (8000). When none runs there, it says where
    one does.
    """
    from passerelle.cli.up import embedded
    from passerelle.cli.up.development_token import NoToken, development_token
    from passerelle.runtime.config.site import load

    port = _port() or embedded.PORT
    site = load(config or embedded.existing(port))
    try:
        answer = development_token(site, client)
    except NoToken as error:
        hint = "" if config else embedded.running_elsewhere(port)
        raise click.ClickException(f"{error}{hint}") from error
    click.echo(json.dumps(answer) if as_json else answer["access_token"])


@main.group()
def config() -> None:
    """Check, explain and import configuration files."""


@config.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--connect", is_flag=True, help="Try the site, too: issuers, systems, stores.")
@JSON
def check(file: Path, connect: bool, as_json: bool) -> None:
    """Tell whether FILE is a correct configuration, and what it will not do. To be run as the account that serves it.

    The files that it names are read. A message names the file, the line, the key, and what would be right; when there
    is an error, the exit status is 78.

    With --connect the site is tried from outside to inside: the issuers' keys, and for each system the way to it and
    its host keys, the token of its `probing.service_account` as auth judges it, the login, clock, sessions, programs,
    SFTP, scheduler, filesystems and stores. Nothing is changed. When something fails, the exit status is 1.
    """
    from passerelle.cli.check.output import check_and_print

    sys.exit(check_and_print(file, connect=connect, as_json=as_json))


@config.command()
def reference() -> None:
    """Print the reference of every configuration key, in Markdown."""
    from passerelle.cli.pages.reference import reference_page

    click.echo(reference_page(), nl=False)


@config.command()
def scopes() -> None:
    """Print every scope and the methods that it opens, in Markdown."""
    from passerelle.cli.pages.scopes import scopes_page

    click.echo(scopes_page(), nl=False)


@config.command("import-firecrest")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--no-host-keys", is_flag=True, help="Do not read the login nodes' host keys from the network."
)
def import_firecrest(file: Path, no_host_keys: bool) -> None:
    """Turn a FirecREST v2 configuration into ours, on stdout.

    What cannot be carried over is named on stderr, one line each, with its key. FirecREST checks no host keys;
    Passerelle does, so they are read once from the network here: compare the fingerprints.
    """
    from passerelle.cli.import_firecrest.site import convert

    text, notes = convert(file, read_host_keys=not no_host_keys)
    for note in notes:
        click.echo(note, err=True)
    click.echo(text, nl=False)


def _completed_site(config: Path | None) -> dict[str, Any]:
    from passerelle.cli.up import embedded, site_file

    port = _port()
    if config is None:
        config = embedded.prepare(port or embedded.PORT)
    return site_file.completed(site_file.read(config), port=port)


def _port() -> int | None:
    """The gateway's port from the environment, or None."""
    text = os.environ.get("PASSERELLE_PORT", "")
    if not text:
        return None
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise click.ClickException(f"PASSERELLE_PORT={text}: not a port (1 to 65535)")
    return int(text)


if __name__ == "__main__":
    main()
