"""Where requests point: a system, and a path on it."""

from collections.abc import Mapping
from dataclasses import dataclass

from passerelle.runtime.config.site import System
from passerelle.runtime.errors import NotFound
from passerelle.storage.errors import FileError, Outside
from passerelle.storage.files.archives import Archives
from passerelle.storage.files.attributes import Attributes
from passerelle.storage.files.checksums import Checksums
from passerelle.storage.files.port import Files
from passerelle.storage.files.tarballs import Tarballs
from passerelle.storage.files.trees import Trees
from passerelle.storage.files.uploads import Uploads
from passerelle.storage.jobs.port import TransferJobs
from passerelle.storage.staging.staged import StagedTransfers


@dataclass(frozen=True)
class Place:
    """A system, and what can be done there."""

    system: System
    files: Files
    attributes: Attributes
    checksums: Checksums
    uploads: Uploads
    archives: Archives
    tarballs: Tarballs
    trees: Trees
    jobs: TransferJobs
    staging: StagedTransfers


Places = Mapping[str, Place]
"""The places by system name."""


def place_of(places: Places, system: str) -> Place:
    """The place of that name, for a request of the current caller; raises NotFound."""
    if system not in places:
        raise NotFound("System not found", system=system)
    places[system].staging.resume()
    return places[system]


async def demand_inside(place: Place, path: str, *, follow: bool, field: str = "path") -> None:
    """Raise Outside when links on the way to `path`, which need not exist, lead out of the filesystems.

    `follow`: also those that the path itself is. For what is then done by a job; operations look by themselves.
    """
    if not place.system.check_links:
        return
    try:
        await place.files.stat(path, dereference=follow)
    except Outside:
        raise Outside(field, path, place.system.name) from None
    except FileError:  # the job will tell
        return
