"""Configuration mistakes stop the service at start, and say where and what."""

from pathlib import Path

import pytest

from passerelle.runtime.config.sections import Section
from passerelle.runtime.config.services import Endpoint, Services
from passerelle.runtime.config.site import ConfigError, ServiceAccount, load, section, site_model

GOOD = """
systems:
  - name: daint
    ssh: {host: login.example.org}
    scheduler: {type: slurm}
    filesystems: [{path: /home/, data_type: users}]
services:
  secret: env:PASSERELLE_TEST_SECRET
"""


def test_a_good_file_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSERELLE_TEST_SECRET", "a secret from the environment, long enough")
    (tmp_path / "site.yaml").write_text(GOOD)
    site = load(tmp_path / "site.yaml")
    system = site.system("daint")
    assert system is not None
    assert system.filesystems[0].path == "/home"
    assert site.services.secret is not None
    assert site.services.secret.get_secret_value() == "a secret from the environment, long enough"
    assert "a secret from the environment, long enough" not in repr(site)
    assert site.system("dom") is None


@pytest.mark.parametrize(
    ("invalid", "message"),
    [
        (
            GOOD.replace("scheduler:", "schedular:"),
            r"site.yaml:5: systems.0 \(daint\).schedular: unknown key",
        ),
        (
            GOOD.replace("{host: login.example.org}", "{}"),
            r"systems.0 \(daint\).ssh.host: Field required",
        ),
        (
            GOOD.replace("name: daint", "name: Daint"),
            r"site.yaml:3: systems.0 \(Daint\).name: lower-case letters",
        ),
        (GOOD.replace("/home/", "home"), r"must be absolute"),
        (GOOD + "  auth_cache: soon\n", r"services.auth_cache: must be a number"),
        (GOOD + "  reflection: maybe\n", r"services.reflection: must be true or false"),
        (GOOD + "gateway: {max_body: 8MB}\n", r"gateway.max_body: must be a whole number"),
        (GOOD + "gateway: {keep_alive: -1}\n", r"gateway.keep_alive: must be greater than 0"),
        (GOOD + "gateway: {listen: 8000}\n", r"gateway.listen: must be a text; put it in quotes"),
        (GOOD + "gateway: []\n", r"gateway: must be a section with keys of its own"),
        (GOOD + "auth: {issuers: x}\n", r"auth.issuers: must be a list"),
        (GOOD + "\nstorige: {}\n", r"storige: unknown key"),
        (GOOD + "\n  auth_cache: 3600\n", r"site.yaml:\d+: services.auth_cache"),
        (
            GOOD.replace("env:PASSERELLE_TEST_SECRET", "env:NO_SUCH_VARIABLE"),
            r"NO_SUCH_VARIABLE is not set",
        ),
        (GOOD.replace("env:PASSERELLE_TEST_SECRET", "secret_file:/no/such"), r"/no/such"),
        ("systems: [", r"site.yaml:1: not valid YAML"),
        ("gateway: {}\nservices:\n\tsecret: x", r"site.yaml:3: not valid YAML: found character"),
        ("a: \x00", r"site.yaml: not valid YAML: unacceptable character"),
        ("gateway: {}\nservices: {}\ngateway: {}", r"site.yaml:3: gateway stands twice here"),
        ("gateway:\n  listen: a\n  listen: b", r"site.yaml:3: listen stands twice here"),
        ("just a word", r"site.yaml:1: : must be a section"),
        ("- 1", r"site.yaml:1"),
    ],
)
def test_a_mistake_is_named_with_its_line(invalid: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        site_model().parse(invalid, "site.yaml")


def test_two_systems_of_one_name_are_refused() -> None:
    one = "  - {name: a, ssh: {host: h}, scheduler: {type: local}}\n"
    with pytest.raises(ConfigError, match="same name"):
        site_model().parse(f"systems:\n{one}{one}")


def test_a_secret_in_the_file_is_not_printed_with_an_error() -> None:
    with pytest.raises(ConfigError) as caught:
        site_model().parse("services: {secret: hunter2, auth_cache: hunter2}")
    assert "hunter2" not in str(caught.value)


def test_every_key_is_described() -> None:
    undescribed = sorted(_undescribed(site_model(), ""))
    assert not undescribed


def _undescribed(model: type[Section], prefix: str) -> set[str]:
    collected = set()
    for name, field in model.model_fields.items():
        nested = _models(field.annotation)
        if not field.description and not any(kind.__doc__ for kind in nested):
            collected.add(prefix + name)
        for kind in nested:
            collected |= _undescribed(kind, f"{prefix}{name}.")
    return collected


def _models(annotation: object) -> list[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [kind for part in getattr(annotation, "__args__", ()) for kind in _models(part)]


def test_a_service_finds_its_section() -> None:
    from passerelle.compute.config import ComputeSection

    site = site_model().parse("compute: {cache_seconds: 0}")
    assert section(site, ComputeSection).cache_seconds == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("services: {secret: ''}", "services.secret: the secret is empty"),
        ("services: {secret: x}", "services.secret: at least 32 characters"),
        (f"services: {{secret: {'x' * 31}}}", "services.secret: at least 32 characters"),
        ("services: {auth: {address: '0.0.0.0:8101'}}", "services: auth listens on 0.0.0.0:8101"),
        (
            "services: {auth: {address: 'auth:8101', listen: '[::]:8101'}}",
            "needs `insecure_plain_text: true`",
        ),
        (
            "services: {auth: {address: '127.0.0.1:8101', metrics: '0.0.0.0:9101'}}",
            "need `insecure_metrics: true`",
        ),
        ("services: {request_timeout: .inf}", "services.request_timeout"),
        ("services: {auth: {workers: 0}}", "services.auth.workers"),
        ("services: {auth: {workers: many}}", "services.auth.workers"),
        (
            "services: {auth: {address: '127.0.0.1:65534', workers: 3}}",
            "services.auth: address: 3 workers need as many ports, from 65534 on",
        ),
        (
            "services: {auth: {address: 'localhost:1', workers: 2}}",
            "services.auth: address: several workers are reached by an IP address, not a name",
        ),
        ("gateway: {listen: '0.0.0.0:8000'}", "gateway: 0.0.0.0:8000 without `tls`"),
        (
            "auth: {issuers: [{issuer: 'http://idp.example', audience: [a]}]}",
            "http://idp.example is plain http",
        ),
        (
            "auth: {issuers: [{issuer: 'https://i.example', jwks_uri: 'http://i.example/k', audience: [a]}]}",
            "http://i.example/k is plain http",
        ),
    ],
)
def test_what_is_unsafe_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        site_model().parse(text)
    assert message in str(caught.value)
    assert "Value error" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "services: {insecure_plain_text: true, auth: {address: '0.0.0.0:8101'}}",
        "services: {insecure_metrics: true, auth: {address: '127.0.0.1:1', metrics: '0.0.0.0:2'}}",
        "services: {auth: {address: 'localhost:8101', metrics: '[::1]:9101'}}",
        "gateway: {listen: '0.0.0.0:8000', behind_tls_proxy: true}",
        "gateway: {listen: '0.0.0.0:8000', insecure_plain_http: true}",
        "auth: {issuers: [{issuer: 'http://idp.example', audience: [a], insecure_http: true}]}",
        "auth: {issuers: [{issuer: 'http://127.0.0.1:1', audience: [a]}]}",
    ],
)
def test_what_is_unsafe_goes_where_it_is_said(text: str) -> None:
    site_model().parse(text)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("host: login", "hosst: login", "systems.0 (daint).ssh.hosst: unknown key; did you mean host?"),
        (
            "host: login.example.org",
            "host: login.example.org, proxyhost: j",
            "systems.0 (daint).ssh.proxyhost: unknown key; did you mean proxy_host?",
        ),
        (
            "data_type: users",
            "data_type: home",
            "systems.0 (daint).filesystems.0.data_type: one of users, store, archive, apps, scratch, project",
        ),
        (
            "env:PASSERELLE_TEST_SECRET",
            "secret_file:/no/such",
            "site.yaml:8: services.secret: /no/such: No such file or directory",
        ),
    ],
)  # fmt: skip
def test_a_mistake_says_what_would_be_right(old: str, new: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        site_model().parse(GOOD.replace(old, new), "site.yaml")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("url", "right"), [("http://idp.example/t", False), ("http://[::1]/t", True)]
)
def test_a_clients_secret_does_not_travel_in_the_clear(url: str, right: bool) -> None:
    if right:
        ServiceAccount(token_url=url, client_id="a", client_secret="b")  # type: ignore[arg-type]
        return
    with pytest.raises(ValueError, match="plain http"):
        ServiceAccount(token_url=url, client_id="a", client_secret="b")  # type: ignore[arg-type]


def test_a_worker_has_the_ports_after_the_first_ones() -> None:
    endpoint = Endpoint(
        address="127.0.0.1:8101", listen="[::1]:8201", metrics="127.0.0.1:9101", workers=3
    )
    assert endpoint.addresses == ("127.0.0.1:8101", "127.0.0.1:8102", "127.0.0.1:8103")
    second = endpoint.worker(1)
    assert (second.address, second.listen) == ("127.0.0.1:8102", "[::1]:8202")
    assert (second.metrics, second.count) == ("127.0.0.1:9102", 1)
    assert list(endpoint.listen_addresses("services.auth")) == [
        (f"services.auth.{key}", f"{host}:{port + worker}")
        for worker in range(3)
        for key, host, port in (("listen", "[::1]", 8201), ("metrics", "127.0.0.1", 9101))
    ]


def test_a_service_has_one_worker_until_somebody_chooses() -> None:
    assert Endpoint(address="127.0.0.1:8101").addresses == ("127.0.0.1:8101",)
    assert Endpoint().addresses == ()
    services = Services(auth=Endpoint(address="127.0.0.1:8101", workers=2))
    assert [services.workers(name) for name in ("auth", "storage", "envoy")] == [2, 1, 1]
    own = services.of_worker("auth", 1).endpoint("auth")
    assert own.addresses == ("127.0.0.1:8102",)
