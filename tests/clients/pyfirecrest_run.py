"""Shared code of the groups of pyfirecrest calls. Works with every version, and needs no other package."""

import asyncio
import inspect
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from firecrest.FirecrestException import FirecrestException

LARGE = random.Random(1).randbytes(6 << 20)  # noqa: S311  # of two parts, and more than one request may carry
LINES = "".join(f"line {number}\n" for number in range(1, 13))
SLEEP = "#!/bin/bash\nsleep 300\n"
JOB_SECONDS = 90
ENDED = ("COMPLETED", "FAILED", "CANCELLED")


@dataclass(frozen=True)
class Site:
    """Where to call, and as whom."""

    url: str
    token_url: str
    client_id: str
    client_secret: str
    system: str
    directory: str
    """An empty directory there."""
    account: str


class Calls:
    """One object of the library. Its methods are called alike, whether they have to be awaited or not."""

    called: set[str] = set()  # noqa: RUF012  # on all objects

    def __init__(self, of: Any) -> None:
        self._of = of

    async def __call__(self, name: str, /, *arguments: Any, **named: Any) -> Any:
        """The method's result. A blocking method runs in a thread."""
        result = await asyncio.to_thread(self.value(name), *arguments, **named)
        return await result if inspect.isawaitable(result) else result

    def value(self, name: str) -> Any:
        """A property, or a method."""
        self.called.add(f"{_role(type(self._of))}.{name}")
        return getattr(self._of, name)


def _role(kind: type) -> str:
    name = kind.__name__.removeprefix("Async")
    return {"ExternalUpload": "upload", "ExternalDownload": "download"}.get(name, "client")


@dataclass
class Run:
    """One client, and the results of its calls so far."""

    new_client: Callable[[], Any]
    site: Site
    local: Path
    """An empty directory here."""
    results: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.call = Calls(self.new_client())
        self.system = self.site.system
        self.large = self.local / "large"
        self.large.write_bytes(LARGE)
        self.small = self.local / "small"
        self.small.write_text(LINES)

    @cached_property
    def _kinds(self) -> dict[str, type]:
        """The classes that callers meet, by their role."""
        client = type(self.new_client())
        kinds = [
            kind for kind in vars(sys.modules[client.__module__]).values() if inspect.isclass(kind)
        ]
        return {"client": client} | {
            _role(kind): kind for kind in kinds if _role(kind) in ("upload", "download")
        }

    @property
    def public(self) -> list[str]:
        """The methods and properties that this version has, as role.name."""
        return sorted(
            f"{role}.{name}"
            for role, kind in self._kinds.items()
            for name, member in inspect.getmembers(kind)
            if not name.startswith("_") and (callable(member) or isinstance(member, property))
        )

    def takes(self, method: str, argument: str) -> bool:
        """Whether the client's method has that argument in this version."""
        method_of_client = getattr(self._kinds["client"], method)
        return argument in inspect.signature(method_of_client).parameters

    def back(self, name: str) -> str:
        """Where a download is to go."""
        return str(self.local / name)

    def came(self, name: str) -> bool:
        """Whether the large file came back whole."""
        return Path(self.back(name)).read_bytes() == LARGE

    async def refusal(self, name: str, *arguments: Any) -> list[Any]:
        """Status and message of a call that has to fail."""
        try:
            await self.call(name, *arguments)
        except FirecrestException as error:
            reply = error.responses[-1]
            return [reply.status_code, reply.json()["message"]]
        raise AssertionError(f"{name}{arguments} did not fail")

    async def ended(self, job_id: object) -> Any:
        """The job when it has ended."""
        if "client.wait_for_job" in self.public:
            (job,) = await self.call("wait_for_job", self.system, str(job_id), timeout=JOB_SECONDS)
            return job
        return await self.reached(job_id, *ENDED)

    async def reached(self, job_id: object, *states: str) -> Any:
        """The job when it is in one of the states."""
        deadline = time.monotonic() + JOB_SECONDS
        while time.monotonic() < deadline:
            (job,) = await self.call("job_info", self.system, str(job_id))
            if job["status"]["state"] in states:
                return job
            await asyncio.sleep(0.3)
        raise TimeoutError(f"job {job_id} was none of {states}")
