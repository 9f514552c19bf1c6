"""The job of the staging method `webdav`. Runs on the system, on Python 3.6 and newer.

Its parameters besides those of all jobs with one file (`staging/remote/one_file.py`): `url`, where the file is between
the caller and the system; to receive it, its `sha256` in hexadecimal or null, and `wait_timeout` in seconds.
"""

import hashlib
import os
import time
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from passerelle.storage.staging.remote.arriving import ArrivingFile, absent_target
from passerelle.storage.staging.remote.job import log, read_parameters
from passerelle.storage.staging.remote.one_file import Broken, open_source, run_job

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_BLOCK = 1 << 20  # bytes
_PAUSE = 0.5  # seconds between two requests
_SILENCE = 60  # seconds without a byte from the server


def main() -> None:
    """Receive or send the file that the parameters name."""
    run_job(read_parameters(), _receive, _send, tidy=_remove)


def _receive(parameters: "dict[str, Any]") -> None:
    with absent_target(parameters) as target, ArrivingFile(target, parameters["part"]) as arriving:
        log("Waiting for the file ...")
        size = _fetch(parameters, arriving)
        arriving.place()
    log("File was successfully uploaded: %d bytes." % size)  # noqa: UP031


def _fetch(parameters: "dict[str, Any]", arriving: ArrivingFile) -> int:
    """Wait for the caller's file, and write it; its size in bytes."""
    digest, size = hashlib.sha256(), 0
    with _wait_for_file(parameters["url"], parameters["wait_timeout"]) as response:
        expected = int(response.headers["Content-Length"])
        while size < expected:
            block = response.read(min(_BLOCK, expected - size))
            if not block:
                raise Broken("the server sent less than it had announced")
            arriving.write(block)
            digest.update(block)
            size += len(block)
    if parameters["sha256"] not in (None, digest.hexdigest()):
        raise Broken("the file has another SHA-256 than announced")
    return size


def _wait_for_file(url: str, seconds: float) -> "Any":
    """The server's response with the file, once the file exists."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            return urlopen(url, timeout=_SILENCE)  # noqa: S310  # an option of the site
        except HTTPError as error:
            if error.code != 404:
                raise Broken("the server answered with status %d" % error.code) from None  # noqa: UP031
        time.sleep(_PAUSE)
    raise Broken("no file came in time")


def _send(parameters: "dict[str, Any]") -> None:
    with open_source(parameters) as file:
        size = os.fstat(file.fileno()).st_size
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        _request("PUT", parameters["url"], file, headers)
    log("File was successfully downloaded: %d bytes." % size)  # noqa: UP031


def _remove(parameters: "dict[str, Any]", failed: bool) -> bool:
    """Remove the file from the server, unless the caller shall fetch it; whether nothing is left to remove."""
    if parameters["operation"] == "send" and not failed:
        return True
    try:
        _request("DELETE", parameters["url"])
    except Broken:  # it has no such file
        return True
    except OSError as error:
        log("The file could not be removed from the server: %s" % error)  # noqa: UP031
        return False
    return True


def _request(
    method: str, url: str, body: "Any" = None, headers: "dict[str, str] | None" = None
) -> None:
    request = Request(url, body, headers or {}, method=method)  # noqa: S310
    try:
        urlopen(request, timeout=_SILENCE).close()  # noqa: S310
    except HTTPError as error:
        raise Broken("the server answered with status %d" % error.code) from None  # noqa: UP031


if __name__ == "__main__":
    main()
