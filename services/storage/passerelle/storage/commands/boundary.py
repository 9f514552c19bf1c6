"""`remote/boundary.py` by GNU readlink(1), where no helper can run: the same table, one more command before each."""

import posixpath
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, NamedTuple

from passerelle.runtime.command import Output
from passerelle.storage.access.tool_errors import failure_of
from passerelle.storage.commands.batching import batches
from passerelle.storage.errors import Outside
from passerelle.storage.paths import inside
from passerelle.storage.remote.boundary import ASKED, FOLLOWED, PATHS, USUAL, WORDS


class _Question(NamedTuple):
    """A path to resolve; its last component, `name`, is not."""

    field: str
    path: str
    directory: str
    name: str


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
        """The filesystems by their paths, with and without links, as they were found last; `/` when there are none."""
        return self._real_roots or ("/",)

    async def demand(self, operation: str, arguments: dict[str, Any]) -> None:
        """Raise Outside when a path among the arguments leads out."""
        for question in await self._leading_out(list(_questions(operation, arguments))):
            raise Outside(question.field, question.path, self._system)

    async def outside(self, paths: Sequence[str], follow: bool) -> frozenset[str]:
        """Those of the paths that lead out."""
        questions = [_question("paths", path, follow) for path in paths]
        return frozenset(question.path for question in await self._leading_out(questions))

    async def demand_links(self, directory: str, *, deep: bool) -> None:
        """Raise Outside when a link in the directory, or in the tree below it, leads out."""
        if not self._roots:
            return
        depth = () if deep else ("-maxdepth", "1")
        found = await self._run("find", "-L", directory, "-mindepth", "1", *depth, *_LINKS)
        links = found.stdout.split("\0")[:-1]
        for path in sorted(await self.outside(links, follow=True)):
            raise Outside("path", path, self._system)

    async def _leading_out(self, questions: Sequence[_Question]) -> Sequence[_Question]:
        if not questions or not self._roots:
            return ()
        resolved: list[str] = []
        for some in batches((*self._roots, *(question.directory for question in questions))):
            resolved += await self._resolved(some)
        count = len(self._roots)
        roots = self._real_roots = (*self._roots, *resolved[:count])
        return [
            question
            for question, directory in zip(questions, resolved[count:], strict=True)
            if not any(inside(_joined(directory, question.name), root) for root in roots)
        ]

    async def _resolved(self, paths: Sequence[str]) -> Sequence[str]:
        output = await self._run("readlink", "-v", "-m", "-z", "--", *paths)
        resolved = output.stdout.split("\0")[:-1]
        if output.status or len(resolved) != len(paths):
            raise failure_of(output, "access", paths[0])
        return resolved


_LINKS = ("-xtype", "l", "-printf", r"%p\0")  # with -L: what is a link itself


def _questions(operation: str, arguments: dict[str, Any]) -> Iterator[_Question]:
    for field, kind in PATHS.get(operation, USUAL).items():
        path = arguments[field]
        if kind == WORDS:
            path = posixpath.join(posixpath.dirname(arguments["path"]), path)
        follow = kind in (FOLLOWED, WORDS) or (kind == ASKED and arguments["dereference"])
        yield _question(field, path, follow)


def _question(field: str, path: str, follow: bool) -> _Question:
    directory, name = posixpath.split(path)
    if follow or name in ("", ".", ".."):
        directory, name = path, ""
    return _Question(field, path, directory, name)


def _joined(directory: str, name: str) -> str:
    return posixpath.join(directory, name) if name else directory
