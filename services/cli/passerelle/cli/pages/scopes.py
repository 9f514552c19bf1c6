"""`docs/scopes.md`: every scope and the methods that it opens, made from the contracts."""

from collections.abc import Iterable, Sequence
from itertools import groupby

from passerelle.gateway.contracts import Method, methods
from passerelle.gateway.directory.checks import CHECKS

_INTRODUCTION = """\
# Scopes

With `auth.enforce_scopes: true` a call is answered only when its token carries the scope that the method requires: in
the claim `scope` (RFC 9068) or `scp`, as a list or as words in one text. Which systems a caller may use is another
question: the configured authorizer (`auth.authorizer`) is asked for the relation to the system.

| for | scopes |
|---|---|
| a client that uses everything | {all} |
| looking only | {reading} |
| the health checks' account (`probing.service_account`) | {probing} |

The profile's transfers (`/filesystem/{{system}}/transfer/...`) run as jobs, submitted in the caller's name: they
take `compute.read` and `compute.write` besides their own scope.

*This page is generated from the contracts: `passerelle config scopes > docs/scopes.md`.*
"""

_PROBED = {check.method.name for check in CHECKS}
"""The methods that the health checks call."""


def scopes_page() -> str:
    """The whole page, in Markdown: a table for every scope."""
    public = [method for method in methods() if method.public]
    demanding = sorted((method for method in public if method.scope), key=_order)
    names = sorted({method.scope for method in demanding})
    introduction = _INTRODUCTION.format(
        all=_listed(names),
        reading=_listed([name for name in names if name.endswith(".read")]),
        probing=_listed(sorted({m.scope for m in demanding if m.name in _PROBED})),
    )
    by_scope = {
        f"`{name}`": list(group) for name, group in groupby(demanding, key=lambda m: m.scope)
    }
    others = [method for method in public if not method.scope]
    tables = by_scope | {
        "With any valid token": [method for method in others if not method.anyone],
        "Without a token": [method for method in others if method.anyone],
    }
    return "\n".join([introduction, *(_table(*pair) for pair in tables.items())])


def _order(method: Method) -> tuple[str, bool, str]:
    return method.scope, method.surface.is_root, method.path


def _listed(names: Sequence[str]) -> str:
    return " ".join(f"`{name}`" for name in names)


def _table(heading: str, opened: Iterable[Method]) -> str:
    head = f"## {heading}\n\n| over REST | over gRPC | relation |\n|---|---|---|\n"
    return head + "".join(map(_row, opened))


def _row(method: Method) -> str:
    rest = "<br>".join(f"`{binding.verb} {binding.template}`" for binding in method.bindings)
    relations = [f"`{method.relation}`"] if method.relation else []
    relations += [f"`{relation}` on `{field}`" for field, relation in method.also]
    return f"| {rest} | `{method.path.lstrip('/')}` | {', '.join(relations)} |\n"
