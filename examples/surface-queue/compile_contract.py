"""Makes stubs, descriptor set and OpenAPI document from the contract: `python compile_contract.py FOLDER`.

`FOLDER` is Passerelle's `proto`.
"""

import json
import sys
from importlib.resources import files
from pathlib import Path

import google.api
from grpc_tools import protoc

from passerelle.gateway.openapi.document import document_of

HERE = Path(__file__).parent
PACKAGE = HERE / "passerelle_queue"
CONTRACT = "passerelle_queue/queue.proto"


def main(protos: Path) -> int:
    """Run protoc, and write the document."""
    googleapis = Path(next(iter(google.api.__path__))).parents[1]
    roots = (HERE, protos, googleapis, files("grpc_tools") / "_proto")
    status: int = protoc.main(
        [
            "protoc",
            *(f"-I{root}" for root in roots),
            f"--python_out={HERE}",
            f"--grpc_python_out={HERE}",
            "--include_imports",
            "--include_source_info",
            f"--descriptor_set_out={PACKAGE / 'descriptors.pb'}",
            CONTRACT,
        ]
    )
    if status == 0:
        from passerelle_queue.surface import Queue

        (PACKAGE / "openapi.json").write_text(json.dumps(document_of([Queue()]), indent=1))
    return status


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
