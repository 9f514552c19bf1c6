"""The operator's commands of this service, `passerelle auth …`: API keys, in the file of the site's configuration."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
from pydantic import ValidationError

from passerelle.auth.api_keys.key_file import ApiKey, keys_in, new_key, write_keys
from passerelle.auth.config import AuthSection
from passerelle.runtime.config.faults import faults
from passerelle.runtime.config.site import load, section

_MOST_DAYS = 366
CONFIG = click.option(
    "--config",
    "config",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="The site's configuration file, whose `auth.api_keys.file` has the keys.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


@click.group()
def auth() -> None:
    """Credentials of programs."""


@auth.group()
def key() -> None:
    """Make, list and revoke API keys, which programs show instead of an access token.

    A change counts within five seconds, without a restart. Whoever makes it must be able to write the file's directory.
    """


@key.command()
@CONFIG
@click.option("--account", required=True, help="The account on the systems that it stands for.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    help="A scope that it has, such as compute.read. May be given again.",
)
@click.option(
    "--system", "systems", multiple=True, help="The only system it may use. May be given again."
)
@click.option(
    "--address",
    "addresses",
    multiple=True,
    help="The only address or network it may be used from, such as 192.0.2.0/24. May be given again.",
)
@click.option(
    "--days",
    type=click.IntRange(1, _MOST_DAYS),
    default=90,
    show_default=True,
    help="How long it is valid.",
)
@click.option("--note", default="", help="What it is for.")
@JSON
def create(
    config: Path,
    account: str,
    scopes: tuple[str, ...],
    systems: tuple[str, ...],
    addresses: tuple[str, ...],
    days: int,
    note: str,
    as_json: bool,
) -> None:
    """Make a key, and print it: this once, for only its digest is kept."""
    expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)
    try:
        made, text = new_key(
            account,
            scopes=scopes,
            systems=systems or None,
            addresses=addresses or None,
            expires=expires,
            note=note,
        )
    except ValidationError as error:
        field, reason = next(faults(error, ApiKey))
        raise click.ClickException(f"{field[0]}: {reason}") from None
    _require_systems(config, systems)
    with _locked(_file(config)) as path:
        keys = keys_in(path) if path.exists() else {}
        write_keys(path, [*keys.values(), made])
    click.echo(
        json.dumps({"id": made.id, "key": text, "expires": expires.isoformat()})
        if as_json
        else text
    )
    if not as_json:
        click.echo(f"key {made.id} of {account}, valid until {expires:%Y-%m-%d}", err=True)


@key.command("list")
@CONFIG
@JSON
def list_keys(config: Path, as_json: bool) -> None:
    """List the keys, without what could be used as one."""
    with _file_errors():
        keys = keys_in(_file(config)).values()
    if as_json:
        shown = [one.model_dump(mode="json", exclude={"digest"}) for one in keys]
        click.echo(json.dumps(shown))
        return
    for one in keys:
        click.echo(_line(one))


@key.command()
@click.argument("identifier", metavar="ID")
@CONFIG
def revoke(identifier: str, config: Path) -> None:
    """Remove the key ID, the twelve characters behind `passerelle_`. It is refused within five seconds."""
    with _locked(_file(config)) as path:
        keys = keys_in(path)
        if keys.pop(identifier, None) is None:
            raise click.ClickException(f"{path}: there is no key {identifier}")
        write_keys(path, list(keys.values()))


def _line(one: ApiKey) -> str:
    where = " ".join(one.systems) if one.systems is not None else "all systems"
    source = f" from {' '.join(map(str, one.addresses))}" if one.addresses is not None else ""
    ended = " (expired)" if one.expires <= datetime.now(UTC) else ""
    note = f"  # {one.note}" if one.note else ""
    until = f"until {one.expires:%Y-%m-%d}{ended}"
    return f"{one.id}  {one.account}  {' '.join(one.scopes)}  {where}{source}  {until}{note}"


def _file(config: Path) -> Path:
    settings = section(load(config), AuthSection)
    if settings.api_keys is None:
        raise click.ClickException(f"{config}: it has no `auth.api_keys.file`")
    return settings.api_keys.file


def _require_systems(config: Path, systems: tuple[str, ...]) -> None:
    known = [system.name for system in load(config).systems]
    for name in systems:
        if name not in known:
            raise click.ClickException(f"system: {name} is none of {', '.join(known)}")


@contextmanager
def _locked(path: Path) -> Iterator[Path]:
    """Hold the file against other changes; the lock is on its directory, for the file itself is replaced."""
    with _file_errors():
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            yield path
        finally:
            os.close(directory)


@contextmanager
def _file_errors() -> Iterator[None]:
    """Print what is wrong with the file, or with its directory, as a message."""
    try:
        yield
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from None
    except ValueError as error:
        raise click.ClickException(str(error)) from None
