"""The recipes of CONTRIBUTING.md: no kind of change touches more than four files of the product."""

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()
ROWS = [
    line.strip("| ").split(" | ")
    for line in PAGE.partition("## Recipes\n")[2].partition("\n## ")[0].splitlines()
    if line.startswith("| ") and not line.startswith("| to add")
]
MOST_FILES = 4


def test_there_are_recipes() -> None:
    assert len(ROWS) > 20


@pytest.mark.parametrize(("change", "places"), ROWS, ids=[change for change, _ in ROWS])
def test_a_change_touches_few_files(change: str, places: str) -> None:
    assert re.search("`[^`]+`|the same|as an RPC|the contract", places), change
    assert len(set(re.findall(r"`([\w/]+\.(?:py|proto))`", places))) <= MOST_FILES
