"""A store's address behind which faults happen: a proxy in front of a real MinIO."""

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Exchange:
    """A request and, once the store has replied, its answer; a fault changes them."""

    method: str
    path: str
    """With its query."""
    body: bytes
    status: int = 0
    answer: bytes = b""
    headers: list[tuple[str, str]] = field(default_factory=list)
    cut_off: bool = False
    """Close the connection in the middle of the answer."""

    @property
    def kind(self) -> str:
        """The kind of request: part, content, complete, or the HTTP method of any other."""
        if "uploadId=" in self.path:
            return {"PUT": "part", "POST": "complete"}.get(self.method, self.method)
        of_object = self.path.partition("?")[0].count("/") > 1
        return "content" if self.method == "GET" and of_object else self.method


Fault = Callable[[Exchange], None]


@dataclass
class Faults:
    """The faults to inject, each once: into requests to the store, and into its answers."""

    url: str
    before: list[tuple[str, Fault]] = field(default_factory=list)
    """Faults before the store gets a request, by kind; one that sets a status replaces the store's answer."""
    after: list[tuple[str, Fault]] = field(default_factory=list)
    """Faults in the store's answers, by kind."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def happen(self, faults: list[tuple[str, Fault]], exchange: Exchange) -> None:
        """The first fault that is for this kind of request."""
        with self._lock:
            result = next((one for one in faults if one[0] == exchange.kind), None)
            if result:
                faults.remove(result)
        if result:
            result[1](exchange)


@contextmanager
def in_front_of(host: str) -> Iterator[Faults]:
    """A proxy of its own before the store at `host`."""

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            exchange = Exchange(str(self.command), self.path, self.rfile.read(length))
            faults.happen(faults.before, exchange)
            if not exchange.status:
                self._ask(exchange)
                faults.happen(faults.after, exchange)
            self._reply(exchange)

        def _ask(self, exchange: Exchange) -> None:
            connection = http.client.HTTPConnection(host, timeout=60)
            connection.request(exchange.method, self.path, exchange.body, dict(self.headers))
            response = connection.getresponse()
            exchange.status, exchange.answer = response.status, response.read()
            exchange.headers = [
                pair for pair in response.getheaders() if pair[0] not in ("Connection", "Date")
            ]
            connection.close()

        def _reply(self, exchange: Exchange) -> None:
            self.close_connection = True
            if exchange.cut_off and not exchange.answer:
                return
            self.send_response(exchange.status)
            for name, value in exchange.headers:
                self.send_header(name, value)
            self.send_header("Connection", "close")
            self.end_headers()
            whole = exchange.answer
            self.wfile.write(whole[: len(whole) // 2] if exchange.cut_off else whole)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    server.daemon_threads = True
    faults = Faults(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.1,))
    thread.start()
    try:
        yield faults
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
