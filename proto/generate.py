"""Generates stubs, the descriptor set and the OpenAPI documents from the contracts: `python proto/generate.py [OUT]`.

`OUT` defaults to `proto/gen`; a test generates into an empty directory and compares.
"""

import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import google.api
from grpc_tools import protoc

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent


def generate(out: Path) -> None:
    """Write the Python stubs, `descriptors.pb` and OpenAPI documents of all contracts below `out`."""
    shutil.rmtree(out / "passerelle", ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    protos = sorted(str(path) for path in (HERE / "passerelle").rglob("*.proto"))
    descriptors = out / "passerelle" / "v1" / "descriptors.pb"
    descriptors.parent.mkdir(parents=True)
    _protoc(
        [
            f"--python_out={out}",
            f"--mypy_out={out}",
            f"--grpc_python_out={out}",
            f"--mypy_grpc_out={out}",
            f"--descriptor_set_out={descriptors}",
            "--include_imports",
            "--include_source_info",
            *(
                f"--plugin={name}={BIN / name}"
                for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")
            ),
            *protos,
        ]
    )
    # In a process of its own: it imports what was just made, and the services' models.
    subprocess.run([sys.executable, HERE / "openapi.py", out], check=True)
    for package in {Path(path).parent.relative_to(HERE) for path in protos}:
        (out / package / "py.typed").touch()


def _protoc(arguments: list[str]) -> None:
    googleapis = Path(next(iter(google.api.__path__))).parents[1]
    well_known = files("grpc_tools") / "_proto"
    status = protoc.main(["protoc", f"-I{HERE}", f"-I{googleapis}", f"-I{well_known}", *arguments])
    if status:
        raise SystemExit(status)


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "gen")
