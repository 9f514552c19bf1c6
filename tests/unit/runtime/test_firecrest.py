"""What the profile's adapters share: paths, bodies and queries read as FirecREST reads them."""

import pytest
from google.api.httpbody_pb2 import HttpBody
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from passerelle.firecrest.v2 import filesystem_pb2
from passerelle.runtime.config.site import System
from passerelle.runtime.errors import InvalidArgument
from passerelle.storage.firecrest.paths import checked_path
from passerelle.surfaces.firecrest.bodies import SOURCE_PATH, Model, read_body, read_query
from passerelle.surfaces.firecrest.replies import json_reply

SYSTEM = System.model_validate(
    {
        "name": "cluster",
        "ssh": {"host": "h"},
        "scheduler": {"type": "slurm"},
        "filesystems": [{"path": "/home", "data_type": "users"}],
    }
)


class MakeDirectory(Model):
    path: str = Field(validation_alias=SOURCE_PATH)
    parent: bool = False


class List(Model):
    show_hidden: bool = False


def body(text: str, kind: str = "application/json") -> HttpBody:
    return HttpBody(content_type=kind, data=text.encode())


@pytest.mark.parametrize("name", ["sourcePath", "source_path", "path"])
def test_a_path_has_three_spellings(name: str) -> None:
    assert read_body(MakeDirectory, body(f'{{"{name}": "/x", "more": 1}}')).path == "/x"


@pytest.mark.parametrize("yes", ['"true"', '"yes"', '"on"', "1", '"1"', "true", '"t"'])
def test_booleans_are_read_leniently(yes: str) -> None:
    assert read_body(MakeDirectory, body(f'{{"path": "/x", "parent": {yes}}}')).parent


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("", (None, "Field required")),
        ("[1]", (None, "Input should be a valid dictionary or object to extract fields from")),
        ("{}", ("sourcePath", "Field required")),
        ('{"path": 5}', ("path", "Input should be a valid string")),
        (
            '{"path": "/x", "parent": "maybe"}',
            ("parent", "Input should be a valid boolean, unable to interpret input"),
        ),
        ("{", ("1", "JSON decode error")),
    ],
)
def test_a_wrong_body_names_the_field(text: str, field: tuple[str | None, str]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        read_body(MakeDirectory, body(text))
    result = caught.value.fields[0]
    assert (result.location, result.name, result.message) == ("body", *field)


@pytest.mark.parametrize(
    "kind", ["", "application/json", "Application/JSON; charset=utf-8", "application/problem+json"]
)
def test_json_is_read_without_a_type_too(kind: str) -> None:
    assert read_body(MakeDirectory, body('{"path": "/x"}', kind)).path == "/x"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_json_may_be_in_any_encoding_of_unicode(encoding: str) -> None:
    data = '{"path": "/ä"}'.encode(encoding)
    assert read_body(MakeDirectory, HttpBody(data=data)).path == "/ä"


@pytest.mark.parametrize(
    "data", [b"\xff\xfe{", b"{\0\xd8\0", b'{"path": "/\xe4"}', b"\xef\xbb\xbf"]
)
def test_json_in_no_encoding_is_the_callers_mistake(data: bytes) -> None:
    with pytest.raises(InvalidArgument, match="JSON decode error"):
        read_body(MakeDirectory, HttpBody(data=data))


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/jsonlines", "application/x-www-form-urlencoded", "json"]
)
def test_a_body_of_another_type_is_refused(kind: str) -> None:
    with pytest.raises(InvalidArgument, match="valid dictionary"):
        read_body(MakeDirectory, body('{"path": "/x"}', kind))


def test_a_query_is_read_by_its_json_names() -> None:
    request = filesystem_pb2.ListRequest(system="cluster", path="/x", show_hidden="True")
    assert read_query(List, request).show_hidden
    with pytest.raises(InvalidArgument) as caught:
        read_query(List, filesystem_pb2.ListRequest(show_hidden="x"))
    assert (caught.value.fields[0].location, caught.value.fields[0].name) == ("query", "showHidden")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (None, "Unable to decode request"),
        ("", r"The provided path \(\) is not an absolute path."),
        ("golden/x", r"The provided path \(golden/x\) is not an absolute path."),
        (
            "/etc/passwd",
            r"The provided path \(/etc/passwd\) does not match any of the defined filesystem",
        ),
        ("/home/../etc/passwd", r"\(/etc/passwd\)"),
        ("/homer/x", "does not match"),
        ("/home/a\0b", "NUL"),
    ],
)
def test_a_path_that_may_not_be_is_refused(path: str | None, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        checked_path(SYSTEM, path)


@pytest.mark.parametrize(
    ("path", "normal"),
    [("/home", "/home"), ("/home/alice/", "/home/alice"), ("//home/a//b/./c", "/home/a/b/c")],
)
def test_a_good_path_is_normalised(path: str, normal: str) -> None:
    assert checked_path(SYSTEM, path) == normal


@given(
    st.lists(st.sampled_from(["..", ".", "home", "alice", "etc", "", " ", "'", "-rf"]), max_size=8)
)
def test_no_path_leaves_the_filesystem(parts: list[str]) -> None:
    try:
        result = checked_path(SYSTEM, "/" + "/".join(parts))
    except InvalidArgument:
        return
    assert result == "/home" or result.startswith("/home/")
    assert ".." not in result.split("/")


def test_every_key_is_printed() -> None:
    reply = json_reply({"a": None, "b": 0, "c": [], "d": False})
    assert reply.data == b'{"a":null,"b":0,"c":[],"d":false}'
