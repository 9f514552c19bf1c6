"""The records of the `local` scheduler's jobs: who is alive, what is listed, what is kept."""

import ast
import os
import time
from pathlib import Path
from typing import Any

import pytest

from passerelle.compute.schedulers.local.remote import process
from passerelle.compute.schedulers.local.remote import store as local_store
from passerelle.compute.schedulers.local.remote.exchange import Refused
from passerelle.compute.schedulers.local.remote.store import HEARTBEAT, Store

SENT = sorted(Path(local_store.__file__).parent.glob("*.py"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    job_store = Store(str(tmp_path / "jobs"))
    job_store.create()
    return job_store


def kept(store: Store, age: float = 0, **fields: Any) -> str:
    """A job whose record was touched `age` seconds ago; it runs, in the process of this test."""
    job_id = store.allocate()
    me = (os.getpid(), process.start_time(os.getpid()))
    record: dict[str, Any] = {
        "id": job_id,
        "host": os.uname().nodename,
        "boot": process.boot_id(),
    }
    record.update(
        {"runner": me, "start": int(time.time()) - 10**7, "end": None, "word": "RUNNING", **fields}
    )
    store.write(record)
    path = store._path(job_id, b"record.json")
    touched = time.time() - age
    os.utime(path, (touched, touched))
    return job_id


def ids(records: list[dict[str, Any]]) -> list[str]:
    return [record["id"] for record in records]


def test_a_process_is_known_by_more_than_its_number(store: Store) -> None:
    pid = os.getpid()
    assert store.read(kept(store))["word"] == "RUNNING"
    for invalid in ({"runner": (pid, "1")}, {"boot": "before"}, {"runner": (2**22 + 1, "1")}):
        result = store.read(kept(store, age=60, **invalid))
        assert (result["word"], result["reason"], result["end"]) == (
            "FAILED",
            "NodeFail",
            int(time.time() - 60),
        )


def test_another_machine_s_job_lives_as_long_as_it_gives_signs(store: Store) -> None:
    assert store.read(kept(store, host="other", boot="theirs"))["word"] == "RUNNING"
    silent = kept(store, host="other", boot="theirs", age=5 * HEARTBEAT)
    assert store.read(silent)["word"] == "FAILED"


def test_recent_jobs_are_in_order_of_their_numbers(store: Store) -> None:
    expected = [kept(store, age=age) for age in (10, 1000, *range(20, 30))]
    expected.remove("2")
    assert ids(store.recent(time.time() - 500)) == expected


def test_half_made_and_foreign_entries_are_passed_over(store: Store, tmp_path: Path) -> None:
    job_id = kept(store)
    store.allocate()
    (tmp_path / "jobs/notes").mkdir()
    (tmp_path / f"jobs/{store.allocate()}/record.json").write_text("{")
    assert ids(store.recent(0)) == [job_id]


def test_pruning_spares_the_running_the_recent_and_the_highest(store: Store) -> None:
    old: dict[str, Any] = {"age": 1000, "end": time.time() - 1000, "word": "COMPLETED"}
    kept(store, **old)
    running, recent = kept(store, age=1000), kept(store, end=time.time())
    highest = kept(store, **old)
    store.prune(time.time() - 500)
    assert ids(store.recent(0)) == [running, recent, highest]
    assert store.allocate() == "5"


def test_no_store_means_no_jobs(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "none"))
    assert store.recent(0) == []
    with pytest.raises(Refused):
        store.read("1")


def test_the_directory_may_name_variables(tmp_path: Path) -> None:
    assert Store("~/x").root == os.fsencode(os.path.expanduser("~/x"))
    assert Store("$PATH").root == os.environb[b"PATH"]


@pytest.mark.parametrize("path", SENT, ids=lambda path: path.stem)
def test_what_is_sent_is_python_3_6(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 6))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for function in functions:  # `str | None` and `list[str]` cannot be evaluated there
        every = [function.returns, *(argument.annotation for argument in function.args.args)]
        simple = (ast.Constant, ast.Name, type(None))
        assert all(isinstance(annotation, simple) for annotation in every), function.name
