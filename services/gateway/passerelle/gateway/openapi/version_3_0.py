"""The OpenAPI document in version 3.0, for the generators that read no 3.1.

What differs in the parts that our document uses: https://spec.openapis.org/oas/v3.0.4, "Schema Object", against 3.1.
"""

from typing import Any

Json = dict[str, Any]

_NULL: Json = {"type": "null"}


def rendition(document: Json) -> Json:
    """A document of OpenAPI 3.1 as one of 3.0 that says the same."""
    license_name = document["info"]["license"]["name"]
    info = document["info"] | {"license": {"name": license_name}}
    return {**_converted(document), "openapi": "3.0.3", "info": info}


def _converted(node: Any) -> Any:
    if isinstance(node, list):
        return [_converted(item) for item in node]
    if not isinstance(node, dict):
        return node
    return _schema({key: _converted(value) for key, value in node.items()})


def _schema(node: Json) -> Json:
    """A node whose parts are converted. What is no schema has none of these keys, or has them with other types."""
    node = _without_null(node)
    for bound in ("Minimum", "Maximum"):
        limit = node.get(f"exclusive{bound}")
        if isinstance(limit, int | float) and not isinstance(limit, bool):
            node = node | {bound.lower(): limit, f"exclusive{bound}": True}
    if isinstance(node.get("const"), str):
        node = _renamed(node, "const", "enum", [node["const"]])
    if isinstance(node.get("examples"), list):
        node = _renamed(node, "examples", "example", node["examples"][0])
    if isinstance(node.get("$ref"), str) and len(node) > 1:  # in 3.0 all keys beside it are ignored
        node = _renamed(node, "$ref", "allOf", [{"$ref": node["$ref"]}])
    return node


def _without_null(node: Json) -> Json:
    """`nullable` for null among the types, or among the alternatives."""
    if isinstance(kinds := node.get("type"), list):
        [kind] = [kind for kind in kinds if kind != "null"]
        return node | {"type": kind, "nullable": True}
    if isinstance(alternatives := node.get("anyOf"), list) and _NULL in alternatives:
        others = [other for other in alternatives if other != _NULL]
        if len(others) > 1:
            return node | {"anyOf": others, "nullable": True}
        [other] = others
        rest = {key: value for key, value in node.items() if key != "anyOf"}
        if "$ref" in other:
            return rest | {"allOf": [other], "nullable": True}
        return {**other, **rest, "nullable": True}
    return node


def _renamed(node: Json, old: str, new: str, value: Any) -> Json:
    return {new if key == old else key: value if key == old else said for key, said in node.items()}
