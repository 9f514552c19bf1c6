"""The pages that Envoy serves itself: the OpenAPI document, and a page to read it and try it, from local files only."""

from importlib.resources import files
from pathlib import Path

from passerelle.gateway.envoy.replies import Json
from passerelle.gateway.envoy.routes import front, page

_DOCUMENTATION = "/docs"
_OPENAPI = "/openapi.json"

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}


def pages() -> list[Json]:
    """The routes of `/`, `/openapi.json`, `/docs` and its assets."""
    docs = Path(str(files(__package__))) / "docs"
    served = {
        _OPENAPI: Path(str(files("passerelle.v1").joinpath("openapi.json"))),
        _DOCUMENTATION: docs / "index.html",
        **{
            f"{_DOCUMENTATION}/{file.name}": file
            for file in sorted(docs.iterdir())
            if file.suffix in _TYPES
        },
    }
    groups = (page(path, file, _TYPES[file.suffix]) for path, file in served.items())
    return [*front(_DOCUMENTATION, _OPENAPI), *(route for routes in groups for route in routes)]
