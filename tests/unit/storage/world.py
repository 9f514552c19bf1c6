"""A system on loopback whose files are a temporary directory, for tests of the storage service."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import grpc

from passerelle.runtime import caller
from passerelle.runtime.caller import Caller
from passerelle.runtime.config.site import System
from passerelle.runtime.pipeline.stages import Authority, authorise, in_time, map_errors, observe
from passerelle.runtime.ssh.pool import SshPool
from passerelle.storage.access.system_access import SystemAccess
from passerelle.storage.commands.plain_commands import PlainCommands
from passerelle.storage.config import StorageSection
from passerelle.storage.files.port import Files
from passerelle.storage.jobs.compute_client import ComputeJobs
from passerelle.storage.jobs.private_files import PrivateFiles
from passerelle.storage.main import SystemParts, TransferCompute, parts_of, register_servicers
from passerelle.storage.staging.port import Staging
from passerelle.storage.staging.staged import StagedTransfers
from passerelle.storage.staging.tidying import Tidying
from passerelle.v1.access_pb2 import Access
from tests.grpc_service import channel_to
from tests.sshd import Keys, Server, serving_ssh
from tests.unit.storage.bash_jobs import BashJobs

METADATA = (("authorization", "Bearer token"),)


@dataclass(frozen=True)
class World:
    """A running SSH server and the files behind it."""

    server: Server
    system: System
    files: Files
    pool: SshPool
    root: Path
    parts: SystemParts
    compute: BashJobs
    private: PrivateFiles

    def staging(self, methods: Mapping[str, Staging]) -> StagedTransfers:
        """The system's staging methods, and what is done after them; whoever asks for it closes it."""
        tidying = Tidying(self.system, self.files, self.private, self.compute, methods.values())
        return StagedTransfers(methods, tidying, self.parts.downloads)


@asynccontextmanager
async def remote(
    root: Path,
    *,
    name: str = "lab",
    helper: bool = True,
    stall: float = 20,
    limit: int = 5 << 20,
    check_links: bool = True,
    sftp: bool = True,
    download_limits: Mapping[str, int] = MappingProxyType({}),
    **ssh: Any,
) -> AsyncIterator[World]:
    """A world around `root`; `ssh` are settings of the system's section of that name."""
    keys = Keys()
    settings = StorageSection(
        remote_helper=helper, stall_timeout=stall, download_limits=dict(download_limits)
    )
    async with serving_ssh(keys.key, sftp=sftp) as server:
        system = _system(name, server, root, limit, ssh, check_links)
        async with SshPool({name: system}, keys).sweeping() as pool:
            compute = BashJobs()
            parts = system_parts(pool, system, settings, compute)
            private = PrivateFiles(SystemAccess(pool, system, settings, PlainCommands), system.name)
            yield World(server, system, parts.files, pool, root, parts, compute, private)
            await parts.staging.close()


class Worlds:
    """Worlds that tests share, each made for the first that asks: a login and a helper cost more than most tests."""

    def __init__(self, root: Path, stack: AsyncExitStack) -> None:
        self._root = root
        self._stack = stack
        self._made: dict[frozenset[tuple[str, Any]], World] = {}

    async def at(self, root: Path, **settings: Any) -> World:
        """The one with these settings of `remote`, for a test whose files are in `root`, below the root of all."""
        key = frozenset(settings.items())
        if key not in self._made:
            made = remote(self._root, **settings)
            self._made[key] = await self._stack.enter_async_context(made)
        return replace(self._made[key], root=root)


def system_parts(
    pool: SshPool, system: System, settings: StorageSection, compute: TransferCompute
) -> SystemParts:
    """What the storage service makes of a system."""
    return parts_of(system, SystemAccess(pool, system, settings, PlainCommands), settings, compute)


def _system(
    name: str, server: Server, root: Path, limit: int, ssh: dict[str, Any], check_links: bool
) -> System:
    # The tests' machine may be busy: what is not about deadlines must not meet one.
    ssh = {"timeout": {"command": 30, "login": 30, "connection": 30}, **ssh}
    address = {
        "least_uid": 0,
        "host": "127.0.0.1",
        "port": server.port,
        "host_keys": [server.host_key],
    }
    return System.model_validate(
        {
            "name": name,
            "ssh": {**address, **ssh},
            "scheduler": {"type": "local"},
            "filesystems": [{"path": str(root), "data_type": "users", "default_work_dir": True}],
            "check_links": check_links,
            "data_operation": {"max_ops_file_size": limit, "work_dir": "{filesystem}"},
        }
    )


class Anyone:
    """An authority for which every token is alice's."""

    async def caller(self, token: str, *, access: Access, system: str) -> Caller:
        """Alice."""
        return Caller("alice", token)


_ANYONE = Anyone()


@asynccontextmanager
async def serving_storage(
    *worlds: World, authority: Authority = _ANYONE
) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the storage service over `worlds`, with all stages around its RPCs."""
    parts = {world.system.name: world.parts for world in worlds}

    def register(server: grpc.aio.Server) -> None:
        register_servicers(server, parts, ComputeJobs(None, 1))

    stages = [observe, map_errors, in_time(60), authorise(authority, "s" * 32)]
    async with channel_to(register, stages, drain=0.1) as channel:
        yield channel


def as_alice() -> Any:
    """Bind alice as the caller inside the block."""
    return caller.bind(Caller("alice", "token"))


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    """The parts as a stream."""
    for part in parts:
        yield part


def debris(root: Path) -> list[str]:
    """What unfinished writes left below `root`."""
    return [path.name for path in root.rglob("*.passerelle-part")]
