"""Print the bill of materials of a server: requirements.lock as CycloneDX 1.6 JSON.

Each package has its version, its purl and the SHA-256 of every file that the lock accepts for it.
"""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parents[1]
_PACKAGE = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def bill() -> dict[str, Any]:
    """The document."""
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    own = {
        "type": "application",
        "bom-ref": project["name"],
        "name": project["name"],
        "version": project["version"],
        "licenses": [{"license": {"id": project["license"]}}],
    }
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": own},
        "components": list(_components((TOP / "requirements.lock").read_text())),
    }


def _components(lock: str) -> Iterator[dict[str, Any]]:
    """One component a package: its line, and the hashes that continue it."""
    for entry in lock.replace("\\\n", " ").splitlines():
        if found := _PACKAGE.match(entry):
            name, version = found.groups()
            purl = f"pkg:pypi/{name.lower()}@{version}"
            yield {
                "type": "library",
                "bom-ref": purl,
                "name": name,
                "version": version,
                "purl": purl,
                "externalReferences": [
                    {
                        "type": "distribution",
                        "url": purl,
                        "hashes": [
                            {"alg": "SHA-256", "content": digest} for digest in _HASH.findall(entry)
                        ],
                    }
                ],
            }


if __name__ == "__main__":
    print(json.dumps(bill(), indent=1))
