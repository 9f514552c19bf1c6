"""The rendered configuration: complete, made from the contracts, taken by the real Envoy, and without secrets."""

import json
import re
import subprocess
from collections.abc import Iterable, Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

from passerelle.gateway.contracts import Binding, Method, descriptors, methods
from passerelle.gateway.envoy import configuration
from passerelle.gateway.envoy.authentication import UNVERIFIED
from passerelle.gateway.envoy.pages import pages
from passerelle.gateway.envoy.routes import routes
from passerelle.runtime.config.services import SERVICES
from passerelle.runtime.config.site import ConfigError, SiteBase, site_model
from passerelle.v1.access_pb2 import Access, access

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


HERE = Path("/run/passerelle")
"""Where Envoy's own socket would be."""


def rendered(text: str) -> Any:
    return configuration.render(parsed(text), HERE)


def manager(config: Any) -> Any:
    listener = config["static_resources"]["listeners"][0]
    return listener["filter_chains"][0]["filters"][0]["typed_config"]


def leaves(config: Any) -> dict[str, list[Any]]:
    """The routes that Envoy tries, by what a path begins with; of several such the longest counts."""
    host = manager(config)["route_config"]["virtual_hosts"][0]
    branches = host["matcher"]["matcher_tree"]["prefix_match_map"]["map"]
    return {begins: leaf["action"]["typed_config"]["routes"] for begins, leaf in branches.items()}


LEAVES = leaves(rendered(SITE))


def tried(path: str) -> list[Any]:
    return LEAVES[max((begins for begins in LEAVES if path.startswith(begins)), key=len)]


def first_match(path: str, verb: str = "POST") -> Any:
    """The route that Envoy takes for a path; gRPC where that matters."""
    return first_of(tried(path), path, verb)


def first_of(candidates: Iterable[Any], path: str, verb: str) -> Any:
    """The first that matches; of a `GET` without content type, else of gRPC."""
    return next(r for r in candidates if _matches(r["match"], path) and _takes(r["match"], verb))


def _takes(match: Any, verb: str) -> bool:
    named = [h["string_match"] for h in match.get("headers", []) if h["name"] == ":method"]
    return not named or named[0].get("exact") == verb


def _matches(match: Any, path: str) -> bool:
    if "safe_regex" in match:
        return re.fullmatch(match["safe_regex"]["regex"], path) is not None
    if below := match.get("path_separated_prefix"):
        return path == below or path.startswith(f"{below}/")
    return match.get("path") == path or ("prefix" in match and path.startswith(match["prefix"]))


ONE_OF_EACH = dict.fromkeys(SERVICES, 1)
ALL_ROUTES = routes(methods(), pages(), workers=ONE_OF_EACH, timeout=9, idle_timeout=60)


def looked_for() -> Iterator[str]:
    """Paths of every method, with what is a little too much or too little; and those of nobody."""
    for method in methods():
        for path in (method.path, *(binding.example for binding in method.bindings)):
            yield from (path, f"{path}/", path.rstrip("/"), path[:-1], f"{path}x", f"{path}/x")
    yield from ("/", "//", "/v1", "/v1x", "/v1/systems", "/compute", "/docs", "/docs/x", "/nobody")


@pytest.mark.parametrize("verb", ["GET", "POST", "PUT", "DELETE", "HEAD", "TRACE"])
def test_the_tree_leads_to_the_first_match_of_all_routes(verb: str) -> None:
    for path in looked_for():
        expected = first_of(ALL_ROUTES, path, verb)
        assert first_match(path, verb)["match"] == expected["match"], path


def test_few_routes_are_tried_for_what_is_asked_often() -> None:
    def expressions_tried(path: str) -> int:
        before = takewhile(lambda route: route != first_match(path, "GET"), tried(path))
        return sum("safe_regex" in r["match"] and _takes(r["match"], "GET") for r in before)

    assert len(tried("/passerelle.firecrest.v2.FilesystemService/Stat")) <= 4
    assert expressions_tried("/status/systems") <= 4
    assert expressions_tried("/compute/x/jobs/5") <= 4
    assert expressions_tried("/filesystem/x/ops/stat") <= 10


def test_envoy_takes_it(tmp_path: Path) -> None:
    file = tmp_path / "envoy.json"
    configuration.write(parsed(SITE), file)
    completed = subprocess.run(
        [*configuration.command(file), "--mode", "validate"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr


def test_no_secret_is_in_it() -> None:
    assert "the-secret-of" not in json.dumps(rendered(SITE))


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
        rendered(site)


def test_the_admin_interface_is_off_unless_asked_for() -> None:
    assert "admin" in rendered(SITE)
    assert "admin" not in rendered(SITE.replace('admin: "127.0.0.1:9901"', ""))


@pytest.mark.parametrize("address", ["0.0.0.0:9901", "10.0.0.1:9901", "[::]:9901"])
def test_the_admin_interface_is_for_loopback_only(address: str) -> None:
    with pytest.raises(ConfigError, match="only loopback"):
        parsed(SITE.replace("127.0.0.1:9901", address))


def test_the_access_log_can_be_turned_off() -> None:
    site = parsed(SITE + "  access_log: false\n")
    names = [log["name"] for log in manager(configuration.render(site, HERE))["access_log"]]
    assert names == ["envoy.access_loggers.http_grpc"]


@pytest.mark.parametrize(
    ("names", "named"),
    [("[]", "localhost"), ('["*.a.org"]', "localhost"), ('["*.a.org", "b.org"]', "b.org")],
)
def test_who_names_no_host_over_http_1_0_means_the_gateways_own(names: str, named: str) -> None:
    config = rendered(f"{SITE}  host_names: {names}\n")
    assert manager(config)["http_protocol_options"]["default_host_for_http_10"] == named


def test_what_asks_for_no_token_leads_to_no_method_that_does() -> None:
    """Such a route is Envoy's own answer, and never transcoded; or a method for anyone."""
    open_paths = {"/grpc.health.v1.Health/Check"} | {
        path
        for method in methods()
        if method.anyone
        for path in (method.path, *(binding.regex for binding in method.bindings))
    }
    for route in ALL_ROUTES:
        config = route.get("typed_per_filter_config", {})
        asks = UNVERIFIED not in config
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
    - {issuer: "https://id.example.org", audience: [passerelle]}
    - {any_issuer: true, jwks_uri: "file:///nowhere", any_audience: true}
"""
)


def test_envoy_verifies_with_the_keys_that_auth_has(tmp_path: Path) -> None:
    config = configuration.render(parsed(ISSUERS), tmp_path)
    filters = {one["name"]: one["typed_config"] for one in manager(config)["http_filters"]}
    first, second = filters["envoy.filters.http.jwt_authn"]["providers"].values()
    assert (first["issuer"], first["audiences"]) == ("https://id.example.org", ["passerelle"])
    assert not {"issuer", "audiences"} & set(second)
    keys = [one["remote_jwks"]["http_uri"]["uri"] for one in (first, second)]
    assert keys == ["http://auth/keys/0", "http://auth/keys/1"]
    names = list(filters)
    order = ("envoy.filters.http.jwt_authn", UNVERIFIED, "envoy.filters.http.buffer")
    places = [names.index(name) for name in order]
    assert places == sorted(places)
    file = tmp_path / "envoy.json"
    file.write_text(json.dumps(config))
    completed = subprocess.run(
        [*configuration.command(file), "--mode", "validate"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr


SEVERAL = SITE.replace(
    'storage: {address: "[::1]:5003"}', 'storage: {address: "[::1]:5003", workers: 3}'
)


THREE_OF_STORAGE = ONE_OF_EACH | {"storage": 3}
WITH_SEVERAL = routes(methods(), pages(), workers=THREE_OF_STORAGE, timeout=9, idle_timeout=60)


def retried(candidates: Iterable[Any], method: Method) -> set[str]:
    """When Envoy sends a call of the method again."""
    route = next(one["route"] for one in candidates if one["match"].get("path") == method.path)
    assert route["hash_policy"][0]["filter_state"] == {"key": "passerelle.subject"}
    return set(route["retry_policy"]["retry_on"].split(","))


def test_every_worker_is_an_endpoint() -> None:
    clusters = {one["name"]: one for one in rendered(SEVERAL)["static_resources"]["clusters"]}
    for name in ("storage", "storage-replies"):
        (group,) = clusters[name]["load_assignment"]["endpoints"]
        places = [one["endpoint"]["address"]["socket_address"] for one in group["lb_endpoints"]]
        assert [(one["address"], one["port_value"]) for one in places] == [
            ("::1", 5003),
            ("::1", 5004),
            ("::1", 5005),
        ]
        assert clusters[name]["lb_policy"] == "RING_HASH"
    assert len(clusters["compute"]["load_assignment"]["endpoints"][0]["lb_endpoints"]) == 1


def declared(method: Method) -> tuple[int, bool]:
    """What the contract says of a method: its effect, and whether either side streams."""
    (descriptor,) = (
        one
        for file in descriptors().file
        for service in file.service
        if f"{file.package}.{service.name}" == method.service
        for one in service.method
        if one.name == method.name
    )
    streams = descriptor.client_streaming or descriptor.server_streaming
    return descriptor.options.Extensions[access].effect, streams


PUBLIC = [method for method in methods() if method.public]


@pytest.mark.parametrize("method", PUBLIC, ids=lambda m: m.path)
def test_what_a_service_may_have_begun_is_sent_again_only_where_it_changes_nothing(
    method: Method,
) -> None:
    unseen = {"connect-failure", "refused-stream"}
    effect, streams = declared(method)
    again = effect == Access.READS and not streams and method.served_by == "storage"
    assert retried(WITH_SEVERAL, method) == (unseen | {"reset"} if again else unseen)
    assert retried(ALL_ROUTES, method) == unseen


def test_a_call_that_kills_its_worker_does_not_kill_all() -> None:
    policies = [
        route["route"]["retry_policy"]
        for route in WITH_SEVERAL
        if "retry_policy" in route.get("route", {})
    ]
    assert {p["num_retries"] for p in policies if "reset" in p["retry_on"]} == {2}
