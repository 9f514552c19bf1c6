"""Slurm's spellings of durations, states, exit codes and ids."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passerelle.compute.scheduler import State
from passerelle.compute.schedulers.command_line.scheduler import id_order
from passerelle.compute.schedulers.slurm import ids, states, values


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("60", 3600),
        ("0:00", 0),
        ("5:07", 307),
        ("1:00:00", 3600),
        ("00:00:03", 3),
        ("00:00:03.250", 3),
        ("1-02:04:00", 93840),
        ("1-02:04", 93840),
        ("2-03", 183600),
        ("UNLIMITED", None),
        ("Partition_Limit", None),
        ("NOT_SET", None),
        ("INVALID", None),
        ("N/A", None),
        ("None", None),
        ("", None),
        ("-1", None),
        ("1:2:3:4", None),
        ("٣:٣", None),
    ],
)
def test_a_duration_in_all_spellings(text: str, seconds: int | None) -> None:
    assert values.duration(text) == seconds


@given(st.integers(0, 400), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_every_long_spelling_of_a_duration_means_the_same(d: int, h: int, m: int, s: int) -> None:
    seconds = ((d * 24 + h) * 60 + m) * 60 + s
    assert values.duration(f"{d}-{h:02}:{m:02}:{s:02}") == seconds
    assert values.duration(f"{d * 24 + h}:{m:02}:{s:02}") == seconds
    assert values.duration(f"{(d * 24 + h) * 60 + m}:{s:02}") == seconds
    assert values.duration(str((d * 24 + h) * 60 + m)) == seconds - s


@given(st.text())
def test_no_text_is_an_error(text: str) -> None:
    values.duration(text)
    values.number(text)
    values.epoch(text)
    values.exit_status(text)
    id_order(text)
    states.state_of(text)
    ids.is_job_id(text)


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("RUNNING", State.RUNNING),
        ("COMPLETING", State.RUNNING),
        ("CANCELLED by 1001", State.CANCELLED),
        ("CANCELLED", State.CANCELLED),
        ("OUT_OF_MEMORY", State.FAILED),
        ("DEADLINE", State.TIMEOUT),
        ("SPECIAL_EXIT", State.PENDING),
        ("EXPEDITING", State.PENDING),
        ("NEWEST", State.UNSPECIFIED),
        ("", State.UNSPECIFIED),
    ],
)
def test_a_state_by_slurms_word(word: str, state: State) -> None:
    assert states.state_of(word) is state


@pytest.mark.parametrize(
    ("text", "code_and_signal"),
    [
        ("0:0", (0, 0)),
        ("3:0", (3, 0)),
        ("0:15", (0, 15)),
        ("768", (3, 0)),  # a wait status, as squeue printed it up to 22.05
        ("15", (0, 15)),
        ("0", (0, 0)),
        ("", (None, None)),
        ("None", (None, None)),
    ],
)
def test_exit_code_and_signal(text: str, code_and_signal: tuple[int | None, int | None]) -> None:
    assert values.exit_status(text) == code_and_signal


@pytest.mark.parametrize("text", ["Unknown", "None", "N/A", "", "0", "18446744073709551614"])
def test_a_time_that_slurm_does_not_know(text: str) -> None:
    assert values.epoch(text) is None


@pytest.mark.parametrize("job_id", ["1", "77", "14_1", "53+0", "4294967293"])
def test_an_id_that_slurm_could_give_out(job_id: str) -> None:
    assert ids.is_job_id(job_id)


@pytest.mark.parametrize(
    "job_id",
    [
        *("0", "01", "", "abc", "1;id", "1,2", "-1", "--help", "1.batch", "1\n", "1 2", "٣", "1_"),
        *(
            "4294967294",
            "99999999999999999999",
            "1_99999999999",
            "1_[1-3]",
            "1+",
            "1+0+1",
            "all",
            "../1",
        ),
    ],
)
def test_an_id_that_slurm_could_not_give_out(job_id: str) -> None:
    assert not ids.is_job_id(job_id)


def test_ids_are_ordered_by_their_numbers() -> None:
    job_ids = ["10", "9_10", "9_2", "9_[11-12%2]", "9", "100"]
    assert sorted(job_ids, key=id_order) == ["9", "9_2", "9_10", "9_[11-12%2]", "10", "100"]
