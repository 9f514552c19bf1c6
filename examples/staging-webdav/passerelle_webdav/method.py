"""The staging method `webdav`: through an HTTP server of the site that takes PUT, GET and DELETE.

Each transfer has a URL of its own there that nobody can guess, so the server needs no accounts: it must not list its
directory. README.md has a configuration of nginx.
"""

import posixpath
import re
import secrets
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import aiohttp
from pydantic import Field, StringConstraints

from passerelle.runtime.config.addresses import is_plain_http
from passerelle.runtime.config.findings import Finding, SectionContext, note
from passerelle.runtime.config.sections import Section
from passerelle.runtime.config.site import System
from passerelle.runtime.errors import BackendUnavailable
from passerelle.storage.files.port import Files
from passerelle.storage.jobs.port import AgentWork, Leftovers, TransferJobs, hidden_part
from passerelle.storage.staging.port import Staged, StagingRequest
from passerelle.storage.staging.programs import job_program
from passerelle.storage.staging.targets import require_absent, require_readable
from passerelle_webdav.wire import WIRE, DownloadRequest, DownloadUrl, UploadRequest, UploadUrl

_PROGRAM = job_program("passerelle_webdav.job")
_TIMEOUT = aiohttp.ClientTimeout(total=10)  # seconds


class Webdav:
    """Files through an HTTP server that the caller and the system's nodes can reach."""

    class Options(Section):
        """Which server, and how long jobs wait."""

        url: Annotated[str, StringConstraints(pattern="^https?://.+[^/]$")]
        """A directory of the server, as callers and nodes reach it."""
        wait_timeout: int = Field(default=86400, ge=1)
        """How long a job waits for the caller's file, s."""

        def findings(self, context: SectionContext) -> Iterator[Finding]:
            """See `Section.findings`."""
            if is_plain_http(self.url):
                yield note(f"{self.url} is plain http: files can be read on their way", "url")

    wire = WIRE

    def __init__(self, system: System, files: Files, jobs: TransferJobs, options: Options) -> None:
        self._roots = system.roots
        self._files = files
        self._jobs = jobs
        self._options = options

    async def upload(self, request: StagingRequest[UploadRequest]) -> Staged:
        """As `Staging.upload`; Forbidden when there is such a file already."""
        await require_absent(self._files, request.path)
        url = self._new_url()
        left = Leftovers(hidden_part(request.path), {"url": url})
        more = {"sha256": request.parameters.sha256, "wait_timeout": self._options.wait_timeout}
        work = self._work("receive", request.path, url, left, **more)
        job = await self._jobs.submit("IngressFileTransfer", work, request.account)
        return Staged(job, UploadUrl(upload_url=url))

    async def download(self, request: StagingRequest[DownloadRequest]) -> Staged:
        """As `Staging.download`."""
        await require_readable(self._files, request.path)
        url = self._new_url()
        work = self._work("send", request.path, url, Leftovers(elsewhere={"url": url}))
        job = await self._jobs.submit("OutgressFileTransfer", work, request.account)
        return Staged(job, DownloadUrl(download_url=url))

    async def remove(self, elsewhere: Mapping[str, str]) -> bool:
        """As `LeavesElsewhere.remove`: a file whose URL can be one of this method's."""
        url = elsewhere.get("url", "")
        if not re.fullmatch(re.escape(self._options.url) + "/[0-9a-f]{32}", url):
            return False
        try:
            async with aiohttp.ClientSession(timeout=_TIMEOUT) as http, http.delete(url):
                return True  # refused or not: asking again would change nothing
        except (aiohttp.ClientError, TimeoutError):
            raise BackendUnavailable("The WebDAV server cannot be reached.") from None

    def _new_url(self) -> str:
        return f"{self._options.url}/{secrets.token_hex(16)}"

    def _work(
        self, operation: str, path: str, url: str, leftovers: Leftovers, **more: Any
    ) -> AgentWork:
        parameters = {
            "operation": operation,
            "path": path,
            "part": posixpath.basename(leftovers.part),
            "roots": self._roots,
            "url": url,
            **more,
        }
        return AgentWork(_PROGRAM, parameters, leftovers)
