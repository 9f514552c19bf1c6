"""Write the lock files: exact versions and hashes of all that is installed.

`requirements.lock` is what running takes, `requirements-dev.lock` is that and what the tests take. Versions that are
there are kept; `--upgrade` takes the newest that pyproject.toml allows. Needs nothing but Python and the package
registry.
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
LOCKS = {
    DEV: ("--all-extras",),
    "requirements.lock": ("--extra", "build", "--constraint", DEV),  # what was tested is what runs
}
HEADER = "# Written by `make lock`; deploy/install.py installs exactly these.\n"


def main() -> None:
    """Resolve anew what is not pinned yet; arguments are the resolver's own."""
    with tempfile.TemporaryDirectory() as directory:
        venv.create(directory, with_pip=True)
        python = str(Path(directory) / "bin" / "python")
        subprocess.run((python, "-m", "pip", "install", "--quiet", RESOLVER), check=True)
        for name, extras in LOCKS.items():
            _lock((python, "-m", "uv"), name, extras)


def _lock(resolver: tuple[str, ...], name: str, extras: tuple[str, ...]) -> None:
    command = (
        *resolver, "pip", "compile", "--quiet", "--universal", "--generate-hashes", "--no-header", "--no-annotate",
        "--python-version", "3.11", *extras, *sys.argv[1:], "--output-file", name, "pyproject.toml",
    )  # fmt: skip
    # No settings of this machine: they could end up in the file.
    environment = {key: value for key, value in os.environ.items() if key != "UV_CONFIG_FILE"}
    subprocess.run(command, check=True, cwd=TOP, env=environment, stdout=subprocess.DEVNULL)
    path = TOP / name
    path.write_text(HEADER + path.read_text().removeprefix(HEADER))


if __name__ == "__main__":
    main()
