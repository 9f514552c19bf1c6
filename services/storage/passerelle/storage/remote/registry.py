"""The helper's operations: `@operation("stat", path=BY_ARGUMENT)` before a function makes it one.

It says which arguments are paths, and whether a link at the end of the path is followed. An operation that is not told
of its paths gets them as text, and has to check them itself.
"""

import os

from passerelle.storage.remote.boundary import Boundary
from passerelle.storage.remote.outcome import raw

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any, TypeVar

    Function = Callable[..., bytes | Iterator[bytes]]
    F = TypeVar("F", bound=Function)

FOLLOWED = "followed"
NOT_FOLLOWED = "not followed"
BY_ARGUMENT = "by argument"  # followed if the argument `dereference` is true
LINK_TARGET = "link target"  # the content of a link that will be made at `path`

OPERATIONS: "dict[str, Function]" = {}
"""The operations by their names. Each takes the Call and the arguments of its request; its result may come piece by
piece."""
PATHS: "dict[str, Mapping[str, str]]" = {}
"""The path arguments of each operation."""


def operation(name: str, **paths: str) -> "Callable[[F], F]":
    """A decorator that registers a function as an operation. `paths` says of each argument with a path what is checked:
    FOLLOWED, NOT_FOLLOWED, BY_ARGUMENT or LINK_TARGET."""

    def register(function: "F") -> "F":
        OPERATIONS[name] = function
        PATHS[name] = paths
        return function

    return register


def take_paths(operation: str, arguments: "dict[str, Any]", boundary: Boundary) -> None:
    """Check the paths among an operation's arguments, and replace them by bytes. Raises Failure, Outside."""
    for field, kind in PATHS[operation].items():
        path = raw(arguments[field])
        if kind == LINK_TARGET:
            boundary.require(os.path.join(os.path.dirname(arguments["path"]), path), field)
            continue
        follow = kind == FOLLOWED or (kind == BY_ARGUMENT and arguments["dereference"])
        boundary.require(path, field, follow)
        arguments[field] = path
