"""The staging method `streamer`: a WebSocket straight to the job, as FirecREST's `streamer` client speaks it."""

import base64
import json
import posixpath
import secrets
from dataclasses import dataclass
from typing import Any, Self

from pydantic import Field, model_validator

from passerelle.runtime.config.sections import Section
from passerelle.runtime.config.site import System
from passerelle.runtime.errors import TooLarge
from passerelle.storage.files.port import Files
from passerelle.storage.jobs.port import AgentWork, Leftovers, TransferJobs, hidden_part
from passerelle.storage.staging.port import Staged, StagingRequest
from passerelle.storage.staging.programs import job_program
from passerelle.storage.staging.streamer.wire import WIRE, Coordinates, StreamerRequest
from passerelle.storage.staging.targets import require_absent, require_readable

_SOURCE = job_program(
    "passerelle.storage.staging.streamer.remote.websocket",
    "passerelle.storage.staging.streamer.remote.listener",
    "passerelle.storage.staging.streamer.remote.program",
)


@dataclass(frozen=True)
class Streamer:
    """Files straight between the caller and a job on the system, over a WebSocket without TLS."""

    wire = WIRE

    class Options(Section):
        """Where jobs listen, and what they take."""

        host: str | None = None
        """The address on the node where jobs listen; all its interfaces when unset."""
        port_range: tuple[int, int] = (5665, 5675)
        """First and last port that jobs may listen on; each takes the first that is free."""
        public_ips: tuple[str, ...] = Field(default=("localhost",), min_length=1)
        """Addresses of the nodes where transfer jobs run, as callers reach them."""
        attempts: int = Field(default=2000, ge=1, le=100_000)
        """How many connections callers are to try before they give up. FirecREST's client tries every address once, at
        once, when the job runs, but may not listen yet; so addresses are named repeatedly."""
        wait_timeout: int = Field(default=86400, ge=1)
        """How long a job waits for the caller, s."""
        inbound_transfer_limit: int = Field(default=5368709120, ge=0)
        """Largest file that may come, bytes."""

        @model_validator(mode="after")
        def _ordered(self) -> Self:
            first, last = self.port_range
            if not 1 <= first <= last <= 65535:
                raise ValueError("port_range must be two ports from 1 to 65535, the lower first")
            return self

    system: System
    files: Files
    jobs: TransferJobs
    options: Options

    async def upload(self, request: StagingRequest[StreamerRequest]) -> Staged:
        """As `Staging.upload`. Raises TooLarge above the limit, TargetExists when the file exists."""
        limit, size = self.options.inbound_transfer_limit, request.parameters.file_size
        if size is not None and size > limit:
            raise TooLarge(
                f"Inbound transfer limit exceeded, max allowed transfer size: {limit} bytes."
            )
        await require_absent(self.files, request.path)
        return await self._staged(
            "IngressFileTransfer",
            "receive",
            request.path,
            request.account,
            Leftovers(hidden_part(request.path)),
            inbound_transfer_limit=limit,
        )

    async def download(self, request: StagingRequest[StreamerRequest]) -> Staged:
        """As `Staging.download`."""
        await require_readable(self.files, request.path)
        return await self._staged(
            "OutgressFileTransfer", "send", request.path, request.account, Leftovers()
        )

    async def _staged(
        self,
        name: str,
        operation: str,
        path: str,
        account: str | None,
        leftovers: Leftovers,
        **more: Any,
    ) -> Staged:
        """Submit the job; `operation` is `send` or `receive`, from the job's point of view."""
        secret = secrets.token_urlsafe(32)
        parameters = {
            "operation": operation,
            "path": path,
            "part": posixpath.basename(leftovers.part),
            "roots": self.system.roots,
            "secret": secret,
            "host": self.options.host,
            "port_range": self.options.port_range,
            "wait_timeout": self.options.wait_timeout,
            **more,
        }
        work = AgentWork(_SOURCE, parameters, leftovers)
        job = await self.jobs.submit(name, work, account)
        return Staged(job, self._coordinates(secret, operation))

    def _coordinates(self, secret: str, operation: str) -> Coordinates:
        """The argument of `streamer --coordinates` (firecrest-streamer, streamer_client.py)."""
        first, last = self.options.port_range
        ips = self.options.public_ips
        rounds = -(-self.options.attempts // ((last - first + 1) * len(ips)))
        data = {
            "ports": (first, last),
            "ips": ips * rounds,
            "secret": secret,
            "operation": operation,
        }
        encoded = base64.urlsafe_b64encode(json.dumps(data).encode()).decode()
        return Coordinates(coordinates=encoded)
