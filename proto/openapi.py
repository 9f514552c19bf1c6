"""Writes the OpenAPI document of our own surfaces beside their descriptor set: `python proto/openapi.py OUT`.

The stubs and the descriptor set have to be in `OUT` already.
"""

import json
import sys
from pathlib import Path

from passerelle.gateway.openapi.document import document_of
from passerelle.runtime.surface import surfaces

PACKAGE = "passerelle.v1"


def main(out: Path) -> None:
    """Write `openapi.json` for the surfaces whose contracts are here."""
    document = document_of([one for one in surfaces() if one.descriptors == PACKAGE])
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    out.joinpath(*PACKAGE.split("."), "openapi.json").write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
