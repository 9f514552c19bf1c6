"""`FileOperations` where no helper can run: by GNU coreutils and findutils, one process or few for each operation."""

import os
from collections.abc import Sequence

from passerelle.runtime.command import Output
from passerelle.runtime.errors import Unsupported
from passerelle.storage.access.operations import PackSource, Refusal, UnpackSource, UnpackTarget
from passerelle.storage.commands.boundary import PathArgument
from passerelle.storage.commands.find_output import called
from passerelle.storage.commands.looking import LookingCommands
from passerelle.storage.commands.placing import PlacingCommands
from passerelle.storage.commands.reading import ReadingCommands
from passerelle.storage.commands.runner import named_failure
from passerelle.storage.commands.trees import TreeCommands
from passerelle.storage.errors import not_regular
from passerelle.storage.values import FileInfo, Steps, WriteConditions, Written


class PlainCommands(LookingCommands, ReadingCommands, PlacingCommands, TreeCommands):
    """The operations over one connection."""

    content_limit = 0

    async def make_directory(self, path: str, *, parents: bool) -> FileInfo:
        """See `FileOperations.make_directory`."""
        await self._boundary.require_inside(PathArgument(path))
        output = await self._run("mkdir", *(("-p",) if parents else ()), "--", path)
        if output.status:
            raise named_failure(output, "mkdir", path)
        return called(path, await self._look(path, True))

    async def make_symlink(self, path: str, target: str) -> None:
        """See `FileOperations.make_symlink`."""
        destination = os.path.join(os.path.dirname(path), target)
        await self._boundary.require_inside(
            PathArgument(path, follow=False), PathArgument(destination, field="target")
        )
        await self._do("symlink", path, "ln", "-s", "-T", "--", target, path)

    async def run_program(self, path: str, argv: Sequence[str], *, dereference: bool) -> Output:
        """See `FileOperations.run_program`."""
        await self._boundary.require_inside(PathArgument(path, dereference))
        return await self._run(*argv, path)

    async def pack_source(self, path: str, *, dereference: bool) -> PackSource:
        """See `FileOperations.pack_source`."""
        await self._boundary.require_inside(PathArgument(path))
        info = await self._look(path, dereference=True)
        if info.letter not in "-d":
            raise not_regular("read", path, info.mode)
        directory = info.letter == "d"
        if dereference and directory:
            await self._boundary.require_links_inside(path, deep=True)
        real, parent = await self._real(path), await self._real(os.path.dirname(path))
        return PackSource(real, parent, directory)

    async def settled_size(self, part: str) -> int:
        """See `FileOperations.settled_size`; there are no receivers without a helper."""
        return (await self.stat(part, dereference=False)).size

    async def unpack_source(self, path: str) -> UnpackSource:
        """See `FileOperations.unpack_source`; a cut archive is not noticed."""
        await self._boundary.require_inside(PathArgument(path))
        await self._regular(path)
        return UnpackSource(await self._real(path), truncated=False)

    async def write_file(
        self, path: str, content: bytes, conditions: WriteConditions, *, digest: bool = True
    ) -> Written | Refusal:
        """Raises Unsupported."""
        raise self._takes_python()

    async def unpack_target(self, path: str) -> UnpackTarget:
        """Raises Unsupported."""
        raise self._takes_python()

    def place_tree(self, path: str, part: str, *, overwrite: bool, any_links: bool) -> Steps[None]:
        """Raises Unsupported."""
        raise self._takes_python()

    def _takes_python(self) -> Unsupported:
        system = self._connection.system
        return Unsupported(f"This takes Python on system {system}, which has none.")
