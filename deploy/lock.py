"""Write the lock files: exact versions and hashes of all that is installed.

`requirements.lock` is what running takes, `requirements-dev.lock` is that and what the tests take; each lock in
`tests/clients` is one version of a client of the field, with what it needs. Versions that are there are kept;
`--upgrade` takes the newest that is allowed. Needs nothing but Python and the package registry.
"""

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
RESOLVER = "uv==0.13.9"
DEV = "requirements-dev.lock"
OWN = "passerelle-client"  # built from proto/, beside the server
LOCKS = {
    DEV: ("--all-extras", "pyproject.toml"),
    # What was tested is what runs.
    "requirements.lock": ("--extra", "build", "--constraint", DEV, "pyproject.toml"),
    "tests/clients/passerelle-client.lock": ("--constraint", DEV, "proto/pyproject.toml"),
}
CLIENTS = (
    "firecrest-executor==0.3.1",
    "openapi-python-client==0.29.1",
    "pyfirecrest==3.0.1",
    "pyfirecrest==3.6.0",
    "pyfirecrest==3.7.0",
    "pyfirecrest==3.8.1",
)
HEADER = "# Written by `make lock`; exactly these are installed.\n"


def main() -> None:
    """Resolve anew what is not pinned yet; arguments are the resolver's own."""
    with tempfile.TemporaryDirectory() as directory:
        venv.create(directory, with_pip=True)
        python = str(Path(directory) / "bin" / "python")
        subprocess.run((python, "-m", "pip", "install", "--quiet", RESOLVER), check=True)
        resolver = (python, "-m", "uv")
        for name, arguments in LOCKS.items():
            _lock(resolver, name, arguments)
        for client in CLIENTS:
            name = f"tests/clients/{client.replace('==', '-')}.lock"
            _lock(resolver, name, ("-",), client)


def _lock(
    resolver: tuple[str, ...], name: str, arguments: tuple[str, ...], asked: str | None = None
) -> None:
    command = (
        *resolver, "pip", "compile", "--quiet", "--universal", "--generate-hashes", "--no-header", "--no-annotate",
        "--python-version", "3.11", "--no-emit-package", OWN, *sys.argv[1:], "--output-file", name, *arguments,
    )  # fmt: skip
    # No settings of this machine: they could end up in the file.
    environment = {key: value for key, value in os.environ.items() if key != "UV_CONFIG_FILE"}
    subprocess.run(
        command,
        check=True,
        cwd=TOP,
        env=environment,
        stdout=subprocess.DEVNULL,
        input=asked,
        text=True,
    )
    path = TOP / name
    path.write_text(HEADER + path.read_text().removeprefix(HEADER))


if __name__ == "__main__":
    main()
