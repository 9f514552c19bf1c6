"""What is run for a submission: nothing of the caller's stands where it could be an option, or be seen."""

import os
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passerelle.compute.scheduler import JobDescription, JobFilter
from passerelle.compute.schedulers.slurm import commands, submission
from passerelle.compute.schedulers.slurm.directives import job_name
from passerelle.runtime.errors import BackendError
from tests.conformance.recordings import mark_of
from tests.lines import line_of

SCRIPT = "#!/bin/bash\nread -r line\necho 日本 \\$HOME `id`\n"
# What stands in for sbatch: it keeps its arguments, its environment, the job's, and its stdin. It opens the file of
# the job's environment twice, as sbatch does for a heterogeneous job.
SBATCH = """#!/bin/sh
printf "%s\\0" "$@" >argv
/bin/cat /proc/$$/environ >environ
for word; do
  case $word in --export-file=*) /bin/cat "${word#*=}" >/dev/null; /bin/cat "${word#*=}" >exported; esac
done
/bin/cat >script
echo "77;lab"
"""


def described(**fields: Any) -> JobDescription:
    return JobDescription(**{"working_directory": "/home/alice", "script": SCRIPT, **fields})


def options(job: JobDescription) -> tuple[str, ...]:
    return submission.submit_command(job, "name", print).argv[4:]


@pytest.fixture
def sbatch(tmp_path: Path) -> Path:
    """A directory with programs in place of sbatch and scontrol, in which they also run."""
    for name, text in (("sbatch", SBATCH), ("scontrol", "#!/bin/sh\n")):
        program = tmp_path / name
        program.write_text(text)
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return tmp_path


def submitted(sbatch: Path, job: JobDescription, **login: str) -> str:
    """Really run the command of a submission, as a shell on the login node would."""
    command = submission.submit_command(job, "the name", print)
    environment = {
        **login,
        "PATH": f"{sbatch}:{os.environ['PATH']}",
        "HOME": "/nowhere",
        "LANG": "C.UTF-8",
    }
    done = subprocess.run(
        ("sh", "-c", line_of(command)),
        input=command.stdin.encode(),
        cwd=sbatch,
        env=environment,
        capture_output=True,
        check=True,
    )
    return command.parse(done.stdout.decode())


def environment_of(sbatch: Path, whose: str = "environ") -> dict[str, str]:
    """The environment of sbatch, or the one `exported` to the job, where the last of a name counts."""
    pairs = (sbatch / whose).read_text().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if pair)


HOSTILE = {
    "sbatch": "/bin/true",
    "PATH": "/mine/only",
    "LD_PRELOAD": "/mine/evil.so",
    "BASH_ENV": "/mine/env.sh",
    "ENV": "/mine/env.sh",
    "IFS": "/",
    "SHELLOPTS": "xtrace",
    "UID": "0",
    "SLURM_CONF": "/mine/slurm.conf",
    "SBATCH_ACCOUNT": "other",
    "SQUEUE_FORMAT": "x",
    "PYTHONSTARTUP": "/mine/start.py",
    "BASH_FUNC_x%%": "() { echo mine; }",
    "A B-c": "no name for a shell",
    "passerelle_file": "/mine/file",
    "COMMA": "a,b=c",
    "QUOTES": "'\"`$(id)`\"'",
    "LINES": "one\ntwo\n",
    "EMPTY": "",
    "SPACES": "  x  ",
    "UTF8": "日本",
}


def test_variables_and_script_arrive_exactly_and_nowhere_else(sbatch: Path) -> None:
    submitted(sbatch, described(), SHLVL="1")
    before = environment_of(sbatch)
    assert submitted(sbatch, described(environment=HOSTILE), SHLVL="1") == "77"
    assert environment_of(sbatch) == before
    login = {name: value for name, value in before.items() if name not in ("_", "SBATCH_EXPORT")}
    wanted = {**login, "SLURM_JOB_NAME": "the name", **HOSTILE}
    environment = environment_of(sbatch, "exported")
    assert {name: value for name, value in environment.items() if name != "_"} == wanted
    assert (sbatch / "script").read_text() == SCRIPT


def test_what_would_change_an_answer_is_kept_from_sbatch_not_from_the_job(sbatch: Path) -> None:
    login = {
        "SBATCH_EXPORT": "NONE",
        "SBATCH_WAIT": "1",
        "SLURM_CLUSTERS": "other",
        "SBATCH_QOS": "x",
    }
    submitted(sbatch, described(environment={"A": "b"}), **login)
    assert {name for name in login if name in environment_of(sbatch)} == {"SBATCH_QOS"}
    assert login.items() <= environment_of(sbatch, "exported").items()


def test_the_job_inherits_the_logins_locale_and_not_ours(sbatch: Path) -> None:
    submitted(sbatch, described(environment={"A": "b"}))
    for whose in ("environ", "exported"):
        environment = environment_of(sbatch, whose)
        assert environment["LANG"] == "C.UTF-8"
        assert "LC_ALL" not in environment


@pytest.mark.parametrize(
    ("given", "script", "path", "result"),
    [
        ("mine", "#!/bin/sh\n#SBATCH -J x\n", None, "mine"),
        (None, "#!/bin/sh\n", None, "sbatch"),
        (None, "", "/home/alice/run it.sh", "run it.sh"),
        (None, "#!/bin/sh\n#SBATCH -J x\n#SBATCH --job-name=y -n 1\n", "/a.sh", "y"),
        (None, "#!/bin/sh\n#SBATCH --job-name 'a b' # c\n", None, "a b"),
        (None, "#!/bin/sh\n#SBATCH -Jx\n#SBATCH hetjob\n#SBATCH -J y\n", None, "x"),
        (None, "#!/bin/sh\ntrue\n#SBATCH -J x\n", None, "sbatch"),
        (None, "#!/bin/sh\n#SBATCH -J 'x\n", None, "sbatch"),
    ],
)
def test_the_name_a_job_will_have(
    given: str | None, script: str, path: str | None, result: str
) -> None:
    assert job_name(given, script, path) == result


def test_a_script_on_the_system_is_an_operand(sbatch: Path) -> None:
    submitted(sbatch, described(script=None, script_path="/home/alice/my script.sh"))
    argv = (sbatch / "argv").read_text().split("\0")[:-1]
    assert argv[-2:] == ["--", "/home/alice/my script.sh"]


def test_without_sbatch_it_says_so(tmp_path: Path) -> None:
    command = submission.submit_command(described(), "n", print)
    done = subprocess.run(
        ("/bin/bash", *command.argv[1:]), input=b"", env={"PATH": "/nowhere"}, capture_output=True
    )
    assert (done.returncode, done.stderr) == (127, b"bash: sbatch: command not found\n")


@given(value=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_no_value_can_become_an_option(value: str) -> None:
    result = options(
        described(
            working_directory=value,
            name=value,
            account=value,
            partition=value,
            reservation=value,
            constraints=value,
            standard_input=value,
            standard_output=value,
            standard_error=value,
        )
    )
    names = [word.partition("=")[0] for word in result if word != "--parsable"]
    expected = "chdir job-name account partition reservation constraint input output error"
    assert names == [f"--{name}" for name in expected.split()]
    assert all(word.partition("=")[2] == value for word in result if word != "--parsable")


def test_neither_script_nor_variables_are_seen_in_a_process_list() -> None:
    command = submission.submit_command(described(environment={"TOKEN": "s3cret"}), "n", print)
    assert "s3cret" not in line_of(command)
    assert "日本" not in line_of(command)
    assert "s3cret" not in repr(command)
    assert "--export-file=/dev/fd/3" in command.argv


def test_a_submission_is_never_repeated() -> None:
    assert not submission.submit_command(described(), "n", print).repeatable
    assert not commands.attach_command("7", "true").repeatable


def test_the_session_that_submits_is_told_from_what_else_is_printed() -> None:
    sessions: list[submission.Session] = []
    greeted = submission.submit_command(described(), "n", sessions.append).greeted
    assert greeted
    lines = ("Welcome", "session 7", "session a b c", "Quota: 99%session 42 n1.lab 1795892777")
    assert [greeted(line) for line in lines] == [False, False, False, True]
    assert sessions == [submission.Session("42", "n1.lab", 1795892777)]


SESSION = submission.Session("42", "n1", 1000)


def ids_in(rows: Sequence[tuple[str, str, str]], end: str) -> frozenset[str]:
    """The jobs of `SESSION`, by squeue's rows and the last line of what is printed."""
    command = submission.submitted_command(SESSION)
    mark = mark_of(command.argv)
    text = "".join("".join(f"{value}{mark}" for value in row) + "\n" for row in rows)
    return command.parse(f"{text}{end}\n")


# Jobs by id, session and time; then whether the session has ended, and the clocks of slurmctld and the login node.
@pytest.mark.parametrize(
    ("rows", "end", "ids"),
    [
        ([], "yes 1010 1010", set()),
        ([("7", "42", "1001")], "yes 1010 1010", {"7"}),
        ([("7", "42", "1001")], "no 1010 1010", {"7"}),
        ([("7_[0-3]", "42", "1001"), ("8", "43", "1001")], "yes 1010 1010", {"7"}),
        ([("6", "42", "960"), ("7", "42", "1001")], "yes 1010 1010", {"7"}),  # the number again
        ([("6", "42", "960")], "yes 1010 1010", set()),
        ([("6", "42", "660"), ("7", "42", "701")], "yes 710 1010", {"7"}),  # one clock is slow
        ([("6", "42", "1260"), ("7", "42", "1301")], "yes 1310 1010", {"7"}),
        ([("8", "43", "1001")], "yes  1010", set()),  # no clock is needed
    ],
)
def test_jobs_of_a_session_are_told_from_those_of_an_earlier_one(
    rows: Sequence[tuple[str, str, str]], end: str, ids: set[str]
) -> None:
    assert ids_in(rows, end) == ids


@pytest.mark.parametrize(
    ("rows", "end"),
    [
        ([], "no 1010 1010"),
        ([("6", "42", "960")], "no 1010 1010"),
        ([("7", "42", "1001")], "yes  1010"),  # slurmctld's clock is not known
        ([("7", "42", "1011")], "yes 1010 1010"),  # submitted later than now
        ([], ""),
    ],
)
def test_where_it_is_not_certain_there_is_no_answer(
    rows: Sequence[tuple[str, str, str]], end: str
) -> None:
    with pytest.raises(BackendError):
        ids_in(rows, end)


@pytest.mark.parametrize(("seconds", "minutes"), [(1, 1), (60, 1), (61, 2), (3600, 60)])
def test_a_time_limit_is_in_whole_minutes_rounded_up(seconds: int, minutes: int) -> None:
    assert f"--time={minutes}" in options(described(time_limit=seconds))


def test_a_command_to_attach_is_not_seen_in_a_process_list() -> None:
    command = commands.attach_command("7", "curl -H 'Authorization: s3cret'")
    assert "s3cret" not in line_of(command)
    assert command.stdin == "curl -H 'Authorization: s3cret'"


def test_what_is_attached_reads_no_more_than_its_own_text() -> None:
    *_, bash, dash_c, program = commands.attach_command("7", "").argv
    text = b'cat; echo "$(( 1 + 1 )) done"'
    done = subprocess.run((bash, dash_c, program), input=text, capture_output=True, check=True)
    assert done.stdout == b"2 done\n"


def test_filters_are_words_of_their_own() -> None:
    wanted = JobFilter(user="alice", account="--all x", window=3600)
    assert commands.queue_options(wanted) == ("--user=alice", "--account=--all x")
    assert commands.history_options(wanted) == (
        "--user=alice",
        "--accounts=--all x",
        "--starttime=now-3600seconds",
    )
    assert commands.queue_options(JobFilter()) == ()
    assert "--allusers" in commands.history_options(JobFilter())
