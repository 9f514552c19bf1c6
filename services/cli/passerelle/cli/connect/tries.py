"""Making the trials of `passerelle config check --connect`, and what became of each."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from passerelle.runtime.config.trials import Doubt, Failed, Trial
from passerelle.runtime.errors import ApiError

_DEADLINE = 30.0  # seconds for one trial
OUTCOMES = OK, DOUBT, FAILED, SKIPPED = "ok", "note", "FAILED", "skipped"


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one trial: `outcome` is OK, DOUBT, FAILED or SKIPPED, `text` what it found, or why."""

    name: str
    outcome: str
    text: str

    @property
    def failed(self) -> bool:
        """Whether there is something to mend."""
        return self.outcome == FAILED


class Tries:
    """Makes trials, one after another. `begin` is told the name of each before it is made, `end` what became of it."""

    def __init__(self, begin: Callable[[str], None], end: Callable[[Result], None]) -> None:
        self._begin = begin
        self._end = end
        self.results: list[Result] = []

    async def make(self, trial: Trial, place: str = "") -> bool:
        """Make it, within 30 s; whether it went well enough to go on from there."""
        name = f"{place}{trial.name}"
        self._begin(name)
        with _warnings() as heard:
            outcome, text = await _outcome(trial)
        if outcome == FAILED:
            told = "; ".join(words.removesuffix(".") for words in (text, *heard))
            stop = "" if told.endswith("?") else "."
            text = f"{told}{stop} Look at: {trial.mend}" if trial.mend else told
        self._tell(Result(name, outcome, text))
        return outcome != FAILED

    def skip(self, trial: Trial, why: str, place: str = "") -> None:
        """Say that it is not made."""
        self._tell(Result(f"{place}{trial.name}", SKIPPED, why))

    def _tell(self, result: Result) -> None:
        self.results.append(result)
        self._end(result)


async def _outcome(trial: Trial) -> tuple[str, str]:
    try:
        async with asyncio.timeout(_DEADLINE):
            return OK, await trial.run()
    except TimeoutError:
        return FAILED, f"no answer within {_DEADLINE:.0f} s"
    except Doubt as doubt:
        return DOUBT, str(doubt)
    except Failed as failure:
        return FAILED, str(failure)
    except ApiError as error:
        cause = f" ({error.__cause__ or type(error.__cause__).__name__})" if error.__cause__ else ""
        return FAILED, f"{error.detail.removesuffix('.')}{cause}"
    except Exception as error:  # of ours or of a plugin: it must not hide what the others find
        return FAILED, f"unexpected {type(error).__name__}: {error}"


class _Heard(logging.Handler):
    """Keeps what the services warn of: there the cause of a refusal stands, which a caller is not told."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if (line := record.getMessage()) not in self.lines:
            self.lines.append(line)


@contextmanager
def _warnings() -> Iterator[list[str]]:
    handler, logger = _Heard(), logging.getLogger("passerelle")
    logger.addHandler(handler)
    try:
        yield handler.lines
    finally:
        logger.removeHandler(handler)
