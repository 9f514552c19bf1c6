"""The job of the staging method `webdav`. Runs on the system, on Python 3.6 and newer.

Its parameters besides those of all jobs with one file (`staging/remote/one_file.py`): `url`, where the file is between
the caller and the system; to receive it, its `sha256` in hexadecimal or null, and `wait_timeout` in seconds.
"""

import hashlib
import os
import time
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from passerelle.storage.staging.remote.arriving import ArrivingFile, absent
from passerelle.storage.staging.remote.job import parameters, say
from passerelle.storage.staging.remote.one_file import Broken, opened, run_job

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_BLOCK = 1 << 20  # bytes
_PAUSE = 0.5  # seconds between two looks
_SILENCE = 60  # seconds that the server may say nothing


def main() -> None:
    """Receive or send the file that the parameters name."""
    run_job(parameters(), _receive, _send, tidy=_removed)


def _receive(given: "dict[str, Any]") -> None:
    with absent(given) as target, ArrivingFile(target, given["part"]) as arriving:
        say("Waiting for the file ...")
        size = _fetched(given, arriving)
        arriving.appear()
    say("File was successfully uploaded: %d bytes." % size)  # noqa: UP031


def _fetched(given: "dict[str, Any]", arriving: ArrivingFile) -> int:
    """Write what the caller has sent, when it is there; its size in bytes."""
    digest, size = hashlib.sha256(), 0
    with _awaited(given["url"], given["wait_timeout"]) as answer:
        expected = int(answer.headers["Content-Length"])
        while size < expected:
            block = answer.read(min(_BLOCK, expected - size))
            if not block:
                raise Broken("the server sent less than it had announced")
            arriving.write(block)
            digest.update(block)
            size += len(block)
    if given["sha256"] not in (None, digest.hexdigest()):
        raise Broken("the file has another SHA-256 than announced")
    return size


def _awaited(url: str, seconds: float) -> "Any":
    """The server's answer with the file, once there is one."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            return urlopen(url, timeout=_SILENCE)  # noqa: S310  # an option of the site
        except HTTPError as error:
            if error.code != 404:
                raise Broken("the server answered with status %d" % error.code) from None  # noqa: UP031
        time.sleep(_PAUSE)
    raise Broken("no file came in time")


def _send(given: "dict[str, Any]") -> None:
    with opened(given) as file:
        size = os.fstat(file.fileno()).st_size
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        _ask("PUT", given["url"], file, headers)
    say("File was successfully downloaded: %d bytes." % size)  # noqa: UP031


def _removed(given: "dict[str, Any]", failed: bool) -> bool:
    """Remove the file from the server, unless it is there for the caller; whether nothing is left to remove."""
    if given["operation"] == "send" and not failed:
        return True
    try:
        _ask("DELETE", given["url"])
    except Broken:  # it has no such file
        return True
    except OSError as error:
        say("The file could not be removed from the server: %s" % error)  # noqa: UP031
        return False
    return True


def _ask(
    method: str, url: str, body: "Any" = None, headers: "dict[str, str] | None" = None
) -> None:
    request = Request(url, body, headers or {}, method=method)  # noqa: S310
    try:
        urlopen(request, timeout=_SILENCE).close()  # noqa: S310
    except HTTPError as error:
        raise Broken("the server answered with status %d" % error.code) from None  # noqa: UP031


if __name__ == "__main__":
    main()
