"""The picture of a comparison, as SVG: for each operation and number of clients, calls per second of each side.

python -m bench.comparison.picture dist/bench.json docs/performance.svg
"""

import json
import math
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

_COLOURS = {"floor": "#8a8f98", "rival": "#d9822b", "ours": "#1f6feb"}
_NAMES = {"floor": "bare asyncssh", "rival": "rival", "ours": "Passerelle"}
_LEFT, _WIDTH, _RIGHT = 110, 520, 90
_ROW, _HEAD, _GAP = 22, 44, 16
_STYLE = "text{font:13px sans-serif;fill:#57606a}.title{font-weight:bold}.grid{stroke:#d0d7de}"

Rates = Mapping[str, float]
"""Calls per second by the names of the sides."""


def drawn(result: Mapping[str, Any]) -> str:
    """The picture of what `report.document` wrote: one panel for each number of clients, of the fewest users."""
    users = min(cell["users"] for cell in result["cells"])
    panels: dict[int, dict[str, Rates]] = {}
    for cell in result["cells"]:
        if cell["users"] == users:
            panels.setdefault(cell["clients"], {})[cell["operation"]] = _rates(cell["samples"])
    rates = [rate for rows in panels.values() for sides in rows.values() for rate in sides.values()]
    scale = _Scale(min(rates, default=1), max(rates, default=10))
    body, top = list[str](), 30
    for clients, rows in sorted(panels.items()):
        body += _panel(f"{clients} client{'s' * (clients > 1)}", rows, scale, top)
        top += _HEAD + _ROW * len(rows) + _GAP
    width = _LEFT + _WIDTH + _RIGHT
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {top}" width="{width}" height="{top}">',
            f"<style>{_STYLE}</style>",
            f'<rect width="{width}" height="{top}" fill="#ffffff"/>',
            *_legend(
                {side for rows in panels.values() for sides in rows.values() for side in sides}
            ),
            *body,
            "</svg>\n",
        )
    )


class _Scale:
    """A logarithmic axis of calls per second, from one power of ten to another."""

    def __init__(self, least: float, most: float) -> None:
        self._first = math.floor(math.log10(least))
        self._last = max(math.ceil(math.log10(most)), self._first + 1)

    def x(self, rate: float) -> float:
        """Where a rate lies, in pixels."""
        part = (math.log10(rate) - self._first) / (self._last - self._first)
        return _LEFT + part * _WIDTH

    def powers(self) -> Iterator[int]:
        """The powers of ten on the axis."""
        yield from range(self._first, self._last + 1)


def _rates(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> Rates:
    """Medians over the rounds, of the sides that answered every call 2xx."""
    return {
        side: statistics.median(sample["calls_per_second"] for sample in rounds)
        for side, rounds in samples.items()
        if all(outcome.startswith("2") for sample in rounds for outcome in sample["outcomes"])
    }


def _panel(title: str, rows: Mapping[str, Rates], scale: _Scale, top: int) -> Iterator[str]:
    bottom = top + _HEAD + _ROW * len(rows)
    yield _text(10, top + 16, f"{title}, calls per second", "title")
    for exponent in scale.powers():
        x = scale.x(10.0**exponent)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top + 40}" y2="{bottom}"/>'
        yield _text(x, top + 34, f"{10**exponent:g}", anchor="middle")
    for number, (operation, sides) in enumerate(rows.items()):
        yield from _row(operation, sides, scale, top + _HEAD + _ROW * number + _ROW // 2)


def _row(operation: str, sides: Rates, scale: _Scale, y: int) -> Iterator[str]:
    """A line from the slowest side to the fastest, a dot for each, and our ratio to the rival."""
    yield _text(_LEFT - 12, y + 4, operation, anchor="end")
    if not sides:
        return
    first, last = scale.x(min(sides.values())), scale.x(max(sides.values()))
    yield f'<line x1="{first:.1f}" x2="{last:.1f}" y1="{y}" y2="{y}" stroke="#d0d7de" stroke-width="4"/>'
    for side in _COLOURS:
        if side in sides:
            yield f'<circle cx="{scale.x(sides[side]):.1f}" cy="{y}" r="6" fill="{_COLOURS[side]}"/>'
    if {"ours", "rival"} <= sides.keys():
        yield _text(_LEFT + _WIDTH + 12, y + 4, f"{sides['ours'] / sides['rival']:.1f} times")


def _legend(sides: set[str]) -> Iterator[str]:
    for number, side in enumerate(side for side in _COLOURS if side in sides):
        x = _LEFT + 150 * number
        yield f'<circle cx="{x}" cy="16" r="6" fill="{_COLOURS[side]}"/>'
        yield _text(x + 12, 20, _NAMES[side])


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>'
    )


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(drawn(json.loads(Path(sys.argv[1]).read_text())))
