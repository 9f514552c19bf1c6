"""What Slurm's messages mean."""

import pytest

from passerelle.compute.schedulers.slurm import failures, job_outputs
from passerelle.runtime.command import Output
from passerelle.runtime.errors import (
    ApiError,
    BackendError,
    BackendUnavailable,
    Forbidden,
    InvalidArgument,
    NotFound,
    Unsupported,
)


def said(words: str, status: int = 1) -> Output:
    return Output(status, "", f"{words}\n")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("slurm_load_jobs error: Invalid job id specified", NotFound),
        ("squeue: error: Invalid job id: 4294967295", NotFound),
        ("sacct: fatal: Bad job/step specified: abc", NotFound),
        ("scontrol: error: Access/permission denied", Forbidden),
        (
            "slurm_load_jobs error: Unable to contact slurm controller (connect failure)",
            BackendUnavailable,
        ),
        ("slurm_load_jobs error: Socket timed out on send/recv operation", BackendUnavailable),
        ("sacct: error: Problem talking to the database: Connection refused", BackendUnavailable),
        ("Slurm accounting storage is disabled", Unsupported),
        ("env: 'squeue': No such file or directory", BackendError),
        ("slurm_load_jobs error: Protocol authentication error", BackendError),
    ],
)
def test_a_failed_query(words: str, error: type[ApiError]) -> None:
    found = failures.failed(said(words))
    assert type(found) is error
    assert found.detail == ("Job not found." if error is NotFound else words)


def test_a_failure_without_words() -> None:
    assert failures.failed(Output(9, "", "")).detail.endswith("exit status 9.")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("sbatch: error: Batch job submission failed: Invalid qos specification", InvalidArgument),
        ("sbatch: error: You must name an account.\nsbatch: error: Batch job submission failed: "
         "Unspecified error", InvalidArgument),
        ("sbatch: error: Batch job submission failed: Access denied to requested reservation", Forbidden),
        ("sbatch: error: Batch job submission failed: User's group not permitted to use this partition",
         Forbidden),
        ("sbatch: error: Batch job submission failed: Unable to contact slurm controller "
         "(connect failure)", BackendUnavailable),
        ("sbatch: error: Batch job submission failed: I/O error writing script/environment to file",
         BackendError),
        ("bash: line 1: fork: retry: Resource temporarily unavailable", BackendError),
    ],
)  # fmt: skip
def test_a_refused_submission(words: str, error: type[ApiError]) -> None:
    found = failures.refused_submission(said(words))
    assert type(found) is error
    assert found.detail == words


@pytest.mark.parametrize(
    "limit", ["QOSMaxSubmitJobPerUserLimit", "AssocMaxSubmitJobLimit", "qosminGRESlimit"]
)
def test_an_exceeded_limit(limit: str) -> None:
    found = failures.refused_submission(said(f"sbatch: error: {limit}"))
    assert type(found) is Forbidden
    assert found.detail == (
        f"Job submission rejected: accounting/QOS policy limit exceeded. sbatch: error: {limit}"
    )


@pytest.mark.parametrize(
    ("told", "error"),
    [
        ("scancel: Terminating job 7\n", None),
        ("", None),
        ("scancel: Terminating job 7\nscancel: error: Kill job error on job id 7: "
         "Job/step already completing or completed\n", None),
        ("scancel: Terminating job 7\nscancel: error: Kill job error on job id 7: "
         "Invalid job id specified\n", NotFound),
        ("scancel: error: Kill job error on job id 7: Access/permission denied\n", Forbidden),
        ("scancel: error: Kill job error on job id 7: Unable to contact slurm controller\n",
         BackendUnavailable),
    ],
)  # fmt: skip
def test_a_cancellation(told: str, error: type[ApiError] | None) -> None:
    found = failures.refused_cancellation(Output(0, "", told))
    assert type(found) is (error or type(None))


def test_a_scancel_that_cannot_run_is_an_error() -> None:
    with pytest.raises(BackendError, match="scancel: not found"):
        job_outputs.parse_cancelled("sh: 1: scancel: not found\n127\n")


@pytest.mark.parametrize("told", ["0\n", "scancel: Terminating job 7\n0\n"])
def test_a_cancellation_that_went_well(told: str) -> None:
    job_outputs.parse_cancelled(told)
