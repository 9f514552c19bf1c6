"""`passerelle serve`: what it asks of gRPC's core."""

import os
import subprocess
import sys

import pytest

from passerelle.cli.up.serve import GRPC_EXPERIMENTS

PROGRAM = "import grpc; grpc.server(None).add_insecure_port('127.0.0.1:0')"


@pytest.mark.parametrize(
    ("experiments", "unknown"), [(GRPC_EXPERIMENTS, False), ("-no_such_switch", True)]
)
def test_grpc_knows_the_switches_that_services_set(experiments: str, unknown: bool) -> None:
    environment = {**os.environ, "GRPC_EXPERIMENTS": experiments}
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert ("Unknown experiment" in ran.stderr) is unknown
