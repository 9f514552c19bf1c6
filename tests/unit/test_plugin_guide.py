"""docs/plugins.md quotes the example packages as they are; `make docs` writes them anew."""

import re
from pathlib import Path

REPO = Path(__file__).parents[2]
PAGE = REPO / "docs" / "plugins.md"
QUOTE = re.compile(r"^(`(examples/\S+)`:\n\n```\w+\n)(.*?)^```$", re.M | re.S)


def with_quotes() -> str:
    """The page with the newest text of each file that it quotes: a block below the file's name."""
    return QUOTE.sub(
        lambda match: f"{match[1]}{(REPO / match[2]).read_text()}```", PAGE.read_text()
    )


def test_the_guide_quotes_the_examples() -> None:
    assert "examples/staging-webdav/passerelle_webdav/method.py" in [
        match[2] for match in QUOTE.finditer(PAGE.read_text())
    ]
    assert PAGE.read_text() == with_quotes(), "run `make docs`"


if __name__ == "__main__":
    PAGE.write_text(with_quotes())
