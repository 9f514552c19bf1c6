"""FirecREST v2's bodies and queries, in all their spellings, converted to the domain's values."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, AliasChoices, Field, model_validator

from passerelle.compute import limits
from passerelle.compute.scheduler import JobDescription, JobFilter, optional_texts
from passerelle.runtime import caller
from passerelle.surfaces.firecrest.bodies import Model

_WINDOWS: Mapping[str, int] = {
    "1h": 3600,
    "8h": 8 * 3600,
    "24h": 24 * 3600,
    "3d": 3 * 86400,
    "7d": 7 * 86400,
}
_JOB_ID = re.compile(r"[a-zA-Z0-9]+(?:[_+][0-9]+)?")
_DEFAULT_ENVIRONMENT = {"F7T_version": "v2.0.0"}
# Fields of JobDescription whose names here are other than the same in camelCase.
_SPELT = {"environment": "env"}


def _word(text: str) -> str:
    for fault in limits.word_faults(text, limits.MAX_WORD):
        raise ValueError(fault)
    return text


def _job_id(text: str) -> str:
    """FirecREST's rule and words, but for tasks of arrays and components (`+`), which its own lists name."""
    if not _JOB_ID.fullmatch(text):
        raise ValueError("String should match pattern '^[a-zA-Z0-9]+$'")
    return text


class JobPath(Model):
    """The job in a path, by an id that looks like one to FirecREST."""

    job_id: Annotated[str, AfterValidator(_job_id)] = Field(alias="job_id")


class JobsQuery(Model):
    """Which jobs to list; an empty filter is none."""

    allusers: bool = False
    account: Annotated[str, AfterValidator(_word)] | None = None
    name: Annotated[str, Field(max_length=limits.MAX_NAME), AfterValidator(_word)] | None = None
    time_window: Literal["1h", "8h", "24h", "3d", "7d"] = Field("24h", alias="time_window")

    def wanted(self) -> JobFilter:
        """The same for the scheduler."""
        return JobFilter(
            user=None if self.allusers else caller.current().username,
            account=self.account or None,
            name=self.name or None,
            window=_WINDOWS[self.time_window],
        )


class PartitionsQuery(Model):
    """The query of a list of partitions."""

    show_hidden: bool = Field(False, alias="show_hidden")


class AttachBody(Model):
    """A command for a running job."""

    command: str


class JobBody(Model):
    """The job to run."""

    name: str | None = None
    account: str | None = None
    reservation: str | None = None
    partition: str | None = None
    constraints: str | None = None
    working_directory: str = Field(
        validation_alias=AliasChoices(
            "workingDirectory", "working_directory", "current_working_directory"
        )
    )
    standard_input: str | None = None
    standard_output: str | None = None
    standard_error: str | None = None
    env: dict[str, str] | list[str] = Field(
        _DEFAULT_ENVIRONMENT, validation_alias=AliasChoices("env", "environment")
    )
    script: str = ""
    script_path: str | None = None

    @model_validator(mode="after")
    def _check(self) -> "JobBody":
        violations = [
            f"{_spelt(name)}: {what}" for name, what in limits.violations(self.described())
        ]
        if violations:
            raise ValueError("; ".join(violations))
        return self

    def described(self) -> JobDescription:
        """The same for the scheduler."""
        return JobDescription(
            working_directory=self.working_directory,
            **optional_texts(self),
            environment=self._environment(),
            time_limit=None,
            # FirecREST gives both to sbatch, which then reads the file.
            script=None if self.script_path else self.script or None,
            script_path=self.script_path or None,
        )

    def _environment(self) -> dict[str, str]:
        if isinstance(self.env, dict):
            return self.env
        pairs = (pair.partition("=") for pair in self.env)
        return {name if equals else f"{name}=": value for name, equals, value in pairs}


class SubmitBody(Model):
    """A job to submit."""

    job: JobBody


def _spelt(name: str) -> str:
    first, *rest = _SPELT.get(name, name).split("_")
    return first + "".join(word.title() for word in rest)
