"""What `passerelle config check` prints: for a person, or as JSON; and the exit status that it ends with."""

import asyncio
import json
import logging
import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import click

from passerelle.cli.config import check as config_check
from passerelle.cli.connect.tries import OUTCOMES, Result, Tries


def report(file: Path, *, connect: bool, as_json: bool) -> int:
    """Check the file, and try its site when it is correct and `connect`; the exit status: 78, 1 or 0."""
    found = config_check.check(file)
    tried = connect and not found.errors
    if as_json:
        results = _tried(file, _nothing, _nothing) if tried else []
        _print_json(found, results, tried)
    else:
        _print(file, found)
        results = _tried(file, _begun, _ended) if tried else []
        if tried:
            count = Counter(one.outcome for one in results)
            click.echo(", ".join(f"{count[outcome]} {outcome}" for outcome in OUTCOMES))
    if found.errors:
        return os.EX_CONFIG
    return int(any(one.failed for one in results))


def _tried(file: Path, begin: Callable[[str], None], end: Callable[[Result], None]) -> list[Result]:
    from passerelle.cli.connect.check import connect  # with all that the services stand on

    logging.getLogger().addHandler(
        logging.NullHandler()
    )  # what the services say is part of results
    tries = Tries(begin, end)
    asyncio.run(connect(file, tries))
    return tries.results


def _print(file: Path, found: config_check.Checked) -> None:
    for line in found.notes:
        click.echo(f"note: {line}", err=True)
    for line in found.errors:
        click.echo(f"error: {line}", err=True)
    if not found.errors:
        click.echo(f"{file}: correct")


def _print_json(found: config_check.Checked, results: list[Result], tried: bool) -> None:
    whole = {"valid": not found.errors, "errors": found.errors, "warnings": found.notes}
    told = [{"name": one.name, "outcome": one.outcome, "message": one.text} for one in results]
    click.echo(json.dumps({**whole, "connect": told} if tried else whole))


def _begun(name: str) -> None:
    """Show what takes its time, at a terminal: the result takes its place."""
    if sys.stderr.isatty():
        click.echo(f"...      {name}\r", nl=False, err=True)


def _ended(result: Result) -> None:
    click.echo(f"{result.outcome:<8} {result.name}: {result.text}")


def _nothing(_: object) -> None:
    """Say nothing."""
