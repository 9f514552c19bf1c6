"""The FirecREST profile's file operations, called as Envoy's transcoder does."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc
from google.api.httpbody_pb2 import HttpBody

from passerelle.firecrest.v2 import filesystem_pb2 as pb
from passerelle.firecrest.v2 import filesystem_pb2_grpc as pb_grpc
from passerelle.runtime.headers import REST as REST_HEADER
from tests.unit.storage.world import METADATA

REST = (*METADATA, (REST_HEADER, "1"))


class Reply:
    """An HTTP reply as Envoy would make it: status, content type, body."""

    def __init__(self, status: int, kind: str, body: bytes) -> None:
        self.status = status
        self.kind = kind
        self.body = body

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)

    @property
    def output(self) -> Any:
        """What a successful reply carries."""
        assert self.status < 300, self.body
        return self.json["output"]

    @property
    def message(self) -> str:
        """What an error says."""
        return str(self.json["message"])


class Profile:
    """Calls the profile's methods as Envoy's transcoder does."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub: pb_grpc.FilesystemServiceAsyncStub = pb_grpc.FilesystemServiceStub(channel)

    async def get(self, method: str, path: object = None, **query: str) -> Reply:
        """A GET or DELETE method with a query of strings."""
        message = GETS[method](system=query.pop("system", "lab"), **query)
        if path is not None:
            message.path = str(path)
        return await _reply(getattr(self._stub, method)(message, metadata=REST))

    async def mkdir(self, body: bytes, kind: str = "application/json") -> Reply:
        """`MakeDirectory` with any body."""
        request = pb.BodyRequest(system="lab", body=HttpBody(content_type=kind, data=body))
        return await _reply(self._stub.MakeDirectory(request, metadata=REST))

    async def send(self, method: str, **body: Any) -> Reply:
        """A method with a JSON body."""
        request = pb.BodyRequest(
            system="lab",
            body=HttpBody(content_type="application/json", data=json.dumps(body).encode()),
        )
        return await _reply(getattr(self._stub, method)(request, metadata=REST))

    async def upload(self, path: object, kind: str, *chunks: bytes) -> Reply:
        """`Upload` with any body."""

        async def requests() -> AsyncIterator[pb.UploadRequest]:
            first = HttpBody(content_type=kind, data=chunks[0] if chunks else b"")
            yield pb.UploadRequest(system="lab", path=str(path), content=first)
            for chunk in chunks[1:]:
                yield pb.UploadRequest(content=HttpBody(data=chunk))

        return await _reply(self._stub.Upload(requests(), metadata=REST))

    async def upload_file(self, path: object, name: str, content: bytes, size: int = 7) -> Reply:
        """A form with one file, in chunks of `size` bytes."""
        body = form(name, content)
        chunks = [body[at : at + size] for at in range(0, len(body), size)]
        return await self.upload(path, FORM, *chunks)


GETS: Mapping[str, Any] = {
    "List": pb.ListRequest,
    "Stat": pb.StatRequest,
    "Head": pb.HeadRequest,
    "Tail": pb.TailRequest,
    "View": pb.ViewRequest,
    "Remove": pb.PathRequest,
    "Download": pb.PathRequest,
    "Checksum": pb.PathRequest,
    "FileType": pb.PathRequest,
}
"""The methods without a body, and their requests."""

FORM = "multipart/form-data; boundary=xXx"


def form(filename: str, content: bytes, field: str = "file") -> bytes:
    """A multipart form with one file."""
    head = f'--xXx\r\nContent-Disposition: form-data; name="{field}"; filename="{filename}"\r\n\r\n'
    return head.encode() + content + b"\r\n--xXx--\r\n"


async def _reply(call: Any) -> Reply:
    try:
        body = await call
        status = int(dict(await call.initial_metadata()).get("x-http-code", "200"))
        return Reply(status, body.content_type, body.data)
    except grpc.aio.AioRpcError as error:
        trailers = {item[0]: item[1] for item in error.trailing_metadata() or ()}  # type: ignore[index]
        body = str(trailers["x-error-body"]).encode()
        return Reply(int(trailers["x-http-code"]), "application/json", body)
