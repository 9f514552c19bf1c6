"""Runs the trials of `passerelle config check --connect`, one after another, and keeps their results."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from passerelle.runtime.config.trials import Caveat, Failed, Trial
from passerelle.runtime.errors import ApiError

_DEADLINE = 30.0  # seconds for one trial
OUTCOMES = OK, DOUBT, FAILED, SKIPPED = "ok", "note", "FAILED", "skipped"


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one trial: `outcome` is OK, DOUBT, FAILED or SKIPPED; `text` is its result, or why it failed."""

    name: str
    outcome: str
    text: str

    @property
    def failed(self) -> bool:
        """Whether there is something to repair."""
        return self.outcome == FAILED


class TrialRunner:
    """Runs trials. `on_start` is called with the name of each before it runs, `on_end` with its result."""

    def __init__(self, on_start: Callable[[str], None], on_end: Callable[[Result], None]) -> None:
        self._on_start = on_start
        self._on_end = on_end
        self.results: list[Result] = []

    async def run(self, trial: Trial, prefix: str = "") -> bool:
        """Run a trial, for at most 30 s; returns whether those that need it can run. `prefix` begins its name."""
        name = f"{prefix}{trial.name}"
        self._on_start(name)
        with _collected_warnings() as warnings:
            outcome, text = await _outcome(trial)
        if outcome == FAILED:
            text = "; ".join(reason.removesuffix(".") for reason in (text, *warnings))
            if trial.hint:
                end = "" if text.endswith("?") else "."
                text = f"{text}{end} Look at: {trial.hint}"
        self._add(Result(name, outcome, text))
        return outcome != FAILED

    def skip(self, trial: Trial, reason: str, prefix: str = "") -> None:
        """Record that a trial was not run, and why."""
        self._add(Result(f"{prefix}{trial.name}", SKIPPED, reason))

    def _add(self, result: Result) -> None:
        self.results.append(result)
        self._on_end(result)


async def _outcome(trial: Trial) -> tuple[str, str]:
    try:
        async with asyncio.timeout(_DEADLINE):
            return OK, await trial.run()
    except TimeoutError:
        return FAILED, f"no answer within {_DEADLINE:.0f} s"
    except Caveat as doubt:
        return DOUBT, str(doubt)
    except Failed as failure:
        return FAILED, str(failure)
    except ApiError as error:
        cause = f" ({error.__cause__ or type(error.__cause__).__name__})" if error.__cause__ else ""
        return FAILED, f"{error.detail.removesuffix('.')}{cause}"
    except Exception as error:  # of ours or of a plugin: the other trials still have to run
        return FAILED, f"unexpected {type(error).__name__}: {error}"


class _WarningCollector(logging.Handler):
    """Keeps the warnings of the services: they have the cause of a refusal, which the caller's answer has not."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if (line := record.getMessage()) not in self.lines:
            self.lines.append(line)


@contextmanager
def _collected_warnings() -> Iterator[list[str]]:
    handler, logger = _WarningCollector(), logging.getLogger("passerelle")
    logger.addHandler(handler)
    try:
        yield handler.lines
    finally:
        logger.removeHandler(handler)
