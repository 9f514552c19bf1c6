"""What GNU tools say: only their own words, at their place, tell what went wrong."""

import errno

import pytest

from passerelle.runtime.command import Output
from passerelle.runtime.errors import BackendError, Unsupported
from passerelle.storage.access.tool_errors import failure_of
from passerelle.storage.errors import FileError

GONE = "No such file or directory"


@pytest.mark.parametrize(
    ("message", "number"),
    [
        (f"mkdir: cannot create directory '/{GONE}': File exists", errno.EEXIST),
        ("rm: cannot remove '/x: Permission denied': Is a directory", errno.EISDIR),
        ("rm: cannot remove 'a': Permission denied\nrm: cannot remove 'b': Is a directory", errno.EACCES),
        (f"find: '/x: {GONE}\ny': Permission denied", errno.EACCES),
        (f"find: 'x\nfind: 'y': {GONE}\nz': Permission denied", errno.EACCES),
        (f"sh: 1: cannot create /x: {GONE}\ny: Permission denied", errno.EACCES),
        ("sh: 1: cannot create /no/x: Directory nonexistent", errno.ENOENT),
        ("sh: line 1: /x: cannot overwrite existing file", errno.EEXIST),
    ],
)  # fmt: skip
def test_the_end_of_the_complaint_that_counts_decides(message: str, number: int) -> None:
    error = failure_of(Output(1, "", message + "\n"), "open", "/path")
    assert isinstance(error, FileError)
    assert (error.errno, error.path) == (number, "/path")


@pytest.mark.parametrize(
    "message", ["", "odd", f"chmod: cannot operate on dangling symlink '{GONE}'", f"{GONE}: odd"]
)
def test_what_is_no_system_call_s_failure_is_the_system_s_trouble(message: str) -> None:
    assert type(failure_of(Output(1, "", message), "open", "/path")) is BackendError


def test_a_program_that_is_not_there_is_no_file_that_is_not_there() -> None:
    missing = Output(127, "", f"env: 'sha256sum': {GONE}\n")
    assert isinstance(failure_of(missing, "open", "/path"), Unsupported)
