"""Tables that no value can forge."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passerelle.compute.schedulers.command_line.tables import new_mark, table_rows
from passerelle.compute.schedulers.slurm import job_outputs
from passerelle.runtime.errors import BackendError
from tests.unit.compute import scripted_shell as slurm

FIELDS = ("id", "name", "directory")
_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(st.lists(st.tuples(_TEXT, _TEXT), max_size=5))
def test_any_text_comes_through(values: list[tuple[str, str]]) -> None:
    mark = new_mark()
    text = "".join(
        f"{n}{mark}{name}{mark}{where}{mark}\n" for n, (name, where) in enumerate(values)
    )
    result = [(row["id"], row["name"], row["directory"]) for row in table_rows(text, FIELDS, mark)]
    assert result == [(str(n), *pair) for n, pair in enumerate(values)]


@given(name=_TEXT, directory=_TEXT)
def test_a_job_of_any_name_is_one_job(name: str, directory: str) -> None:
    mark = new_mark()
    answer = slurm.queue({"Name": name, "WorkDir": directory}, {"JobArrayID": "8"})
    assert callable(answer)
    first, second = job_outputs.parse_queue(answer(mark).stdout, mark)
    assert (first.id, first.name, first.working_directory) == ("7", name, directory)
    assert (second.id, second.name) == ("8", "job")


def test_marks_are_never_the_same_and_begin_with_no_digit() -> None:
    assert len({new_mark() for _ in range(100)}) == 100
    assert not new_mark()[0].isdigit()


def test_a_notice_before_a_record_is_no_part_of_it() -> None:
    text = "CLUSTER: lab\n7|job|/|\nslurm: note\n8|job|/|\n"
    assert [row["id"] for row in table_rows(text, FIELDS, "|")] == ["7", "8"]


def test_an_uneven_table_is_refused() -> None:
    with pytest.raises(BackendError, match="form that is not known"):
        list(table_rows("7|job|\n", FIELDS, "|"))


def test_no_output_is_no_rows() -> None:
    assert list(table_rows("", FIELDS, "|")) == []
