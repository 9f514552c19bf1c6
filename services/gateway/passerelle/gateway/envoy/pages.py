"""The pages that Envoy serves itself: the OpenAPI documents, and a page to read and try them, from local files."""

from importlib.resources import files
from pathlib import Path

from passerelle.gateway.envoy.replies import Json
from passerelle.gateway.envoy.routes import front, page

_DOCUMENTATION = "/docs"
_OPENAPI = "/openapi.json"
_OPENAPI_3_0 = "/openapi-3.0.json"  # for the generators that read no 3.1

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}


def pages() -> list[Json]:
    """The routes of `/`, the OpenAPI documents, `/docs` and its assets."""
    docs = Path(str(files(__package__))) / "docs"
    contracts = Path(str(files("passerelle.v1").joinpath("openapi.json"))).parent
    served = {
        **{path: contracts / path.lstrip("/") for path in (_OPENAPI, _OPENAPI_3_0)},
        _DOCUMENTATION: docs / "index.html",
        **{
            f"{_DOCUMENTATION}/{file.name}": file
            for file in sorted(docs.iterdir())
            if file.suffix in _TYPES
        },
    }
    groups = (page(path, file, _TYPES[file.suffix]) for path, file in served.items())
    return [*front(_DOCUMENTATION, _OPENAPI), *(route for routes in groups for route in routes)]
