"""The rendered configuration: complete, made from the contracts, taken by the real Envoy, and without secrets."""

import asyncio
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from passerelle.gateway import envoy
from passerelle.gateway.contracts import Binding, Method, methods
from passerelle.gateway.envoy_door import Door
from passerelle.runtime.config import ConfigError, SiteBase, site_model
from tests.certificates import certificate
from tests.unit.auth.idp import Idp

SITE = """
services:
  auth: {address: "127.0.0.1:5001"}
  compute: {address: "compute.example.org:5002"}
  storage: {address: "[::1]:5003"}
  gateway: {address: "127.0.0.1:5004"}
  insecure_plain_text: true
  secret: the-secret-of-the-services-is-long
  request_timeout: 7
gateway:
  listen: "0.0.0.0:8000"
  behind_tls_proxy: true
  admin: "127.0.0.1:9901"
"""


def parsed(text: str) -> SiteBase:
    return site_model().parse(text)


def manager(config: Any) -> Any:
    (listener,) = config["static_resources"]["listeners"]
    return listener["filter_chains"][0]["filters"][0]["typed_config"]


def routes(config: Any) -> list[Any]:
    found: list[Any] = manager(config)["route_config"]["virtual_hosts"][0]["routes"]
    return found


def first_match(path: str, verb: str = "POST") -> Any:
    """The route that Envoy takes for a path, by its rule of the first match; gRPC where that matters."""
    found = routes(envoy.render(parsed(SITE)))
    return next(r for r in found if _matches(r["match"], path) and _takes(r["match"], verb))


def _takes(match: Any, verb: str) -> bool:
    named = [h["string_match"] for h in match.get("headers", []) if h["name"] == ":method"]
    return not named or named[0].get("exact") == verb


def _matches(match: Any, path: str) -> bool:
    if "safe_regex" in match:
        return re.fullmatch(match["safe_regex"]["regex"], path) is not None
    return match.get("path") == path or ("prefix" in match and path.startswith(match["prefix"]))


def test_envoy_takes_it(tmp_path: Path) -> None:
    file = tmp_path / "envoy.json"
    envoy.write(parsed(SITE), file)
    told = subprocess.run(
        [*envoy.command(file), "--mode", "validate"], capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr


def test_no_secret_is_in_it() -> None:
    assert "the-secret-of" not in json.dumps(envoy.render(parsed(SITE)))


@pytest.mark.parametrize("method", [m for m in methods() if m.public], ids=lambda m: m.path)
def test_every_public_method_goes_to_the_process_that_serves_it(method: Method) -> None:
    action = first_match(method.path)["route"]
    assert action["cluster"] in (method.served_by, f"{method.served_by}-replies")
    assert action["timeout"] == ("0s" if method.streams else "9.0s")


@pytest.mark.parametrize("method", [m for m in methods() if not m.public], ids=lambda m: m.path)
def test_internal_methods_are_not_routed(method: Method) -> None:
    assert method.bindings == ()
    assert "route" not in first_match(method.path)


def test_there_are_internal_methods() -> None:
    assert any(not method.public for method in methods())


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/v1/systems/x/jobs/5:cancel", "POST"),
        ("/v1/systems/x/jobs/5", "GET"),
        ("/v1/systems/x/files:content", "GET, PUT"),
        ("/compute/x/jobs", "GET, POST"),
    ],
)
def test_known_paths_tell_their_methods(path: str, allow: str) -> None:
    route = first_match(path, verb="TRACE")
    assert route["direct_response"]["status"] == 405
    assert route["response_headers_to_add"][0]["header"] == {"key": "allow", "value": allow}


def test_a_template_becomes_a_regex_and_variables() -> None:
    binding = Binding("GET", "/v1/{name=systems/*}/x.y/{job_id}:cancel")
    assert binding.variables == ("name", "job_id")
    assert re.fullmatch(binding.regex, "/v1/daint/x.y/5:cancel")
    assert not re.fullmatch(binding.regex, "/v1/daint/xzy/5:cancel")
    assert not re.fullmatch(binding.regex, "/v1/daint/x.y/5/6:cancel")


def test_a_service_without_an_address_is_named() -> None:
    site = SITE.replace('  storage: {address: "[::1]:5003"}\n', "")
    with pytest.raises(LookupError, match=r"services\.storage\.address"):
        envoy.render(parsed(site))


def test_the_admin_interface_is_off_unless_asked_for() -> None:
    assert "admin" in envoy.render(parsed(SITE))
    assert "admin" not in envoy.render(parsed(SITE.replace('admin: "127.0.0.1:9901"', "")))


@pytest.mark.parametrize("address", ["0.0.0.0:9901", "10.0.0.1:9901", "[::]:9901"])
def test_the_admin_interface_is_for_loopback_only(address: str) -> None:
    with pytest.raises(ConfigError, match="only loopback"):
        parsed(SITE.replace("127.0.0.1:9901", address))


def test_the_access_log_can_be_turned_off() -> None:
    site = parsed(SITE + "  access_log: false\n")
    names = [log["name"] for log in manager(envoy.render(site))["access_log"]]
    assert names == ["envoy.access_loggers.http_grpc"]


def test_what_asks_for_no_token_leads_to_no_method_that_does() -> None:
    """Such a route is Envoy's own answer, and never transcoded; or a method for anyone."""
    open_paths = {"/grpc.health.v1.Health/Check"} | {
        path
        for method in methods()
        if method.anyone
        for path in (method.path, *(binding.regex for binding in method.bindings))
    }
    for route in routes(envoy.render(parsed(SITE))):
        config = route.get("typed_per_filter_config", {})
        asks = "envoy.filters.http.ext_authz" not in config
        if "route" in route:
            match = route["match"]
            path = match.get("path") or match["safe_regex"]["regex"].removesuffix("?")
            assert asks or path in open_paths
        else:
            assert not asks
            assert config["envoy.filters.http.grpc_json_transcoder"]["services"] == []


ISSUERS = (
    SITE
    + """
auth:
  issuers:
    - {issuer: "https://id.example.org", jwks_uri: "https://keys.example.org:8443/a", audience: [passerelle]}
    - {issuer: "https://other.example.org", jwks_uri: "file:///nowhere", audience: [passerelle]}
"""
)


def test_envoy_verifies_what_it_can_get_the_keys_of(tmp_path: Path) -> None:
    """Of the second issuer it cannot: auth judges its tokens, and they are not counted as if they were none."""
    config = envoy.render(parsed(ISSUERS))
    filters = {one["name"]: one["typed_config"] for one in manager(config)["http_filters"]}
    names = list(filters)
    assert "envoy.filters.http.local_ratelimit" not in names
    jwt = filters["envoy.filters.http.jwt_authn"]
    (provider,) = jwt["providers"].values()
    assert (provider["issuer"], provider["audiences"]) == ("https://id.example.org", ["passerelle"])
    assert names.index("envoy.filters.http.jwt_authn") < names.index("envoy.filters.http.ext_authz")
    assert names.index("envoy.filters.http.ext_authz") < names.index("envoy.filters.http.buffer")
    file = tmp_path / "envoy.json"
    file.write_text(json.dumps(config))
    told = subprocess.run(
        [*envoy.command(file), "--mode", "validate"], capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr


@pytest.mark.parametrize(
    ("leads_to", "taken"),
    [("{safe}/jwks", True), ("{plain}/jwks", False)],
)
async def test_envoy_reads_no_keys_over_plain_http_of_an_https_issuer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leads_to: str, taken: bool
) -> None:
    safe, plain, shown = Idp(), Idp(), certificate(["127.0.0.1"])
    safe.tls = shown.served(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    async with safe.serving(), plain.serving():
        safe.keys_at = leads_to.format(safe=safe.url, plain=plain.url)
        text = f"auth: {{issuers: [{{issuer: '{safe.url}', audience: [a]}}]}}"
        door = await asyncio.to_thread(Door, parsed(text))
    assert bool(door.clusters()) is taken
