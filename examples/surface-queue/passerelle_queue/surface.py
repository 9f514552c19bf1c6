"""The registration of the queue's API: its errors are problem details (RFC 9457)."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import grpc

from passerelle.runtime.errors import ApiError, NotFound
from passerelle.runtime.surface import Surface


class Queue(Surface):
    """`/queue` and `queue.v1`."""

    name = "queue"
    packages = ("queue.v1",)
    prefixes = ("/queue/",)
    descriptors = "passerelle_queue"
    title = "Queue"
    schema_prefix = "queue."
    statuses: ClassVar[Mapping[str, int]] = {"BACKEND_UNAVAILABLE": 502}
    replaced: ClassVar[Mapping[str, Callable[[ApiError], ApiError]]] = {
        "FORBIDDEN": lambda error: NotFound("There is nothing of that name."),
    }
    reply_headers: ClassVar[Mapping[str, str]] = {"queue-version": "1"}

    def body(self, error: ApiError, *, status: int, user: str | None) -> Mapping[str, Any]:
        """The members `type`, `title`, `status` and `detail` of a problem."""
        problem = f"urn:problem:{error.reason.lower().replace('_', '-')}"
        title = error.code.name.replace("_", " ").capitalize()
        return {"type": problem, "title": title, "status": status, "detail": error.detail}

    def serve(self, process: str, server: grpc.aio.Server, parts: Any) -> None:
        """The servicer, in `compute`, whose parts are the schedulers by system."""
        if process == "compute":
            from passerelle_queue import servicer

            servicer.add(server, parts)
