"""Makes the stubs and descriptor set from the contract: `python compile_contract.py FOLDER`, Passerelle's `proto`."""

import sys
from importlib.resources import files
from pathlib import Path

import google.api
from grpc_tools import protoc

HERE = Path(__file__).parent
CONTRACT = "passerelle_queue/queue.proto"


def main(protos: Path) -> int:
    """Run protoc; `protos` is Passerelle's folder `proto`."""
    googleapis = Path(next(iter(google.api.__path__))).parents[1]
    roots = (HERE, protos, googleapis, files("grpc_tools") / "_proto")
    descriptors = HERE / "passerelle_queue" / "descriptors.pb"
    status: int = protoc.main(
        [
            "protoc",
            *(f"-I{root}" for root in roots),
            f"--python_out={HERE}",
            f"--grpc_python_out={HERE}",
            "--include_imports",
            f"--descriptor_set_out={descriptors}",
            CONTRACT,
        ]
    )
    return status


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
