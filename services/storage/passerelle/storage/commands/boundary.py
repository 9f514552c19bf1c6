"""The check of `remote/boundary.py` that paths stay inside, by GNU readlink(1): one more command per operation."""

import posixpath
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from passerelle.runtime.command import Output
from passerelle.storage.access.tool_errors import failure_of
from passerelle.storage.commands.batching import batches
from passerelle.storage.errors import Outside
from passerelle.storage.paths import inside


class PathArgument(NamedTuple):
    """An operation's path, and the name of its `field`; `follow` says whether a link at its end is followed."""

    path: str
    follow: bool = True
    field: str = "path"


class BoundaryCommands:
    """The filesystems `roots` of `system`; `run` runs a program."""

    def __init__(
        self, run: Callable[..., Awaitable[Output]], system: str, roots: Sequence[str]
    ) -> None:
        self._run = run
        self._system = system
        self._roots = roots
        self._real_roots: Sequence[str] = roots

    def real_roots(self) -> Sequence[str]:
        """The paths of the filesystems, as configured and without links, by the latest check; `/` without roots."""
        return self._real_roots or ("/",)

    async def require_inside(self, *arguments: PathArgument) -> None:
        """Raise Outside when one of the paths leads out of the filesystems."""
        for argument in await self._leading_out(arguments):
            raise Outside(argument.field, argument.path, self._system)

    async def outside(self, paths: Sequence[str], follow: bool) -> frozenset[str]:
        """Those of the paths that lead out of the filesystems."""
        arguments = [PathArgument(path, follow) for path in paths]
        return frozenset(argument.path for argument in await self._leading_out(arguments))

    async def require_links_inside(self, directory: str, *, deep: bool) -> None:
        """Raise Outside when a link in the directory, or with `deep` in the tree below it, leads out."""
        if not self._roots:
            return
        depth = () if deep else ("-maxdepth", "1")
        output = await self._run("find", "-L", directory, "-mindepth", "1", *depth, *_LINKS)
        links = output.stdout.split("\0")[:-1]
        for path in sorted(await self.outside(links, follow=True)):
            raise Outside("path", path, self._system)

    async def _leading_out(self, arguments: Sequence[PathArgument]) -> Sequence[PathArgument]:
        if not arguments or not self._roots:
            return ()
        parts = [_parts(argument) for argument in arguments]
        resolved: list[str] = []
        for some in batches((*self._roots, *(directory for directory, _ in parts))):
            resolved += await self._resolved(some)
        count = len(self._roots)
        roots = self._real_roots = (*self._roots, *resolved[:count])
        real = [
            posixpath.join(directory, name) if name else directory
            for directory, (_, name) in zip(resolved[count:], parts, strict=True)
        ]
        return [
            argument
            for argument, path in zip(arguments, real, strict=True)
            if not any(inside(path, root) for root in roots)
        ]

    async def _resolved(self, paths: Sequence[str]) -> Sequence[str]:
        output = await self._run("readlink", "-v", "-m", "-z", "--", *paths)
        resolved = output.stdout.split("\0")[:-1]
        if output.status or len(resolved) != len(paths):
            raise failure_of(output, "access", paths[0])
        return resolved


_LINKS = ("-xtype", "l", "-printf", r"%p\0")  # with -L: what is a link itself


def _parts(argument: PathArgument) -> tuple[str, str]:
    """The part of a path that is resolved, and its last component where that is taken as it is."""
    directory, name = posixpath.split(argument.path)
    if argument.follow or name in ("", ".", ".."):
        return argument.path, ""
    return directory, name
