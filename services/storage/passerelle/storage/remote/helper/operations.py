"""The table of the helper's operations."""

from passerelle.storage.remote.changing.changes import make_directory
from passerelle.storage.remote.changing.packing import (
    pack_source,
    place_tree,
    unpack_source,
    unpack_target,
)
from passerelle.storage.remote.changing.parts import (
    make_part,
    remove_part,
    truncate_part,
    write_part,
)
from passerelle.storage.remote.changing.placing import begin_part, place_part, write_target
from passerelle.storage.remote.changing.removal import remove
from passerelle.storage.remote.changing.trees import copy, move
from passerelle.storage.remote.reading.attributes import make_symlink, run_program
from passerelle.storage.remote.reading.checksums import checksum_file
from passerelle.storage.remote.reading.content import excerpt, hold_file, read_file
from passerelle.storage.remote.reading.listing import list_files
from passerelle.storage.remote.reading.usage import measure, quota
from passerelle.storage.remote.reading.walking import walk
from passerelle.storage.remote.rows import stat_file, stat_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OPERATIONS: "dict[str, Callable[..., bytes | Iterator[bytes]]]" = {
    "stat": stat_file,
    "stat_many": stat_files,
    "list": list_files,
    "table": list_files,
    "walk": walk,
    "read": read_file,
    "hold": hold_file,
    "excerpt": excerpt,
    "make_directory": make_directory,
    "remove": remove,
    "copy": copy,
    "move": move,
    "measure": measure,
    "quota": quota,
    "make_symlink": make_symlink,
    "run_program": run_program,
    "checksum": checksum_file,
    "write_target": write_target,
    "begin_part": begin_part,
    "make_part": make_part,
    "write_part": write_part,
    "truncate_part": truncate_part,
    "remove_part": remove_part,
    "place_part": place_part,
    "pack_source": pack_source,
    "unpack_source": unpack_source,
    "unpack_target": unpack_target,
    "place_tree": place_tree,
}
"""Functions by the operation's name in requests. Each takes the Call and the arguments of the request, and returns
its result, or yields it in pieces."""
