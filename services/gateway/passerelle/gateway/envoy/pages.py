"""The pages that Envoy serves itself: the OpenAPI documents, and a page to read and try them, from local files."""

from importlib.resources import files
from pathlib import Path

from passerelle.gateway.envoy.replies import Json
from passerelle.gateway.envoy.routes import front, page
from passerelle.gateway.openapi.installed import installed_documents

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
    """The routes of `/`, the OpenAPI documents of all surfaces, `/docs` and its assets."""
    assets = sorted((Path(str(files(__package__))) / "docs").iterdir())
    places = {
        file: _DOCUMENTATION if file.name == "index.html" else f"{_DOCUMENTATION}/{file.name}"
        for file in assets
        if file.suffix in _TYPES
    }
    groups = [
        *(
            page(path, {"inline_string": text}, _TYPES[".json"], len(text))
            for path, text in zip((_OPENAPI, _OPENAPI_3_0), installed_documents(), strict=True)
        ),
        *(
            page(path, {"filename": str(file)}, _TYPES[file.suffix], file.stat().st_size)
            for file, path in places.items()
        ),
    ]
    return [*front(_DOCUMENTATION, _OPENAPI), *(route for routes in groups for route in routes)]
