"""The tree in which Envoy looks for the route of a request, made of a list in which the first match counts.

Envoy tries the routes of a list one after another, and does so twice for a REST request: when it arrives, and when the
transcoder has found its method. With the tree it first takes the longest literal beginning of a path, and tries only
the routes whose paths can begin with that.
"""

import re
from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]

_ANY = "type.googleapis.com/"
_PATH = {
    "name": "path",
    "typed_config": {
        "@type": f"{_ANY}envoy.type.matcher.v3.HttpRequestHeaderMatchInput",
        "header_name": ":path",
    },
}
# Where the literal beginning of a regular expression of `Binding.regex` ends: at a special character, not escaped.
_SPECIAL = re.compile(r"(?<!\\)[\[\]^$.*+?(){}|]")


def tree(routes: Sequence[Json]) -> Json:
    """The `matcher` of a virtual host (xds.type.matcher.v3.Matcher) that finds for every request what the list does."""
    beginnings = {beginning(route) for route in routes}
    leaves = {
        begins: _leaf([route for route in routes if _can_match(route, begins)])
        for begins in sorted(beginnings)
    }
    return {"matcher_tree": {"input": _PATH, "prefix_match_map": {"map": leaves}}}


def beginning(route: Json) -> str:
    """The literal text with which every path that a route matches begins."""
    match = route["match"]
    if "safe_regex" not in match:
        path: str = match.get("path") or match.get("prefix") or match["path_separated_prefix"]
        return path
    regex: str = match["safe_regex"]["regex"]
    text = _SPECIAL.split(regex, maxsplit=1)[0]
    if regex[len(text) : len(text) + 1] in ("?", "*", "{"):
        text = text[:-1]  # the last character may be missing
    return re.sub(r"\\(.)", r"\1", text)


def _can_match(route: Json, begins: str) -> bool:
    """Whether the route matches any path that begins so, and with no longer text of the tree."""
    if "path" in route["match"]:
        return bool(route["match"]["path"] == begins)
    return begins.startswith(beginning(route))


def _leaf(routes: Sequence[Json]) -> Json:
    return {
        "action": {
            "name": "routes",
            "typed_config": {
                "@type": f"{_ANY}envoy.config.route.v3.RouteList",
                "routes": routes,
            },
        }
    }
