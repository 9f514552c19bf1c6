"""The storage service put together from a configuration."""

import grpc
import pytest

from passerelle.runtime.config.site import ConfigError, Scheduler, site_model
from passerelle.storage.main import job_id_variable, running
from passerelle.v1 import storage_pb2 as pb
from passerelle.v1 import storage_pb2_grpc as pb_grpc

SITE = """
systems:
- {name: lab, ssh: {host: 127.0.0.1, port: 1}, scheduler: {type: local}}
services:
  secret: 0123456789abcdef0123456789abcdef
  auth: {address: "127.0.0.1:1"}
  storage: {address: "127.0.0.1:0"}
storage: {stall_timeout: 5}
"""


@pytest.mark.parametrize(
    ("metadata", "code"),
    [
        ((), grpc.StatusCode.UNAUTHENTICATED),
        ((("authorization", "Bearer x"),), grpc.StatusCode.UNAVAILABLE),  # auth is not there
    ],
)
async def test_it_serves_and_asks_auth_about_every_call(
    metadata: tuple[tuple[str, str], ...], code: grpc.StatusCode
) -> None:
    async with (
        running(site_model().parse(SITE)) as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        stub: pb_grpc.StorageServiceAsyncStub = pb_grpc.StorageServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.StatFile(pb.StatFileRequest(system="lab", path="/"), metadata=metadata)
    assert raised.value.code() is code


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("{type: pigeon}", r"^systems \(lab\): data_operation.staging \(pigeon\).type: no plugin"),
        ("{type: streamer, options: {wait_timeout: 0}}", r"\(streamer\).options.wait_timeout: "),
    ],
)
async def test_a_staging_method_that_cannot_be_made_stops_it(method: str, message: str) -> None:
    scheduler = "scheduler: {type: local}"
    site = SITE.replace(scheduler, f"{scheduler}, data_operation: {{staging: [{method}]}}")
    with pytest.raises(ConfigError, match=message):
        async with running(site_model().parse(site)):
            pass


@pytest.mark.parametrize(
    ("scheduler", "variable"),
    [("slurm", "SLURM_JOB_ID"), ("local", "PASSERELLE_JOB_ID"), ("elsewhere", "PASSERELLE_JOB_ID")],
)
def test_the_scheduler_says_where_jobs_find_their_id(scheduler: str, variable: str) -> None:
    assert job_id_variable(Scheduler(type=scheduler)) == variable
