"""A plain HTTP server of a site, as the staging method of examples/staging-webdav uses one."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class FileServer:
    """A running server: its files are in `directory`; `requests` are the methods and paths of its requests."""

    url: str
    directory: Path
    requests: list[tuple[str, str]] = field(default_factory=list)

    def files(self) -> list[Path]:
        """Its present content."""
        return sorted(self.directory.iterdir())


class _Handler(BaseHTTPRequestHandler):
    """PUT, GET and DELETE of files; a file is there when it is whole."""

    files: FileServer
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        part = self._path().with_suffix(".part")
        with part.open("wb") as file:
            left = int(self.headers["Content-Length"])
            while left:
                block = self.rfile.read(min(1 << 20, left))
                if not block:
                    part.unlink()
                    return
                left -= file.write(block)
        part.rename(self._path())
        self._answer(201)

    def do_GET(self) -> None:
        if not self._path().exists():
            self._answer(404)
            return
        with self._path().open("rb") as file:
            self._answer(200, self._path().stat().st_size)
            shutil.copyfileobj(file, self.wfile)

    def do_DELETE(self) -> None:
        there = self._path().exists()
        self._path().unlink(missing_ok=True)
        self._answer(204 if there else 404)

    def _path(self) -> Path:
        return self.files.directory / Path(self.path).name

    def _answer(self, status: int, length: int = 0) -> None:
        self.files.requests.append((self.command, self.path))
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def file_server(directory: Path) -> Iterator[FileServer]:
    """The server on loopback, inside the block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server_of_files = FileServer(f"http://127.0.0.1:{server.server_address[1]}/staging", directory)
    server.RequestHandlerClass = type("Handler", (_Handler,), {"files": server_of_files})
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server_of_files
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
