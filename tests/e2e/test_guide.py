"""Every command of docs/data.md works, in its order, on the embedded system."""

import os
import subprocess
from pathlib import Path

from tests.e2e.target import Target

GUIDE = Path(__file__).parents[2] / "docs" / "data.md"


def commands() -> list[str]:
    """The guide's commands; those marked `# setup` are made by the test."""
    lines = [line[2:] for line in GUIDE.read_text().splitlines() if line.startswith("$ ")]
    return [line for line in lines if not line.endswith("# setup")]


def test_every_command_of_the_guide_works(local_target: Target, tmp_path: Path) -> None:
    work = tmp_path / "with a space"
    work.mkdir()
    run = subprocess.run(
        ("bash", "-v"),
        input="\n".join(("set -euo pipefail", *commands())),
        env={
            **os.environ,
            "BASE": local_target.base_url,
            "TOKEN": local_target.token(),
            "W": str(work),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, f"{run.stdout[-2000:]}\n{run.stderr[-4000:]}"
