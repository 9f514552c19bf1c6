"""The lines that are logged inside a block, as an operator's tools read them."""

import io
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from passerelle.runtime.pipeline.log_lines import JsonLine

Lines = Callable[[], list[dict[str, Any]]]


@contextmanager
def logged_lines() -> Iterator[Lines]:
    """All lines from INFO on; yields what has been logged so far, when it is called."""
    root, text = logging.getLogger(), io.StringIO()
    handler, level = logging.StreamHandler(text), root.level
    handler.setFormatter(JsonLine("test"))
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield lambda: [json.loads(line) for line in text.getvalue().splitlines()]
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
