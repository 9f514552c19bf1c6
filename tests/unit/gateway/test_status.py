"""The directory over both surfaces: the native service and FirecREST's words for it."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from passerelle.firecrest.v2 import status_pb2
from passerelle.gateway.directory.checks import Service
from passerelle.gateway.directory.systems import Directory, Health
from passerelle.gateway.firecrest.status_service import StatusService
from passerelle.gateway.native.systems_service import SystemsService
from passerelle.runtime.config.site import ConfigError, SiteBase
from passerelle.runtime.errors import NotFound
from passerelle.v1 import systems_pb2

SITE = SiteBase.parse(
    """
systems:
  - name: cluster
    ssh:
      host: 127.0.0.1
      port: 19022
      max_connections: 500
      timeout: {connection: 0.5}
      host_keys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAvzTexvGmIF6ZYmpt0sZZw9vRPJlfwiDQCbibanRRkN"]
    scheduler: {type: slurm, version: 22.05.8}
    filesystems:
      - {path: /home, data_type: users, default_work_dir: true}
      - {path: /tmp, data_type: scratch}
    probing:
      timeout: 5
      interval: 3600
      service_account: {token_url: "https://idp/token", client_id: health, client_secret: hush-hush}
    data_operation:
      datatransfer_jobs_directives: ["#SBATCH --nodes=1"]
  - name: down
    ssh: {host: 10.0.0.9, proxy_host: jump, proxy_port: 2222}
    scheduler: {type: local}
"""
)
WHEN = datetime(2026, 11, 22, 7, 55, 51, 666888, tzinfo=UTC)


@pytest.fixture
def directory() -> Directory:
    return Directory(SITE.systems)


async def systems(directory: Directory) -> Any:
    reply = await StatusService(directory).GetSystems(status_pb2.GetSystemsRequest(), None)
    assert reply.content_type == "application/json"
    return json.loads(reply.data)["systems"]


async def test_a_system_in_firecrests_words(directory: Directory) -> None:
    """The shape of the recorded case `status_systems_ok`."""
    cluster, _ = await systems(directory)
    assert cluster == {
        "name": "cluster",
        "ssh": {
            "host": "127.0.0.1",
            "port": 19022,
            "proxyHost": None,
            "proxyPort": None,
            "maxClients": 500,
            "timeout": {
                "connection": 1,
                "login": 5,
                "commandExecution": 5,
                "idleTimeout": 60,
                "keepAlive": 5,
            },
        },
        "scheduler": {
            "type": "slurm",
            "connectionMode": "ssh",
            "version": "22.05.8",
            "apiUrl": None,
            "apiVersion": None,
            "timeout": 10,
        },
        "servicesHealth": [],
        "probing": {
            "services": {
                "ssh": {"timeout": 5},
                "filesystem": {"timeout": 5},
                "scheduler": {"timeout": 5},
            },
            "intervalCheck": 3600,
        },
        "lastHealthCheck": None,
        "fileSystems": [
            {"path": "/home", "dataType": "users", "defaultWorkDir": True},
            {"path": "/tmp", "dataType": "scratch", "defaultWorkDir": False},
        ],
        "dataOperation": {
            "datatransfer_jobs_directives": ["#SBATCH --nodes=1"],
            "max_ops_file_size": 5242880,
            "data_transfer": None,
        },
    }


async def test_a_system_that_is_not_checked(directory: Directory) -> None:
    _, down = await systems(directory)
    assert (down["servicesHealth"], down["lastHealthCheck"]) == ([], None)
    assert down["probing"]["services"] is None
    assert (down["ssh"]["proxyHost"], down["ssh"]["proxyPort"]) == ("jump", 2222)


async def test_secrets_are_not_shown(directory: Directory) -> None:
    assert "hush" not in json.dumps(await systems(directory))


async def test_health_in_firecrests_words(directory: Directory) -> None:
    scheduler = Health(Service.SCHEDULER, None, True, "up", WHEN, 0.125)
    home = Health(Service.FILESYSTEM, "/home", False, "stale", WHEN, 0.5)
    directory.record("cluster", [scheduler, home])
    cluster, _ = await systems(directory)
    assert cluster["servicesHealth"] == [
        {
            "serviceType": "scheduler",
            "lastChecked": "2026-11-22T07:55:51.666888Z",
            "latency": 0.125,
            "healthy": True,
            "message": "up",
        },
        {
            "serviceType": "filesystem",
            "lastChecked": "2026-11-22T07:55:51.666888Z",
            "latency": 0.5,
            "healthy": False,
            "message": "stale",
            "path": "/home",
        },
    ]
    assert cluster["lastHealthCheck"].endswith("Z")


async def test_liveness(directory: Directory) -> None:
    service, request = StatusService(directory), status_pb2.GetLivenessRequest()
    assert json.loads((await service.GetLiveness(request, None)).data) == {
        "healthcheckRuns": {},
        "lastUpdate": 0,
    }
    before = datetime.now(UTC)
    directory.record("cluster", [])
    document = json.loads((await service.GetLiveness(request, None)).data)
    run = datetime.fromisoformat(document["healthcheckRuns"]["cluster"])
    assert before <= run <= datetime.now(UTC)
    assert document["lastUpdate"] <= (datetime.now(UTC) - before) / timedelta(seconds=1)


async def test_the_native_directory(directory: Directory) -> None:
    service = SystemsService(directory)
    directory.record("cluster", [Health(Service.SSH, None, True, None, WHEN, 0.25)])
    listed = await service.ListSystems(systems_pb2.ListSystemsRequest(), None)
    assert [system.name for system in listed.systems] == ["cluster", "down"]
    cluster = await service.GetSystem(systems_pb2.GetSystemRequest(system="cluster"), None)
    assert cluster == listed.systems[0]
    assert cluster.scheduler == "slurm"
    assert [fs.path for fs in cluster.filesystems] == ["/home", "/tmp"]
    (health,) = cluster.health
    assert health.service == systems_pb2.Health.SSH
    assert health.latency.ToMilliseconds() == 250
    assert health.check_time.ToDatetime(UTC) == WHEN
    with pytest.raises(NotFound):
        await service.GetSystem(systems_pb2.GetSystemRequest(system="nope"), None)


async def test_replies_are_made_once_for_each_change(directory: Directory) -> None:
    profile, native = StatusService(directory), SystemsService(directory)

    async def replies() -> tuple[Any, Any]:
        shown = await profile.GetSystems(status_pb2.GetSystemsRequest(), None)
        return shown, await native.ListSystems(systems_pb2.ListSystemsRequest(), None)

    before, same = await replies(), await replies()
    assert same[0] is before[0]
    assert same[1] is before[1]
    for healthy in (False, True):
        directory.record("cluster", [Health(Service.SSH, None, healthy, None, WHEN, 0.25)])
        shown, listed = await replies()
        assert json.loads(shown.data)["systems"][0]["servicesHealth"][0]["healthy"] is healthy
        assert listed.systems[0].health[0].healthy is healthy
        page = await native.ListSystems(systems_pb2.ListSystemsRequest(page_size=1), None)
        assert list(page.systems) == [listed.systems[0]]
        assert page.next_page_token


async def staging(*methods: dict[str, Any]) -> Any:
    """What is shown of a system with these staging methods."""
    site = SITE.model_dump()["systems"][1] | {"data_operation": {"staging": methods}}
    [system] = await systems(Directory(SiteBase.model_validate({"systems": [site]}).systems))
    return system["dataOperation"]["data_transfer"]


async def test_the_preferred_staging_method_is_shown_without_its_secrets() -> None:
    options = {
        "private_url": "http://minio:9000",
        "public_url": "https://s3.example.org",
        "access_key_id": "hush",
        "secret_access_key": "secret_file:/nowhere/that/is/read",
        "ttl": 600,
    }
    shown = await staging({"type": "s3", "options": options}, {"type": "wormhole"})
    assert shown == {
        "serviceType": "s3",
        "name": "s3",
        "privateUrl": "**********",
        "publicUrl": "https://s3.example.org",
        "accessKeyId": "**********",
        "secretAccessKey": "**********",
        "region": "us-east-1",
        "ttl": 600,
        "tenant": None,
        "multipart": {
            "use_split": False,
            "max_part_size": 134217728,
            "parallel_runs": 4,
            "tmp_folder": "",
        },
        "bucketLifecycleConfiguration": {"days": 10},
    }


async def test_other_staging_methods_are_shown_too() -> None:
    """The shape of the recorded case `status_systems_ok`."""
    options = {"host": "127.0.0.1", "port_range": [19060, 19069], "public_ips": ["192.0.2.1"]}
    assert await staging({"type": "streamer", "options": options}) == {
        "serviceType": "streamer",
        "pypiIndexUrl": None,
        "host": "127.0.0.1",
        "portRange": [19060, 19069],
        "publicIps": ["192.0.2.1"],
        "waitTimeout": 86400,
        "inboundTransferLimit": 5368709120,
    }


async def test_what_is_not_installed_here_is_not_shown() -> None:
    assert await staging({"type": "pigeon"}) is None
    assert await staging() is None


@pytest.mark.parametrize(
    "method",
    [
        {"type": "s3", "options": {"ttl": 5}},
        {"type": "streamer", "options": {"port_range": "many"}},
    ],
)
async def test_wrong_options_stop_the_service_and_no_request(method: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"staging \({method['type']}\)\.options: wrong"):
        await staging(method)
