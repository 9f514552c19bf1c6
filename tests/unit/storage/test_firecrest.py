"""The FirecREST profile's file operations, over a real gRPC channel and a real SSH server."""

import json
import os
from pathlib import Path

import pytest

from passerelle.firecrest.v2 import filesystem_pb2 as pb
from passerelle.storage.firecrest.filesystem_service import OPENAPI
from tests.unit.storage.profile import FORM, GETS, Profile, form
from tests.unit.storage.world import debris


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    path = tmp_path / "lines.txt"
    path.write_text("".join(f"line {number:02}\n" for number in range(1, 31)))
    return path


def numbered(first: int, last: int) -> str:
    return "".join(f"line {number:02}\n" for number in range(first, last + 1))


async def test_ls(profile: Profile, tmp_path: Path) -> None:
    (tmp_path / 'dq".txt').write_text("ab")
    (tmp_path / 'dq".txt').chmod(0o4755)
    (tmp_path / "l").symlink_to("nowhere")
    (tmp_path / ".hidden").write_text("")
    os.utime(tmp_path / 'dq".txt', (0, 1_700_000_000))
    [quote, link] = (await profile.get("List", tmp_path)).output
    assert quote | {"user": "", "group": "", "lastModified": ""} == {
        "name": 'dq".txt',
        "type": "-",
        "linkTarget": None,
        "user": "",
        "group": "",
        "permissions": "rwsr-xr-x",
        "lastModified": "",
        "size": "2",
    }
    assert (link["name"], link["type"], link["linkTarget"]) == ("l", "l", "nowhere")
    hidden = (await profile.get("List", tmp_path, show_hidden="yes")).output
    assert [row["name"] for row in hidden] == [".hidden", 'dq".txt', "l"]
    numeric = (await profile.get("List", tmp_path / 'dq".txt', numeric_uid="true")).output
    assert [(row["name"], row["user"]) for row in numeric] == [
        (str(tmp_path / 'dq".txt'), str(os.getuid()))
    ]


async def test_ls_with_a_slash_follows_a_link(profile: Profile, tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "x").write_text("")
    (tmp_path / "link").symlink_to("dir")
    assert [row["type"] for row in (await profile.get("List", tmp_path / "link")).output] == ["l"]
    result = (await profile.get("List", f"{tmp_path}/link/")).output
    assert [row["name"] for row in result] == ["x"]


@pytest.mark.parametrize(
    ("query", "content", "kind", "end"),
    [
        ({}, numbered(1, 10), "lines", 10),
        ({"lines": "3"}, numbered(1, 3), "lines", 3),
        ({"lines": "0"}, numbered(1, 10), "lines", 0),
        ({"bytes": "10"}, "line 01\nli", "bytes", 10),
        ({"bytes": "0"}, numbered(1, 10), "lines", 0),
        ({"lines": "28", "skip_trailing": "true"}, numbered(1, 2), "lines", -28),
        ({"lines": "-28"}, numbered(1, 2), "lines", -28),
        ({"bytes": "230", "skip_trailing": "1"}, "line 01\nli", "bytes", -230),
        ({"skip_trailing": "true"}, numbered(1, 10), "lines", 10),
    ],
)
async def test_head(
    profile: Profile, lines: Path, query: dict[str, str], content: str, kind: str, end: int
) -> None:
    assert (await profile.get("Head", lines, **query)).output == {
        "content": content,
        "contentType": kind,
        "startPosition": 0,
        "endPosition": end,
    }


@pytest.mark.parametrize(
    ("query", "content", "kind", "start"),
    [
        ({}, numbered(21, 30), "lines", 10),
        ({"lines": "-2"}, numbered(29, 30), "lines", 2),
        ({"lines": "0"}, numbered(21, 30), "lines", 0),
        ({"lines": "28", "skip_heading": "true"}, numbered(28, 30), "lines", 28),
        ({"bytes": "10"}, "9\nline 30\n", "bytes", -10),
        ({"bytes": "233", "skip_heading": "on"}, "line 30\n", "bytes", 233),
        ({"skip_heading": "true"}, numbered(21, 30), "lines", 10),
    ],
)
async def test_tail(
    profile: Profile, lines: Path, query: dict[str, str], content: str, kind: str, start: int
) -> None:
    assert (await profile.get("Tail", lines, **query)).output == {
        "content": content,
        "contentType": kind,
        "startPosition": start,
        "endPosition": -1,
    }


@pytest.mark.parametrize(
    ("query", "content"),
    [
        ({}, "héllo wörld"),
        ({"size": "4", "offset": "2"}, "llo "),
        ({"size": "5"}, "héllo"),
        ({"offset": "1000"}, ""),
    ],
)
async def test_view(profile: Profile, tmp_path: Path, query: dict[str, str], content: str) -> None:
    (tmp_path / "utf8").write_text("héllo wörld")
    assert (await profile.get("View", tmp_path / "utf8", **query)).output == content


async def test_view_shows_the_beginning_of_a_large_file(profile: Profile, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * 200_001)
    assert (await profile.get("View", tmp_path / "big")).output == "x" * 100_000


async def test_what_is_not_text_is_replaced(profile: Profile, tmp_path: Path) -> None:
    (tmp_path / "latin1").write_bytes(b"caf\xe9\n")
    assert (await profile.get("Tail", tmp_path / "latin1")).output["content"] == "caf\ufffd\n"
    assert (await profile.get("View", tmp_path / "latin1")).output == "caf\ufffd\n"


async def test_stat(profile: Profile, lines: Path) -> None:
    real = lines.stat()
    assert (await profile.get("Stat", lines)).output == {
        "mode": real.st_mode,
        "ino": real.st_ino,
        "dev": real.st_dev,
        "nlink": 1,
        "uid": real.st_uid,
        "gid": real.st_gid,
        "size": 240,
        "atime": int(real.st_atime),
        "ctime": int(real.st_ctime),
        "mtime": int(real.st_mtime),
    }


@pytest.mark.parametrize(
    ("method", "name", "query", "status", "message"),
    [
        ("Stat", "nope", {}, 404, "1:stat: cannot statx '{}': No such file or directory"),
        ("List", "nope", {}, 404, "2:ls: cannot access '{}': No such file or directory"),
        (
            "Head",
            "nope",
            {},
            404,
            "1:head: cannot open '{}' for reading: No such file or directory",
        ),
        (
            "Tail",
            "nope",
            {},
            404,
            "1:tail: cannot open '{}' for reading: No such file or directory",
        ),
        ("View", "nope", {}, 404, "1:dd: failed to open '{}': No such file or directory"),
        ("Download", "nope", {}, 404, "1:base64: {}: No such file or directory"),
        ("Remove", "nope", {}, 404, "1:rm: cannot remove '{}': No such file or directory"),
        ("Head", "dir", {}, 400, "1:head: error reading '{}': Is a directory"),
        ("View", "dir", {}, 400, "1:dd: error reading '{}': Is a directory"),
        ("Download", "dir", {}, 400, "1:base64: read error: Is a directory"),
        ("Stat", "lines.txt/x", {}, 400, "1:stat: cannot statx '{}': Not a directory"),
        ("List", "n" * 300, {}, 400, "2:ls: cannot access '{}': File name too long"),
    ],
)
async def test_failures_are_worded_as_gnu_tools_do(
    profile: Profile,
    lines: Path,
    method: str,
    name: str,
    query: dict[str, str],
    status: int,
    message: str,
) -> None:
    (lines.parent / "dir").mkdir()
    path = lines.parent / name
    code, _, text = message.format(path).partition(":")
    reply = await profile.get(method, path, **query)
    assert reply.message == (
        f"Remote process failed with exit status:{code} and error message:{text}"
    )
    assert (reply.status, reply.json["errorType"], reply.json["user"]) == (status, "error", "alice")


async def test_a_broken_link_inside_exits_with_1(profile: Profile, tmp_path: Path) -> None:
    (tmp_path / "broken").symlink_to("nowhere")
    reply = await profile.get("List", tmp_path, dereference="true")
    assert reply.status == 404
    assert f"exit status:1 and error message:ls: cannot access '{tmp_path}/broken'" in reply.message


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (None, "Unable to decode request and retreive the required path or source_path parameter."),
        ("", "The provided path () is not an absolute path."),
        ("a/b", "The provided path (a/b) is not an absolute path."),
        (
            "/etc/passwd",
            "The provided path (/etc/passwd) does not match any of the defined filesystem paths "
            "for the requested system (lab).",
        ),
        ("/a\0b", "The provided path contains a NUL character."),
    ],
)
@pytest.mark.parametrize("method", sorted(GETS))
async def test_bad_paths(profile: Profile, method: str, path: str | None, message: str) -> None:
    reply = await profile.get(method, path)
    assert (reply.status, reply.message) == (400, message)


async def test_no_way_out_of_the_filesystem(profile: Profile, tmp_path: Path) -> None:
    assert (await profile.get("Stat", f"{tmp_path}/../../../x")).status == 400
    assert (await profile.get("Stat", f"{tmp_path.parent}2")).status == 400


async def test_unknown_system(profile: Profile) -> None:
    reply = await profile.get("List", "/x", system="nosuch")
    assert (reply.status, reply.message) == (404, "System not found")


@pytest.mark.parametrize(
    ("method", "query", "name", "invalid"),
    [
        ("List", {"show_hidden": "x"}, "showHidden", "Input should be a valid boolean"),
        ("Head", {"bytes": "1K"}, "bytes", "Input should be a valid integer"),
        ("Head", {"lines": ""}, "lines", "Input should be a valid integer"),
        ("Tail", {"lines": "9" * 30}, "lines", "Input should be less than"),
        ("View", {"offset": "x"}, "offset", "Input should be a valid integer"),
    ],
)
async def test_bad_queries_name_the_field(
    profile: Profile, lines: Path, method: str, query: dict[str, str], name: str, invalid: str
) -> None:
    reply = await profile.get(method, lines, **query)
    [field] = reply.json["data"]["fields"]
    assert reply.status == 400
    assert (field["location"], field["name"]) == ("query", name)
    assert field["message"].startswith(invalid)


@pytest.mark.parametrize(
    ("method", "query", "message"),
    [
        ("Head", {"bytes": "1", "lines": "1"}, "Only one of `bytes` or `lines`"),
        ("Tail", {"bytes": "1", "lines": "1"}, "Only one of `bytes` or `lines`"),
        ("Head", {"lines": "-1", "skip_trailing": "1"}, "invalid number of lines: '--1'"),
        ("Tail", {"bytes": "-1", "skip_heading": "1"}, "invalid number of bytes: '+-1'"),
        ("View", {"size": "0"}, "`size` value must be an integer value greater than 0"),
        ("View", {"size": "100001"}, "`size` value must be less than 100000 bytes"),
        ("View", {"offset": "-1"}, "`offset` value must be an integer value equal or greater"),
    ],
)
async def test_bad_combinations(
    profile: Profile, lines: Path, method: str, query: dict[str, str], message: str
) -> None:
    reply = await profile.get(method, lines, **query)
    assert reply.status == 400
    assert message in reply.message


async def test_mkdir(profile: Profile, tmp_path: Path) -> None:
    path = str(tmp_path / "a b")
    reply = await profile.mkdir(json.dumps({"source_path": path}).encode())
    assert (reply.status, reply.output["name"], reply.output["type"]) == (201, path, "d")
    again = await profile.mkdir(json.dumps({"path": path}).encode())
    assert again.status == 400
    assert again.message.endswith(f"mkdir: cannot create directory '{path}': File exists")
    deep = json.dumps({"path": f"{path}/x/y", "parent": "true", "unknown": 1}).encode()
    assert (await profile.mkdir(deep)).status == 201
    assert (await profile.mkdir(deep)).status == 201


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "Unable to decode request"),
        (b"{}", "Unable to decode request"),
        (b"[]", "Unable to decode request"),
        (b'{"path": 5}', "Unable to decode request"),
        (b'{"path": null}', "All filesystem requests require a path or source_path parameter."),
        (b'{"path": "x"}', "The provided path (x) is not an absolute path."),
        (b"{", "JSON decode error"),
        (b'{"path": "ROOT/x", "parent": null}', "Input should be a valid boolean"),
        (b'{"path": "ROOT/a\\u0000b"}', "The provided path contains a NUL character."),
    ],
)
async def test_bad_bodies(profile: Profile, tmp_path: Path, body: bytes, message: str) -> None:
    reply = await profile.mkdir(body.replace(b"ROOT", os.fsencode(tmp_path)))
    assert reply.status == 400
    assert message in reply.message
    assert os.listdir(tmp_path) == []


async def test_rm(profile: Profile, tmp_path: Path) -> None:
    (tmp_path / "dir" / "sub").mkdir(parents=True)
    reply = await profile.get("Remove", tmp_path / "dir")
    assert (reply.status, reply.body) == (204, b"")
    assert os.listdir(tmp_path) == []


async def test_download(profile: Profile, tmp_path: Path) -> None:
    content = os.urandom(100_000)
    (tmp_path / "f").write_bytes(content)
    reply = await profile.get("Download", tmp_path / "f")
    assert (reply.status, reply.kind) == (200, "application/octet-stream")
    assert reply.body == content
    (tmp_path / "f").write_bytes(content + b"x")
    reply = await profile.get("Download", tmp_path / "f")
    assert (reply.status, reply.message) == (413, "File to download is too large.")


@pytest.mark.parametrize("name", ["up.txt", "q'.txt", "日本.txt", "a b", "-rf", "$(id)"])
async def test_upload(profile: Profile, tmp_path: Path, name: str) -> None:
    for content in (b"one\r\n--xXnot\r\n", b""):
        reply = await profile.upload_file(tmp_path, name, content)
        assert (reply.status, reply.body) == (204, b"")
        assert (tmp_path / name).read_bytes() == content
    assert os.listdir(tmp_path) == [name]


async def test_upload_with_an_encoded_name(profile: Profile, tmp_path: Path) -> None:
    head = b"--xXx\r\nContent-Disposition: form-data; name=file; filename*=utf-8''n%C3%A4h.txt\r\n"
    await profile.upload(tmp_path, FORM, head + b"\r\n1\r\n--xXx--\r\n")
    assert os.listdir(tmp_path) == ["näh.txt"]


@pytest.mark.parametrize(
    ("header", "name"),
    [
        (b'name="file"; filename="\xc3\xa9.txt"', "é.txt"),
        (b"NAME=file; FileName=x", "x"),
        (b'name="file"; filename="say \\"hi\\" \\\\ \\o"', 'say "hi" \\ \\o'),
        (b'name="file"; filename="a%22b%0D%0A"', "a%22b%0D%0A"),
        (b'name="file"; filename=" a; filename=b "', " a; filename=b "),
        (b'name="file"; filename="first"; filename="second"', "first"),
        (b'name="file"; filename="first"; filename*=UTF-8\'\'second', "first"),
        (b"name=file; filename=\"=?utf-8?B?w6k=?=\"; filename*=utf-8''%C3%A9", "é"),
        (b'name="file"; filename="=?first?="', "=?first?="),
        (b"name=file; filename*=ISO-8859-1'de'%e9.txt", "é.txt"),
        (b"name=file; filename*=UTF-8''%e2%82%ac%20rates", "€ rates"),
        (b'name="file"; filename="=?utf-8?q?=C3=A9?="', "=?utf-8?q?=C3=A9?="),
        (b'name="file"; filename="C:\\dir\\x"', "C:\\dir\\x"),
    ],
)
async def test_upload_takes_names_as_they_come(
    profile: Profile, tmp_path: Path, header: bytes, name: str
) -> None:
    head = b"--xXx\r\nContent-Disposition: form-data; " + header
    reply = await profile.upload(tmp_path, FORM, head + b"\r\n\r\n1\r\n--xXx--\r\n")
    assert (reply.status, os.listdir(tmp_path)) == (204, [name])


@pytest.mark.parametrize(
    "header",
    [
        b'name="file"; filename="\xe9.txt"',
        b"name=file; filename=\xe8.txt",
        b"name=file; filename*=UTF-8''%e9.txt",
        b"name=file; filename*=UTF-8''\xe9.txt",
        b"name=file; filename*=nonsense''%e9.txt",
        b"name=file; filename*=%e9.txt",
        b"name=file; filename*=UTF-8''a%2Fb",
        b'name="file"; filename="\x00"',
    ],
)
async def test_upload_refuses_names_that_are_not_utf_8(
    profile: Profile, tmp_path: Path, header: bytes
) -> None:
    head = b"--xXx\r\nContent-Disposition: form-data; " + header
    reply = await profile.upload(tmp_path, FORM, head + b"\r\n\r\n1\r\n--xXx--\r\n")
    assert (reply.status, os.listdir(tmp_path)) == (400, [])
    assert reply.json["data"]["fields"][0]["name"] == "file"


async def test_upload_passes_over_other_fields(profile: Profile, tmp_path: Path) -> None:
    other = b'--xXx\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
    reply = await profile.upload(tmp_path, FORM, other + form("f", b"1"))
    assert reply.status == 204
    assert (tmp_path / "f").read_bytes() == b"1"


async def test_upload_of_the_largest_file(profile: Profile, tmp_path: Path) -> None:
    reply = await profile.upload_file(tmp_path, "f", b"x" * 100_000, 9000)
    assert reply.status == 204
    reply = await profile.upload_file(tmp_path, "f", b"y" * 100_001, 9000)
    assert (reply.status, reply.message) == (413, "File to upload is too large.")
    assert (tmp_path / "f").read_bytes() == b"x" * 100_000
    assert debris(tmp_path) == []


@pytest.mark.parametrize("name", ["../escaped", "a/b", "..", ".", "/etc/x"])
async def test_upload_stays_in_its_directory(profile: Profile, tmp_path: Path, name: str) -> None:
    reply = await profile.upload_file(tmp_path, name, b"1")
    assert reply.status == 400
    assert reply.json["data"]["fields"][0]["name"] == "file"
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/octet-stream", b"abc"),
        ("multipart/form-data", form("f", b"1")),
        (FORM, form("f", b"1", field="other")),
        (FORM, form("", b"1")),
        (FORM, b""),
        (FORM, b"--xXx--\r\n"),
    ],
)
async def test_upload_demands_a_file(
    profile: Profile, tmp_path: Path, kind: str, body: bytes
) -> None:
    reply = await profile.upload(tmp_path, kind, body)
    field = {"location": "body", "name": "file", "message": "Field required"}
    assert (reply.status, reply.json["data"]["fields"]) == (400, [field])
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("cut", [3, 9, 20, 50])
async def test_an_upload_that_is_cut_off_leaves_nothing(
    profile: Profile, tmp_path: Path, cut: int
) -> None:
    reply = await profile.upload(tmp_path, FORM, form("f", b"x" * 100)[:-cut])
    assert reply.status == 400
    assert os.listdir(tmp_path) == []


async def test_a_form_that_is_none(profile: Profile, tmp_path: Path) -> None:
    assert (await profile.upload(tmp_path, FORM, b"garbage")).status == 400
    other = b'--xXx\r\nContent-Disposition: form-data; name="note"\r\n\r\n' + b"x" * 70_000
    assert (await profile.upload(tmp_path, FORM, other)).status == 413


@pytest.mark.parametrize(
    ("where", "status", "words"),
    [
        ("nope", 404, "bash: line 1: {}/f: No such file or directory"),
        ("file", 400, "bash: line 1: {}/f: Not a directory"),
        ("full", 400, "bash: line 1: {}/f: Is a directory"),
    ],
)
async def test_upload_failures(
    profile: Profile, tmp_path: Path, where: str, status: int, words: str
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "full" / "f").mkdir(parents=True)
    reply = await profile.upload_file(tmp_path / where, "f", b"1")
    assert reply.status == status
    assert reply.message.endswith(words.format(tmp_path / where))


def test_openapi_knows_every_method() -> None:
    service = pb.DESCRIPTOR.services_by_name["FilesystemService"]
    assert set(OPENAPI) == {method.name for method in service.methods}
