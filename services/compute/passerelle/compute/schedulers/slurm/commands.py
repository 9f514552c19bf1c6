"""Slurm's commands as data. Every value of a caller stands in a `--option=value` word or on stdin.

Times are printed as seconds since the epoch (SLURM_TIME_FORMAT, which all of Slurm's programs heed).
"""

from collections.abc import Iterator, Mapping

from passerelle.compute.scheduler import (
    Account,
    Job,
    JobDescription,
    JobFilter,
    Node,
    Partition,
    Reservation,
    Step,
    UserInfo,
)
from passerelle.compute.schedulers.slurm import failures, job_outputs, site_outputs
from passerelle.compute.schedulers.slurm.rows import new_mark
from passerelle.runtime.command import Command

# Reads the variables of the job's environment from stdin, each `NAME=value` ended by a NUL, up to an empty one, and
# leaves the rest of stdin, the script, to sbatch: neither is ever seen in a process list. They are the job's alone:
# sbatch reads them, after the login's own, as data from a file that has no name any more (it opens it once for each
# component of a heterogeneous job), and runs in the login's environment, as all else here does. What it is told by
# the login's own SBATCH_ variables is the user's wish, but for those that would change what an answer means.
# sbatch may hear nothing of a job that slurmctld took (a time-out), and where the queue is full it would try again for
# minutes, after the request has been answered. So it has seven seconds, and when it fails slurmctld is asked once for
# a job that was submitted from this very session: its id is the answer then.
# LC_ALL is our own doing and no business of the job. Our variables have names that no login exports.
_SUBMIT = """
set -- "$(type -P sbatch)" "$@"
[ -n "$1" ] || { echo "bash: sbatch: command not found" >&2; exit 127; }
passerelle_pairs=()
while IFS= read -r -d "" passerelle_pair && [ -n "$passerelle_pair" ]; do
  passerelle_pairs+=("$passerelle_pair")
done
unset LC_ALL
if [ ${#passerelle_pairs[@]} -gt 0 ]; then
  passerelle_file=$(mktemp -p /dev/shm 2>/dev/null || mktemp) || exit
  exec 4>"$passerelle_file" 3<"$passerelle_file" && rm -f -- "$passerelle_file" || exit
  (SHLVL=$((SHLVL - 1)); exec env -u _ -0) >&4 && printf "%s\\0" "${passerelle_pairs[@]}" >&4 || exit
  exec 4>&-
fi
unset SBATCH_CLUSTERS SBATCH_DEBUG SBATCH_EXPORT SBATCH_WAIT SLURM_CLUSTERS SLURM_DEBUG SLURM_DEBUG_FLAGS
printf -v passerelle_since "%(%s)T" -1
SHLVL=$((SHLVL - 1)) timeout --foreground -k 1 7 "$@"
passerelle_status=$?
[ "$passerelle_status" -ne 0 ] || exit 0
exec </dev/null 3<&-
unset LC_ALL ${!SQUEUE_@}
export LC_ALL=C SLURM_TIME_FORMAT=%s
passerelle_stat=$(<"/proc/$$/stat")
set -- ${passerelle_stat##*) }
timeout --foreground -k 1 2 squeue --me --noheader --all --states=all \\
  --Format=JobArrayID:40,AllocSID:20,SubmitTime:20 2>/dev/null |
  awk -v sid="$4" -v since="$((passerelle_since - 60))" \\
    '$2 == sid && $3 >= since { split($1, id, /[_+]/); if (found != id[1]) many += 1; found = id[1] }
     END { if (many == 1) print found; exit many != 1 }' || exit "$passerelle_status"
""".strip()
_VARIABLES = "/dev/fd/3"
_ATTACHED = 'command=$(cat); exec </dev/null; eval "$command"'
_CANCEL = 'scancel --verbose -- "$1" 2>&1; echo "$?"'
_ACCOUNTS = (
    'echo "passerelle-user $(id -u) $(id -g) $(id -G)" && { id -un 2>/dev/null || id -u; }'
    " && { getent group $(id -G); echo passerelle-accounts; }"
    ' && scontrol --oneliner show assoc_mgr users="$(id -un)" flags=assoc'
    ' | grep -F " UserName=$(id -un)("'
)


# Variables of a login that change what Slurm's programs tell, or whom they tell it of: see "ENVIRONMENT VARIABLES" in
# their manual pages. SLURM_CONF is none of them: it says which Slurm this is.
_CLEARED: Mapping[str, str] = {
    "SACCT": "FEDERATION LOCAL",
    "SCANCEL": "ACCOUNT BATCH CRON CTLD FULL HURRY INTERACTIVE NAME NODELIST PARTITION QOS RESERVATION SIBLING STATE"
    " USER USERID VERBOSE WCKEY",
    "SCONTROL": "ALL FEDERATION FUTURE LOCAL SIBLING",
    "SINFO": "ALL FEDERATION FORMAT LOCAL PARTITION SORT",
    "SLURM": "BITSTR_LEN CLUSTERS DEBUG DEBUG_FLAGS JSON YAML",
    "SQUEUE": "ACCOUNT ALL ARRAY FEDERATION FORMAT FORMAT2 LICENSES LOCAL NAMES PARTITION PRIORITY QOS SIBLING SORT"
    " STATES USERS",
}
_UNSET = tuple(
    word
    for program, names in _CLEARED.items()
    for name in names.split()
    for word in ("-u", f"{program}_{name}")
)


def _slurm(*argv: str) -> tuple[str, ...]:
    """A question to Slurm, which means the same in whatever environment a user has."""
    return ("env", *_UNSET, "SLURM_TIME_FORMAT=%s", *argv)


def queued_command(*which: str) -> Command[tuple[Job, ...]]:
    """The jobs slurmctld knows, also those that ended lately; `which` are more options of squeue.

    A single job that it does not know gives none.
    """
    mark = new_mark()
    shown = ",".join(f"{field}:{mark}" for field in job_outputs.QUEUE_FIELDS)
    return Command(
        _slurm("squeue", "--noheader", "--all", "--states=all", f"--Format={shown}", *which),
        lambda text: job_outputs.parse_queue(text, mark),
        failure=failures.failed,
    )


def running_steps_command(*which: str) -> Command[dict[str, tuple[Step, ...]]]:
    """The steps that run now, by the id of their job; `which` are more options of squeue."""
    mark = new_mark()
    shown = ",".join(f"{field}:{mark}" for field in job_outputs.STEP_FIELDS)
    return Command(
        _slurm("squeue", "--noheader", "--all", "--steps", f"--Format={shown}", *which),
        lambda text: job_outputs.parse_steps(text, mark),
        failure=failures.failed,
    )


def history_command(*which: str) -> Command[tuple[Job, ...]]:
    """The jobs in the accounting database, with all their steps; `which` are more options of sacct."""
    mark = new_mark()
    shown = ",".join(job_outputs.HISTORY_FIELDS)
    return Command(
        _slurm(
            "sacct",
            "--noheader",
            "--parsable",
            f"--delimiter={mark}",
            "--noconvert",
            f"--format={shown}",
            *which,
        ),
        lambda text: job_outputs.parse_history(text, mark),
        failure=failures.failed,
    )


def queue_options(wanted: JobFilter) -> tuple[str, ...]:
    """The options of squeue, for jobs, that select what is wanted, apart from the name."""
    return tuple(
        f"--{option}={value}"
        for option, value in (("user", wanted.user), ("account", wanted.account))
        if value
    )


def step_options(wanted: JobFilter) -> tuple[str, ...]:
    """The options of squeue, for steps, that select what is wanted as far as it can."""
    return (f"--user={wanted.user}",) if wanted.user else ()


def history_options(wanted: JobFilter) -> tuple[str, ...]:
    """The options of sacct that select what is wanted, apart from the name."""
    who = (f"--user={wanted.user}",) if wanted.user else ("--allusers",)
    account = (f"--accounts={wanted.account}",) if wanted.account else ()
    return (*who, *account, f"--starttime=now-{wanted.window}seconds")


def submit_command(job: JobDescription, name: str) -> Command[str]:
    """Submits a job and gives its id. Never repeated: the first try may have come through.

    `name` is the one the job will have; sbatch tells it to jobs only when it makes their environment itself.
    """
    told = {"SLURM_JOB_NAME": name, **job.environment} if job.environment else {}
    variables = "".join(f"{name}={value}\0" for name, value in told.items())
    export = (f"--export-file={_VARIABLES}",) if told else ()
    path = ("--", job.script_path) if job.script_path is not None else ()
    return Command(
        ("bash", "-c", _SUBMIT, "sbatch", "--parsable", *_submit_options(job), *export, *path),
        job_outputs.parse_submitted,
        stdin=f"{variables}\0{job.script or ''}",
        failure=failures.refused_submission,
        repeatable=False,
        unset=(),  # a login's variables are the job's, too
    )


def directives_command(script_path: str) -> Command[str]:
    """The lines at the head of a script on the system in which directives stand; nothing where it cannot be read."""
    return Command(
        ("sed", "-n", r"/^[^#]/{/[^[:space:]]/q;};/^#SBATCH/p", "--", script_path),
        lambda text: text,
        accepts=tuple(range(256)),
    )


def _submit_options(job: JobDescription) -> Iterator[str]:
    for option, value in (
        ("chdir", job.working_directory),
        ("job-name", job.name),
        ("account", job.account),
        ("partition", job.partition),
        ("reservation", job.reservation),
        ("constraint", job.constraints),
        ("input", job.standard_input),
        ("output", job.standard_output),
        ("error", job.standard_error),
    ):
        if value:
            yield f"--{option}={value}"
    if job.time_limit is not None:
        yield f"--time={max(1, -(-job.time_limit // 60))}"  # whole minutes; 0 would mean no limit


def attach_command(job_id: str, command: str) -> Command[None]:
    """Runs a command line in a job's allocation, in a shell that reads it from stdin; its output is dropped."""
    return Command(
        (
            "srun",
            "--overlap",
            f"--jobid={job_id}",
            "--output=none",
            "--error=none",
            "bash",
            "-c",
            _ATTACHED,
        ),
        lambda _: None,
        stdin=command,
        failure=failures.refused_attachment,
        repeatable=False,
        unset=(),
    )


def cancel_command(job_id: str) -> Command[None]:
    """Cancels a job. scancel tells of most failures on stderr only, with exit status 0: both are printed."""
    return Command(
        _slurm("sh", "-c", _CANCEL, "scancel", job_id),
        job_outputs.parse_cancelled,
        failure=failures.failed,
    )


def script_command(job_id: str) -> Command[str | None]:
    """The batch script that slurmctld keeps; None where there is none, or it is somebody else's."""
    return Command(
        _slurm("scontrol", "write", "batch_script", job_id, "-"),
        lambda text: text or None,
        failure=failures.failed,
        accepts=(0, 1),
    )


def streams_command(job_id: str) -> Command[job_outputs.Streams]:
    """The paths of a job's standard streams, as slurmctld knows them; NotFound when it does not know the job."""
    return Command(
        _slurm("scontrol", "show", "job", job_id),
        lambda text: job_outputs.parse_streams(text, job_id),
        failure=failures.failed,
    )


def archived_script_command(job_id: str) -> Command[str | None]:
    """The batch script in the accounting database; NotFound when that does not know the job."""
    return Command(
        _slurm("sacct", "--batch-script", f"--jobs={job_id}"),
        lambda text: job_outputs.parse_archived_script(text, job_id),
        failure=failures.failed,
    )


def nodes_command() -> Command[tuple[Node, ...]]:
    """All nodes, also those of hidden partitions."""
    mark = new_mark()
    shown = "".join(f"%{letter}{mark}" for letter in site_outputs.NODE_FIELDS)
    return Command(
        _slurm("sinfo", "--all", "--Node", "--noheader", "--noconvert", f"--format={shown}"),
        lambda text: site_outputs.parse_nodes(text, mark),
        failure=failures.failed,
    )


def partitions_command() -> Command[tuple[Partition, ...]]:
    """All partitions, hidden ones too."""
    return Command(
        _slurm("scontrol", "--all", "--oneliner", "show", "partition"),
        site_outputs.parse_partitions,
        failure=failures.failed,
    )


def reservations_command() -> Command[tuple[Reservation, ...]]:
    """All reservations."""
    return Command(
        _slurm("scontrol", "--oneliner", "show", "reservation"),
        site_outputs.parse_reservations,
        failure=failures.failed,
    )


def user_command() -> Command[UserInfo]:
    """The caller, with the accounts that slurmctld knows of; none of them when it does not tell."""
    return Command(
        _slurm("sh", "-c", _ACCOUNTS),
        site_outputs.parse_user,
        failure=failures.failed,
        accepts=(0, 1),
    )


def accounts_command(user: str) -> Command[tuple[Account, ...]]:
    """The user's accounts from the accounting database, on all its clusters."""
    return Command(
        _slurm(
            "sacctmgr",
            "--noheader",
            "--parsable2",
            "show",
            "user",
            f"name={user}",
            "withassoc",
            "format=Account,DefaultAccount",
        ),
        site_outputs.parse_accounts,
        failure=failures.failed,
    )


def ping_command() -> Command[str]:
    """Asks for slurmctld; it answers with exit status 1 when no controller is up."""
    return Command(
        _slurm("scontrol", "ping"), site_outputs.parse_ping, failure=failures.controller_down
    )
