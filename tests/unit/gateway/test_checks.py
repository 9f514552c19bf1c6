"""Every kind of health check that is registered is in the contract, and asks a method that can answer it."""

import pytest

from passerelle.gateway.contracts import methods
from passerelle.gateway.directory.checks import CHECKS, Check, Service, checked_services
from passerelle.runtime.config.site import System
from passerelle.v1 import systems_pb2

SYSTEM = System.model_validate(
    {
        "name": "daint",
        "ssh": {"host": "login"},
        "scheduler": {"type": "slurm"},
        "filesystems": [{"path": "/home", "data_type": "users"}],
    }
)


def test_the_contract_has_what_checks_are_about() -> None:
    names = set(systems_pb2.Health.Service.keys()) - {"SERVICE_UNSPECIFIED"}
    assert names == set(Service.__members__)


def test_each_service_has_one_check_and_ssh_is_told_from_them() -> None:
    assert sorted([Service.SSH, *(check.service for check in CHECKS)]) == sorted(Service)
    assert set(checked_services(SYSTEM)) == set(Service)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: str(check.service))
def test_a_check_asks_a_method_that_can_answer_it(check: Check) -> None:
    [method] = [method for method in methods() if method.path == check.rpc]
    assert method.served_by == check.served_by
    for path in check.paths(SYSTEM):
        request = check.request("daint", path)
        assert request.system == "daint"
        assert getattr(request, "path", "") == path
    assert check.reply(b"").message == ""
