"""The OpenAPI document of all surfaces that are installed: what each has brought along, in one."""

import json
from collections.abc import Sequence
from functools import cache

from passerelle.gateway.openapi.schemas import Json
from passerelle.gateway.openapi.version_3_0 import rendition
from passerelle.runtime.surface import surfaces


@cache
def installed_documents() -> tuple[str, str]:
    """The document as JSON text, in versions 3.1 and 3.0."""
    # Several surfaces may bring the same document. That of the surface that has `/` is the first.
    texts = {one.openapi(): one for one in (surfaces().root, *surfaces())}
    document = joined([json.loads(text) for text in texts])
    return json.dumps(document), json.dumps(rendition(document))


def joined(documents: Sequence[Json]) -> Json:
    """One document with the tags, paths and schemas of all; all else is as in the first."""
    first = documents[0]
    schemas = {
        name: schema for one in documents for name, schema in one["components"]["schemas"].items()
    }
    return first | {
        "tags": [tag for one in documents for tag in one["tags"]],
        "paths": {path: verbs for one in documents for path, verbs in one["paths"].items()},
        "components": first["components"] | {"schemas": schemas},
    }
