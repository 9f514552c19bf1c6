"""The OpenAPI document: valid, complete, and true to the contracts and the adapters."""

import json
from importlib.resources import files
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV30SpecValidator, OpenAPIV31SpecValidator, validate

from passerelle.gateway.contracts import Method, methods
from passerelle.gateway.openapi.installed import installed_documents, joined
from passerelle.runtime.surface import surfaces

DOCUMENT: Any = json.loads(files("passerelle.v1").joinpath("openapi.json").read_bytes())
DOCUMENT_3_0: Any = json.loads(installed_documents()[1])
BOUND = [(method, binding) for method in methods() for binding in method.bindings]
PROFILE = sorted({m.service for m in methods() if m.surface.name == "firecrest"})


def operation(path: str, verb: str) -> Any:
    return DOCUMENT["paths"][path][verb]


def reply(path: str, verb: str, status: str = "200", kind: str = "application/json") -> Any:
    schema = operation(path, verb)["responses"][status]["content"][kind]["schema"]
    return resolved(schema)


def resolved(schema: Any) -> Any:
    if "$ref" in schema:
        return DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def test_it_is_valid() -> None:
    validate(DOCUMENT, cls=OpenAPIV31SpecValidator)
    validate(DOCUMENT_3_0, cls=OpenAPIV30SpecValidator)


def test_version_3_0_has_all_of_it() -> None:
    assert DOCUMENT_3_0["openapi"] == "3.0.3"
    assert DOCUMENT_3_0["paths"].keys() == DOCUMENT["paths"].keys()
    schemas = DOCUMENT["components"]["schemas"]
    assert DOCUMENT_3_0["components"]["schemas"].keys() == schemas.keys()
    for path, verbs in DOCUMENT["paths"].items():
        for verb, described in verbs.items():
            operation_object = DOCUMENT_3_0["paths"][path][verb]
            assert operation_object["operationId"] == described["operationId"]
            assert len(operation_object["parameters"]) == len(described["parameters"])
            assert operation_object["responses"].keys() == described["responses"].keys()


@pytest.mark.parametrize("word", ['"null"', '"const"', '"examples"', '"$defs"', '"prefixItems"'])
def test_version_3_0_has_no_word_of_3_1(word: str) -> None:
    assert word not in json.dumps(DOCUMENT_3_0)


def test_version_3_0_says_the_same_in_other_words() -> None:
    schemas = DOCUMENT_3_0["components"]["schemas"]
    assert schemas["Job"]["properties"]["state"] == {
        "allOf": [{"$ref": "#/components/schemas/Job.State"}],
        "readOnly": True,
        "description": "Where the job stands.",
    }
    limit = schemas["JobDescription"]["properties"]["timeLimit"]
    assert (limit["type"], limit["example"]) == ("string", "90s")
    user = schemas["firecrest.Error"]["properties"]["user"]
    assert (user["type"], user["nullable"]) == ("string", True)


@pytest.mark.parametrize(("method", "binding"), BOUND, ids=lambda x: getattr(x, "path", None))
def test_every_method_is_in_it_with_its_words(method: Method, binding: Any) -> None:
    operation_object = operation(binding.template, binding.verb.lower())
    assert operation_object["summary"]
    assert method.path.lstrip("/") in operation_object["description"]
    declared = {p["name"] for p in operation_object["parameters"] if p["in"] == "path"}
    assert declared == set(binding.variables)


@pytest.mark.parametrize("service", PROFILE)
def test_every_adapter_describes_every_method_it_has(service: str) -> None:
    own = [method for method in methods() if method.service == service]
    assert set(own[0].surface.operations(service)) == {method.name for method in own}


def test_what_is_served_are_the_documents_of_all_surfaces() -> None:
    assert json.loads(installed_documents()[0]) == DOCUMENT
    other = {
        "tags": [{"name": "Other", "description": ""}],
        "paths": {"/other": {}},
        "components": {"schemas": {"other.Error": {}}},
    }
    both = joined([DOCUMENT, other])
    assert both["info"] == DOCUMENT["info"]
    assert list(both["paths"]) == [*DOCUMENT["paths"], "/other"]
    assert both["tags"][-1]["name"] == "Other"
    assert set(both["components"]["schemas"]) - set(DOCUMENT["components"]["schemas"]) == {
        "other.Error"
    }
    assert both["components"]["securitySchemes"] == DOCUMENT["components"]["securitySchemes"]


def test_no_two_surfaces_name_their_models_alike() -> None:
    prefixes = [surface.schema_prefix for surface in surfaces()]
    assert len(set(prefixes)) == len(prefixes)


def test_what_transfers_take_and_answer() -> None:
    path = "/filesystem/{system}/transfer/"
    request = operation(f"{path}upload", "post")["requestBody"]["content"]["application/json"]
    body = resolved(request["schema"])
    assert set(body["required"]) >= {"transferDirectives"}
    answered = reply(f"{path}upload", "post", "201")
    assert set(answered["properties"]) == {"transferJob", "transferDirectives"}
    assert set(reply(f"{path}rm", "delete")["properties"]) == {"transferJob"}


def test_native_types_are_those_of_proto_json() -> None:
    job = resolved({"$ref": "#/components/schemas/Job"})["properties"]
    assert job["priority"]["type"] == "string"  # 64 bits
    assert job["nodeCount"]["type"] == "integer"
    assert job["startTime"]["format"] == "date-time"
    assert job["steps"]["items"] == {"$ref": "#/components/schemas/Job.Step"}
    assert job["name"]["description"] == "The job's name."
    state = resolved(job["state"])
    assert "SUCCEEDED" in state["enum"]
    assert "- `SUCCEEDED`: Ended well." in state["description"]
    environment = DOCUMENT["components"]["schemas"]["JobDescription"]["properties"]["environment"]
    assert environment["additionalProperties"] == {"type": "string"}


def test_path_variables_are_not_asked_for_in_the_body() -> None:
    body = operation("/v1/systems/{system}/files:mkdir", "post")["requestBody"]
    assert set(body["content"]["application/json"]["schema"]["properties"]) == {
        "path",
        "parents",
        "rawPath",
        "requestId",
    }


def test_streams_of_file_content_are_binary() -> None:
    path = "/v1/systems/{system}/files:content"
    assert reply(path, "get", kind="application/octet-stream")["format"] == "binary"
    assert "application/octet-stream" in operation(path, "put")["requestBody"]["content"]


def test_the_profile_is_described_by_its_models() -> None:
    system = reply("/status/systems", "get")["properties"]["systems"]["items"]
    assert "max_ops_file_size" in str(resolved(resolved(system)["properties"]["dataOperation"]))
    submit = operation("/compute/{system}/jobs", "post")
    assert "201" in submit["responses"]
    body = resolved(submit["requestBody"]["content"]["application/json"]["schema"])
    assert "job" in body["properties"]
    window = next(
        p
        for p in operation("/compute/{system}/jobs", "get")["parameters"]
        if p["name"] == "time_window"
    )
    assert window["schema"]["enum"] == ["1h", "8h", "24h", "3d", "7d"]
    upload = operation("/filesystem/{system}/ops/upload", "post")["requestBody"]["content"]
    assert set(upload) == {"multipart/form-data"}


def test_each_surface_has_its_own_error() -> None:
    native = reply("/v1/systems", "get", "4XX")
    profile = reply("/status/systems", "get", "4XX")
    assert native["required"] == ["error"]
    assert profile["required"] == ["errorType", "message", "causedBy", "data", "user"]


def test_only_liveness_asks_for_no_token() -> None:
    free = [
        path
        for path, verbs in DOCUMENT["paths"].items()
        for item in verbs.values()
        if not item["security"]
    ]
    assert free == ["/status/liveness/"]
    assert DOCUMENT["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
