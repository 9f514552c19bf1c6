"""Staging with a MinIO that speaks TLS, with a certificate that only this test trusts."""

import datetime
import ipaddress
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from passerelle.runtime.config.plugins import make
from passerelle.runtime.config.site import ConfigError, Staging
from passerelle.runtime.errors import BackendUnavailable
from tests.integration.staging_jobs import Processes
from tests.integration.test_s3 import PART, Site
from tests.minio import MinioServer, running_minio
from tests.unit.storage.world import as_alice, remote


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a certificate for 127.0.0.1 that signs itself."""
    directory = tmp_path_factory.mktemp("certificates")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "store")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (directory / "public.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (directory / "private.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return directory


@pytest.fixture(scope="module")
def server(certificates: Path) -> Iterator[MinioServer]:
    with running_minio(certificates) as server:
        yield server


@pytest.fixture
async def site(tmp_path: Path, server: MinioServer) -> AsyncIterator[Site]:
    root = tmp_path / "root"
    root.mkdir()
    async with remote(root) as world:
        result = Site(world, server, Processes(sys.executable, tmp_path / "bin"))
        with as_alice():
            yield result
        await result.jobs.close()


async def test_certificates_that_the_site_trusts(site: Site, certificates: Path) -> None:
    source, target = site.world.root / "source", site.world.root / "target"
    source.write_bytes(bytes(PART + 1))
    s3 = site.s3(ca_file=certificates / "public.crt")
    _, stored = await s3.send(str(source), None)
    await site.succeeded()
    await s3.fetch(stored, str(target), None)
    await site.succeeded()
    assert target.read_bytes() == source.read_bytes()


async def test_others_are_not_trusted(site: Site, certificates: Path) -> None:
    source = site.world.root / "source"
    source.write_bytes(b"content")
    with pytest.raises(BackendUnavailable):
        await site.s3().send(str(source), None)
    # Nor by the jobs, which have to trust for themselves.
    _, stored = await site.s3(ca_file=certificates / "public.crt").send(str(source), None)
    await site.succeeded()
    await site.s3().fetch(stored, str(source), None)
    assert "certificate is not trusted" in await site.failed(unfinished=1)


def test_a_ca_file_that_is_not_there_stops_the_service(site: Site) -> None:
    options = {"private_url": "https://store", "access_key_id": "a", "secret_access_key": "b"}
    chosen = Staging(type="s3", options={**options, "ca_file": "/nowhere/ca.pem"})
    with pytest.raises(ConfigError, match=r"staging\.options: /nowhere/ca\.pem: No such file"):
        make("staging", chosen, site.world.system, site.world.files, None)
