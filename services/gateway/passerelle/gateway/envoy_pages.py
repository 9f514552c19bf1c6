"""The pages that Envoy serves itself: the OpenAPI document, and a page to read it and try it, from local files only."""

from importlib.resources import files
from pathlib import Path

from passerelle.gateway.envoy_replies import Json
from passerelle.gateway.envoy_routes import page

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}


def pages() -> list[Json]:
    """The routes of `/openapi.json`, `/docs` and its assets."""
    docs = Path(str(files("passerelle.gateway"))) / "docs"
    served = {
        "/openapi.json": Path(str(files("passerelle.v1").joinpath("openapi.json"))),
        "/docs": docs / "index.html",
        **{f"/docs/{file.name}": file for file in sorted(docs.iterdir()) if file.suffix in _TYPES},
    }
    return [
        route for path, file in served.items() for route in page(path, file, _TYPES[file.suffix])
    ]
