"""What requests for links and checksums mean, and a checksum's progress as messages."""

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
    """What a link at `path` shall say, as it was given; InvalidArgument when that is outside of the filesystems."""
    target = text_in(request, "target")
    if not target:
        violation = "must not be empty"
        raise InvalidArgument(f"target {violation}", (Field("body", "target", violation),))
    checked_path(system.config, posixpath.join(posixpath.dirname(path), target), "target")
    return target


def algorithm_of(request: pb.ChecksumFileRequest) -> Algorithm:
    """How to compute the checksum; InvalidArgument for a number that this version does not know."""
    if request.algorithm == pb.ChecksumFileRequest.ALGORITHM_UNSPECIFIED:
        return _USUAL
    if request.algorithm not in _NUMBERS.values():
        violation = f"is none of {', '.join(Algorithm.__members__)}"
        raise InvalidArgument(f"algorithm {violation}", (Field("query", "algorithm", violation),))
    return Algorithm[_NUMBERS.Name(request.algorithm)]


def checksum_message(progress: Progress[str], algorithm: Algorithm) -> pb.FileProgress:
    """How far it is, or the checksum."""
    message = progress_message(progress)
    if progress.result is not None:
        message.checksum.algorithm = _NUMBERS.Value(algorithm.name)
        message.checksum.value = progress.result
    return message
