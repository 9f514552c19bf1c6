"""The staging method `wormhole`: magic-wormhole, end-to-end encrypted, by a code."""

import posixpath
import re
import secrets
from dataclasses import dataclass

from pydantic import Field as Setting

from passerelle.runtime.config.sections import Section
from passerelle.runtime.config.site import System
from passerelle.runtime.errors import Field, InvalidArgument
from passerelle.storage.files.port import Files
from passerelle.storage.jobs.port import AgentWork, Leftovers, TransferJobs, hidden_part
from passerelle.storage.staging.port import Staged, StagingRequest
from passerelle.storage.staging.programs import job_program
from passerelle.storage.staging.targets import require_absent, require_readable
from passerelle.storage.staging.wormhole.wire import (
    WIRE,
    SenderWaits,
    WormholeCode,
    WormholeRequest,
    WormholeUploadRequest,
)

_SOURCE = job_program(
    "passerelle.storage.staging.wormhole.remote.environment",
    "passerelle.storage.staging.wormhole.remote.program",
)

# A nameplate and words, as `wormhole send` prints them; shorter than any line.
_CODE = re.compile(r"(?=.{1,200}\Z)[1-9][0-9]{0,8}(-[A-Za-z0-9]+)+", re.ASCII)
# Wilkerson, "A Proposal for Proquints", arXiv:0901.4016: 16 bits as five letters that can be spoken.
_CONSONANTS, _VOWELS = "bdfghjklmnprstvz", "aiou"


@dataclass(frozen=True)
class Wormhole:
    """Files by magic-wormhole: neither side has to be reachable from the other."""

    wire = WIRE

    class Options(Section):
        """How jobs find magic-wormhole, and it finds the other side."""

        python: str = Setting(
            default="python3",
            min_length=1,
            description="A Python on the nodes, by path or name. Where it has no magic-wormhole, each user's first job "
            "installs that into an environment in ~/.cache/passerelle.",
        )
        pypi_index_url: str | None = Setting(
            default=None, description="The package index to install from; pip's own when unset."
        )
        relay_url: str | None = Setting(
            default=None,
            description="The mailbox server, ws:// or wss://; magic-wormhole's public one when unset.",
        )
        transit_helper: str | None = Setting(
            default=None,
            description="The transit relay, tcp:HOST:PORT; magic-wormhole's public one when unset.",
        )
        time_limit: int = Setting(
            default=86400,
            ge=1,
            description="How long a job may take, its wait for the other side included, s.",
        )

    system: System
    files: Files
    jobs: TransferJobs
    options: Options

    async def upload(self, request: StagingRequest[WormholeUploadRequest]) -> Staged:
        """As `Staging.upload`. Raises TargetExists when the file exists."""
        code = _checked(request.parameters.wormhole_code)
        await require_absent(self.files, request.path)
        work = self._work("receive", request.path, code, Leftovers(hidden_part(request.path)))
        job = await self.jobs.submit("IngressFileTransfer", work, request.account)
        return Staged(job, SenderWaits())

    async def download(self, request: StagingRequest[WormholeRequest]) -> Staged:
        """As `Staging.download`."""
        await require_readable(self.files, request.path)
        code = new_code()
        work = self._work("send", request.path, code, Leftovers())
        job = await self.jobs.submit("OutgressFileTransfer", work, request.account)
        return Staged(job, WormholeCode(wormhole_code=code))

    def _work(self, operation: str, path: str, code: str, leftovers: Leftovers) -> AgentWork:
        parameters = {
            **self.options.model_dump(),
            "operation": operation,
            "path": path,
            "part": posixpath.basename(leftovers.part),
            "roots": self.system.roots,
            "code": code,
        }
        return AgentWork(_SOURCE, parameters, leftovers)


def new_code() -> str:
    """A code that cannot be guessed: a nameplate that is rarely in use, and 48 random bits in three words."""
    nameplate = 1000 + secrets.randbelow(999_000)
    return "-".join((str(nameplate), *(_word(secrets.randbits(16)) for _ in range(3))))


def _word(number: int) -> str:
    letters = ""
    for alphabet in (_CONSONANTS, _VOWELS, _CONSONANTS, _VOWELS, _CONSONANTS):
        number, index = divmod(number, len(alphabet))
        letters += alphabet[index]
    return letters


def _checked(code: str) -> str:
    if not _CODE.fullmatch(code):
        violation = "must be the code that `wormhole send` printed, like 7-word-word"
        raise InvalidArgument(
            f"wormhole_code {violation}", (Field("body", "wormhole_code", violation),)
        )
    return code
