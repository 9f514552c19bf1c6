"""Transfers of clients that name no account (web UI, ReFrame, Airflow, …), where the site's jobs have to have one."""

from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest
from firecrest.v2 import Firecrest

from tests.clients.pyfirecrest_run import Site

DEFAULT = "proj1"
"""What the cluster has for alice."""

BODIES: Mapping[str, Mapping[str, Any]] = {
    "mv": {"targetPath": "moved"},
    "cp": {"targetPath": "copied"},
    "compress": {"targetPath": "packed.tar.gz"},
    "extract": {"targetPath": ""},
    "upload": {"transferDirectives": {"transferMethod": "s3", "fileSize": 6 << 20}},
    "download": {"transferDirectives": {"transferMethod": "s3"}},
}


@pytest.fixture
def http(site: Site, owner: Firecrest) -> Iterator[httpx.Client]:
    token = owner._authorization.get_access_token()
    address = f"{site.url}/filesystem/{site.system}/transfer/"
    with httpx.Client(
        base_url=address, headers={"Authorization": f"Bearer {token}"}, timeout=60
    ) as client:
        yield client


def ran_on(reply: httpx.Response, site: Site, owner: Firecrest) -> str:
    """The account of the transfer's job, which is ended."""
    job = reply.json()["transferJob"]["jobId"]
    (one_job,) = owner.job_info(site.system, job)
    owner.cancel_job(site.system, job)
    return str(one_job["account"])


@pytest.mark.parametrize("named", [{}, {"account": None}, {"account": ""}], ids=str)
@pytest.mark.parametrize("endpoint", BODIES)
def test_a_transfer_without_an_account(
    site: Site,
    owner: Firecrest,
    http: httpx.Client,
    directory: str,
    endpoint: str,
    named: dict[str, None],
) -> None:
    owner.mkdir(site.system, f"{directory}/source")
    body = {**BODIES[endpoint], **named, "sourcePath": f"{directory}/source"}
    if endpoint == "upload":
        body["sourcePath"] = f"{directory}/new"
    if endpoint == "download":
        body["sourcePath"] = "/home/alice/.bashrc"
    if "targetPath" in body:
        body["targetPath"] = f"{directory}/{body['targetPath']}"
    reply = http.post(endpoint, json=body)
    assert reply.status_code == 201, reply.text
    assert ran_on(reply, site, owner) == DEFAULT


@pytest.mark.parametrize("named", ["", "&account="])
def test_a_removal_without_an_account(
    site: Site, owner: Firecrest, http: httpx.Client, directory: str, named: str
) -> None:
    owner.mkdir(site.system, f"{directory}/source")
    reply = http.delete(f"rm?path={directory}/source{named}")
    assert reply.status_code == 200, reply.text
    assert ran_on(reply, site, owner) == DEFAULT
