"""What `passerelle config check` prints, for a person or as JSON, and the exit status that it ends with."""

import asyncio
import json
import logging
import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import click

from passerelle.cli.check.file_check import FileReport, check
from passerelle.cli.check.trial_runner import OUTCOMES, Result, TrialRunner


def check_and_print(file: Path, *, connect: bool, as_json: bool) -> int:
    """Check the file, and with `connect` try its site when it is correct. Returns the exit status: 78, 1 or 0."""
    report = check(file)
    tries_site = connect and not report.errors
    results = []
    if as_json:
        results = _site_results(file, _ignore, _ignore) if tries_site else []
        _print_json(report, results if tries_site else None)
    else:
        _print(file, report)
        if tries_site:
            results = _site_results(file, _print_start, _print_result)
            count = Counter(result.outcome for result in results)
            click.echo(", ".join(f"{count[outcome]} {outcome}" for outcome in OUTCOMES))
    if report.errors:
        return os.EX_CONFIG
    return int(any(result.failed for result in results))


def _site_results(
    file: Path, on_start: Callable[[str], None], on_end: Callable[[Result], None]
) -> list[Result]:
    # Imported here: it brings everything that the services need.
    from passerelle.cli.check.site_check import check_site

    # What the services log is part of the results, and not printed besides.
    logging.getLogger().addHandler(logging.NullHandler())
    runner = TrialRunner(on_start, on_end)
    asyncio.run(check_site(file, runner))
    return runner.results


def _print(file: Path, report: FileReport) -> None:
    for line in report.notes:
        click.echo(f"note: {line}", err=True)
    for line in report.errors:
        click.echo(f"error: {line}", err=True)
    if not report.errors:
        click.echo(f"{file}: correct")


def _print_json(report: FileReport, results: list[Result] | None) -> None:
    answer = {"valid": not report.errors, "errors": report.errors, "warnings": report.notes}
    if results is not None:
        answer["connect"] = [
            {"name": result.name, "outcome": result.outcome, "message": result.text}
            for result in results
        ]
    click.echo(json.dumps(answer))


def _print_start(name: str) -> None:
    """At a terminal, show which trial is running; its result overwrites the line."""
    if sys.stderr.isatty():
        click.echo(f"...      {name}\r", nl=False, err=True)


def _print_result(result: Result) -> None:
    click.echo(f"{result.outcome:<8} {result.name}: {result.text}")


def _ignore(_: object) -> None:
    """Print nothing."""
