"""Directories of these tests on the system."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from firecrest.v2 import Firecrest

from tests.clients.pyfirecrest_run import Site


@contextmanager
def new_directory(site: Site, owner: Firecrest) -> Iterator[str]:
    """A new, empty directory on the system; a test may remove it."""
    path = f"{site.directory}/passerelle-{uuid.uuid4()}"
    owner.mkdir(site.system, path)
    try:
        yield path
    finally:
        names = [entry["name"] for entry in owner.list_files(site.system, site.directory)]
        if path.rpartition("/")[2] in names:
            owner.rm(site.system, path)
