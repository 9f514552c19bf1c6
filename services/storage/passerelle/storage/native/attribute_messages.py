"""Conversion of requests for links and checksums, and of a checksum's progress to messages."""

import posixpath

from passerelle.runtime.errors import Field, InvalidArgument
from passerelle.storage.files.checksums import Algorithm
from passerelle.storage.native.file_messages import progress_message, text_in
from passerelle.storage.paths import checked_path
from passerelle.storage.systems import SystemContext
from passerelle.storage.values import Progress
from passerelle.v1 import storage_pb2 as pb

_NUMBERS = pb.ChecksumFileRequest.Algorithm
_USUAL = Algorithm.SHA256


def link_target(system: SystemContext, path: str, request: pb.CreateSymlinkRequest) -> str:
    """The requested target of a link at `path`. Raises InvalidArgument when it is outside of the filesystems."""
    target = text_in(request, "target")
    if not target:
        violation = "must not be empty"
        raise InvalidArgument(f"target {violation}", (Field("body", "target", violation),))
    checked_path(system.config, posixpath.join(posixpath.dirname(path), target), "target")
    return target


def algorithm_of(request: pb.ChecksumFileRequest) -> Algorithm:
    """The requested algorithm. Raises InvalidArgument for a number that this version does not know."""
    if request.algorithm == pb.ChecksumFileRequest.ALGORITHM_UNSPECIFIED:
        return _USUAL
    if request.algorithm not in _NUMBERS.values():
        violation = f"is none of {', '.join(Algorithm.__members__)}"
        raise InvalidArgument(f"algorithm {violation}", (Field("query", "algorithm", violation),))
    return Algorithm[_NUMBERS.Name(request.algorithm)]


def checksum_message(progress: Progress[str], algorithm: Algorithm) -> pb.FileProgress:
    """The progress, or the checksum at its end."""
    message = progress_message(progress)
    if progress.result is not None:
        message.checksum.algorithm = _NUMBERS.Value(algorithm.name)
        message.checksum.value = progress.result
    return message
