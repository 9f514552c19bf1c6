"""Which surface a request belongs to, and how one shows errors; headers between our processes have one place."""

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from passerelle.runtime import headers
from passerelle.runtime.errors import ApiError, ConnectionFailed, Forbidden, NotFound, Overloaded
from passerelle.runtime.surface import Surface, Surfaces, surfaces
from passerelle.storage.errors import FileError
from passerelle.surfaces.firecrest import Firecrest
from passerelle.surfaces.native import Native

REPO = Path(__file__).parents[3]


class Rest(Surface):
    """A surface with a path of its own; what it shows otherwise is for each test to say."""

    name = "rest"
    packages: ClassVar[tuple[str, ...]] = ("rest.v1", "rest.v2")
    prefixes: ClassVar[tuple[str, ...]] = ("/rest/", "/more-rest/")

    def body(self, error: ApiError, *, status: int, user: str | None) -> Mapping[str, Any]:
        return {"said": error.detail, "status": status, "user": user}

    def headers_of(self, user: str) -> Mapping[str, str]:
        return {"you-are": user}


class Root(Rest):
    name = "root"
    packages = ("root.v1",)
    prefixes = ("/",)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/rest/things", "rest"),
        ("/rest/", "rest"),
        ("/rest", "rest"),
        ("/rest?x=1", "rest"),
        ("/more-rest/things?x=/root", "rest"),
        ("/rest.v2.Things/Get", "rest"),
        ("/rests/things", "root"),
        ("/restXv1.Things/Get", "root"),
        ("/", "root"),
        ("/other/rest/", "root"),
        ("/root.v1.Things/Get", "root"),
    ],
)
def test_a_path_belongs_to_one_surface(path: str, name: str) -> None:
    assert Surfaces([Root(), Rest()]).of_path(path).name == name


@pytest.mark.parametrize(
    ("method", "name"),
    [
        ("/rest.v1.Things/Get", "rest"),
        ("rest.v2.Things", "rest"),
        ("/root.v1.Things/Get", "root"),
        ("/rest.v1.more.Things/Get", None),
        ("/grpc.health.v1.Health/Check", None),
        ("/edge.v1.Keys/GetKeys", None),
    ],
)
def test_a_method_belongs_to_the_surface_of_its_package(method: str, name: str | None) -> None:
    result = Surfaces([Rest(), Root()]).of_method(method)
    assert (result and result.name) == name


@pytest.mark.parametrize(
    ("those", "words"),
    [([Rest()], "none"), ([Root(), Root()], "root, root"), ([Root(), Rest(), Rest()], "package")],
)
def test_what_cannot_stand_together_is_refused(those: list[Surface], words: str) -> None:
    with pytest.raises(LookupError, match=words):
        Surfaces(those)


def test_the_installed_surfaces_are_found_once() -> None:
    assert [one.name for one in surfaces()] == ["native", "firecrest"]
    assert surfaces() is surfaces()


def test_a_status_by_reason_stands_for_derived_errors() -> None:
    class Odd(Rest):
        statuses = {"BACKEND_UNAVAILABLE": 550, "OVERLOADED": 551}  # noqa: RUF012

    assert Odd().answer(ConnectionFailed("gone"), None).status == 550
    assert Odd().answer(Overloaded("full"), "alice").body == {
        "said": "full",
        "status": 551,
        "user": "alice",
    }
    assert Odd().answer(NotFound("none"), None).status == 404


def test_headers_of_the_caller_are_there_once_it_is_known() -> None:
    assert Rest().answer(NotFound("none"), None).headers == {}
    assert Rest().answer(NotFound("none"), "alice").headers == {"you-are": "alice"}


def test_a_body_travels_in_ascii() -> None:
    assert Rest().answer(NotFound("ü"), None).text == r'{"said":"\u00fc","status":404,"user":null}'


def test_one_reason_can_be_shown_as_another_error_by_one_surface_alone() -> None:
    """404 instead of 403 for the files of others, in one API: a line there."""

    class Discreet(Native):
        replaced = {"FILE_ACCESS_DENIED": lambda _: NotFound("No such file.")}  # noqa: RUF012

    error = FileError("open", "/home/bob/x", 13)
    shown = Discreet().shown(error)
    assert (shown.code.name, Discreet().answer(shown, "alice").status) == ("NOT_FOUND", 404)
    assert "bob" not in Discreet().answer(shown, "alice").text
    assert Discreet().shown(Forbidden("no scope")).http == 403
    for other in (Native(), Firecrest()):
        assert other.answer(other.shown(error), "alice").status == 403


PRIVATE = {
    value
    for name, value in vars(headers).items()
    if name.isupper() and value.startswith("x-") and value != headers.PRIVATE_PREFIX
}


@pytest.mark.parametrize("suffix", ["py", "lua"])
def test_a_private_header_is_named_in_one_place(suffix: str) -> None:
    assert len(PRIVATE) >= 8
    result = {
        (path.name, name)
        for path in REPO.glob(f"services/**/*.{suffix}")
        for text in _texts(path)
        for name in PRIVATE
        if text.lower() == name
    }
    assert {file for file, _ in result} == ({"headers.py"} if suffix == "py" else set())


def _texts(path: Path) -> list[str]:
    if path.suffix == ".lua":
        return path.read_text().split('"')[1::2]
    nodes = ast.walk(ast.parse(path.read_text()))
    return [
        node.value
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
