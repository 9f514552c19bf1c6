"""What Slurm's messages mean."""

import pytest

from passerelle.compute.scheduler import LimitExceeded, ProgramMissing, Refused
from passerelle.compute.schedulers.slurm import failures, job_outputs, refusals
from passerelle.runtime.command import Output
from passerelle.runtime.errors import (
    ApiError,
    BackendError,
    BackendUnavailable,
    FailedPrecondition,
    Forbidden,
    NotFound,
    Unsupported,
)


def failed_output(words: str, status: int = 1) -> Output:
    return Output(status, "", f"{words}\n")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("slurm_load_jobs error: Invalid job id specified", NotFound),
        ("squeue: error: Invalid job id: 4294967295", NotFound),
        ("sacct: fatal: Bad job/step specified: abc", NotFound),
        ("slurm_load_jobs error: Access/permission denied", Forbidden),
        (
            "slurm_load_jobs error: Unable to contact slurm controller (connect failure)",
            BackendUnavailable,
        ),
        ("slurm_load_jobs error: Socket timed out on send/recv operation", BackendUnavailable),
        ("sacct: error: Problem talking to the database: Connection refused", BackendUnavailable),
        ("Slurm accounting storage is disabled", Unsupported),
        ("slurm_load_jobs error: Protocol authentication error", BackendUnavailable),
        (
            "slurm_load_jobs error: Rate limit exceeded, please retry momentarily",
            BackendUnavailable,
        ),
        ("Job 51_77 not found", NotFound),
        ("slurm_load_partitions: Access/permission denied", Forbidden),
    ],
)
def test_a_failed_query(words: str, error: type[ApiError]) -> None:
    refusal = failures.ERRORS.error(failed_output(words))
    assert type(refusal) is error
    assert refusal.detail == ("Job not found." if error is NotFound else words)


@pytest.mark.parametrize(
    "notice",
    [
        "quota: error while getting quota: Connection refused",
        "/etc/profile.d/site.sh: line 3: /opt/site/env: Permission denied",
        "Invalid job id specified",
    ],
)
def test_what_others_say_does_not_matter(notice: str) -> None:
    unknown = f"{notice}\nslurm_load_jobs error: Invalid job id specified"
    assert type(failures.ERRORS.error(failed_output(unknown))) is NotFound
    account = "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified"
    refused = refusals.refused_submission(failed_output(f"{notice}\n{account}"))
    assert (type(refused), refused.detail) == (Refused, account)
    assert type(failures.ERRORS.error(failed_output(notice))) is BackendError


@pytest.mark.parametrize(
    "said_by",
    [
        "env: 'squeue': No such file or directory",
        "sh: 1: squeue: not found",
        "bash: line 1: squeue: command not found",
        "sh: 1: exec: squeue: not found",
    ],
)
def test_a_missing_program(said_by: str) -> None:
    for failure in (failures.ERRORS.error, refusals.refused_submission, failures.controller_down):
        refusal = failure(Output(127, "", f"notice\n{said_by}\n"))
        assert type(refusal) is ProgramMissing
        assert refusal.program == "squeue"


@pytest.mark.parametrize(
    "words",
    [
        "sbatch: error while loading shared libraries: libslurmfull.so: cannot open shared object file",
        "/opt/slurm/bin/sbatch: symbol lookup error: libslurmfull.so: undefined symbol: xfree",
    ],
)
def test_a_program_that_cannot_be_loaded_is_not_the_callers_fault(words: str) -> None:
    refusal = refusals.refused_submission(Output(127, "", f"{words}\n"))
    assert (type(refusal), refusal.detail) == (BackendError, words)


@pytest.mark.parametrize(
    "words",
    [
        "sbatch: error: Unable to open file /home/alice/munge/run.sh",
        "sbatch: error: Unable to open file /home/alice/socket timed out.sh",
        "sbatch: error: Unable to open file /home/alice/gone/permission denied.sh",
        "sbatch: error: Unable to open file Batch job submission failed: Connection refused",
        "sbatch: error: invalid partition specified: standby mode\n"
        "sbatch: error: Batch job submission failed: Invalid partition name specified",
        "sbatch: error: Invalid time specification (pos=0): munge\n"
        "sbatch: error: Invalid --begin specification: munge",
        "sbatch: unrecognized option '--QOSMaxJobLimit'",
        "sbatch: error: Batch job submission failed: Invalid job id specified",
        "sbatch: fatal: --gpus-per-node and --gres=gpu are mutually exclusive.",
    ],
)
def test_the_callers_own_text_does_not_matter(words: str) -> None:
    assert type(refusals.refused_submission(failed_output(words))) is Refused


@pytest.mark.parametrize(
    "reason",
    [
        "Resource temporarily unavailable",
        "Unexpected message received",
        "MaxJobCount limit reached",
        "Unable to create job record, try again",
        "Communication connection failure",
        "Authentication failure",
        "Rejecting authentication of user nobody or group nobody",
        "Socket timed out on send/recv operation",
    ],
)
def test_a_busy_scheduler_is_to_be_asked_again(reason: str) -> None:
    words = (
        "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying\n"
        f"sbatch: error: Batch job submission failed: {reason}"
    )
    refusal = refusals.refused_submission(failed_output(words))
    assert type(refusal) is BackendUnavailable
    assert refusal.retry_after


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("srun: error: cn01: task 0: Exited with exit code 127", 127),
        ("srun: error: cn01: task 0: Killed\nsrun: Force Terminated StepId=46.4", 137),
        ("srun: error: No directives to start application on any available hetjob components", 1),
        ("srun: error: Slurm job 41 has expired\n"
         "srun: Check SLURM_JOB_ID environment variable. Expired or invalid job 41", 1),
        ("srun: error: Unable to confirm allocation for job 49: Job is pending execution", 1),
    ],
)  # fmt: skip
def test_what_cannot_be_attached(words: str, status: int) -> None:
    refusal = failures.refused_attachment(failed_output(f"notice\n{words}", status))
    assert isinstance(refusal, FailedPrecondition)
    assert (refusal.reason, refusal.detail) == ("FAILED_PRECONDITION", words)


def test_a_failure_without_words() -> None:
    assert failures.ERRORS.error(Output(9, "", "")).detail.endswith("exit status 9.")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("sbatch: error: Batch job submission failed: Invalid qos specification", Refused),
        ("sbatch: error: You must name an account.\nsbatch: error: Batch job submission failed: "
         "Unspecified error", Refused),
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
    refusal = refusals.refused_submission(failed_output(words))
    assert type(refusal) is error
    assert refusal.detail == words


@pytest.mark.parametrize(
    "limit", ["QOSMaxSubmitJobPerUserLimit", "AssocMaxSubmitJobLimit", "qosminGRESlimit"]
)
def test_an_exceeded_limit(limit: str) -> None:
    refusal = refusals.refused_submission(failed_output(f"sbatch: error: {limit}"))
    assert type(refusal) is LimitExceeded
    assert refusal.detail == f"sbatch: error: {limit}"


@pytest.mark.parametrize(
    ("output", "error"),
    [
        ("scancel: Terminating job 7\n", None),
        ("", None),
        ("scancel: Terminating job 7\nscancel: error: Kill job error on job id 7: "
         "Job/step already completing or completed\n", None),
        ("scancel: Terminating job 7\nscancel: error: Kill job error on job id 7: "
         "Invalid job id specified\n", NotFound),
        ("scancel: error: Kill job error on job id 7: Access/permission denied\n", Forbidden),
        ("scancel: error: Kill job error on job id 7: Unable to contact slurm controller (connect failure)\n",
         BackendUnavailable),
    ],
)  # fmt: skip
def test_a_cancellation(output: str, error: type[ApiError] | None) -> None:
    refusal = failures.refused_cancellation(Output(0, "", output))
    assert type(refusal) is (error or type(None))


def test_a_scancel_that_cannot_run_is_an_error() -> None:
    with pytest.raises(ProgramMissing, match="scancel is not found"):
        job_outputs.parse_cancelled("sh: 1: scancel: not found\n127\n")


@pytest.mark.parametrize("output", ["0\n", "scancel: Terminating job 7\n0\n"])
def test_a_cancellation_that_went_well(output: str) -> None:
    job_outputs.parse_cancelled(output)


@pytest.mark.parametrize(
    ("words", "field"),
    [
        ("sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified",
         "account"),
        ("sbatch: error: invalid partition specified: account\n"
         "sbatch: error: Batch job submission failed: Invalid partition name specified", "partition"),
        ("sbatch: error: Batch job submission failed: Requested reservation is invalid", "reservation"),
        ("sbatch: error: Batch job submission failed: Invalid feature specification", "constraints"),
        ("sbatch: error: Batch job submission failed: Requested time limit is invalid (missing or exceeds some limit)",
         "time_limit"),
        ("sbatch: error: Unable to open file Batch job submission failed: Invalid feature specification",
         "script_path"),
        ("sbatch: unrecognized option '--nosuch=1'", "script"),
        ("sbatch: error: Batch job submission failed: Invalid job array specification", "script"),
    ],
)  # fmt: skip
def test_a_refusal_names_the_field(words: str, field: str) -> None:
    refusal = refusals.refused_submission(failed_output(words))
    assert isinstance(refusal, Refused)
    assert [(one.location, one.name) for one in refusal.fields] == [("body", f"job.{field}")]
