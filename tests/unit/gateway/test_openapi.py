"""What the description of the REST API says is what the contract and the gateway do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import grpc
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

import detector_grpc
from detector_grpc._gen.detector.v1.predict_pb2 import PredictRequest, PredictResponse
from detector_grpc.errors import (
    AnswersNotRead,
    ResumeTokenExpired,
    ResumeTokenInvalid,
    TooManyStreams,
    TrackingNotInstalled,
    VersionNotFound,
)
from detector_grpc.gateway.descriptors import rest_paths
from detector_grpc.gateway.local_errors import LOCAL_ERRORS
from detector_grpc.rpc.status import CODES

DOCUMENT = json.loads((Path(detector_grpc.__file__).parent / "gateway" / "openapi.json").read_text(encoding="utf-8"))
PATHS, SCHEMAS = DOCUMENT["paths"], DOCUMENT["components"]["schemas"]
PICTURE_PATHS = ["/predict", "/annotate", "/{version}/predict", "/{version}/annotate"]

# What Envoy's transcoder makes of the canonical codes.
HTTP_STATUSES = {
    grpc.StatusCode.INVALID_ARGUMENT: "400",
    grpc.StatusCode.FAILED_PRECONDITION: "400",
    grpc.StatusCode.UNAUTHENTICATED: "401",
    grpc.StatusCode.PERMISSION_DENIED: "403",
    grpc.StatusCode.NOT_FOUND: "404",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "429",
    grpc.StatusCode.INTERNAL: "500",
    grpc.StatusCode.UNAVAILABLE: "503",
    grpc.StatusCode.DEADLINE_EXCEEDED: "504",
}
NOT_OF_REST = {
    AnswersNotRead,
    ResumeTokenExpired,
    ResumeTokenInvalid,
    TooManyStreams,
    TrackingNotInstalled,
    VersionNotFound,
}


def test_is_valid_openapi_3_1() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_describes_every_path_of_the_contract() -> None:
    described = {path: [verb.upper() for verb in verbs] for path, verbs in PATHS.items()}

    assert {path: of.methods for path, of in rest_paths().items()}.items() <= described.items()


@pytest.mark.parametrize("path", PICTURE_PATHS)
def test_has_every_status_that_a_call_with_a_picture_can_end_with(path: str) -> None:
    statuses = PATHS[path]["post"]["responses"].keys()

    assert {HTTP_STATUSES[code] for error, code in CODES.items() if error not in NOT_OF_REST} <= statuses
    # A method that a path does not have is none of its operations.
    assert {str(status) for status in LOCAL_ERRORS} - {"405"} <= statuses


@pytest.mark.parametrize("path", PICTURE_PATHS)
def test_says_what_a_body_may_be_and_what_the_query(path: str) -> None:
    operation = PATHS[path]["post"]
    content = operation["requestBody"]["content"]
    fields = {field.name for field in PredictRequest.DESCRIPTOR.fields} - {"body"}
    in_path = {each["name"] for each in operation["parameters"] if each.get("in") == "path"}
    in_query = {each["name"] for each in operation["parameters"] if each.get("in") == "query"}

    assert set(content) == {"multipart/form-data", "application/json", "image/*", "application/octet-stream"}
    for kind, picture in (("multipart/form-data", "file"), ("application/json", "image")):
        schema = content[kind]["schema"]
        assert schema["properties"].keys() == fields - in_path | {picture}
        assert schema["required"] == [picture]
    assert in_path == ({"version"} if "{version}" in path else set())
    assert in_query == fields - in_path


def test_promises_exactly_the_members_of_the_answer() -> None:
    members = ["request_id", "version", "detections", "inference_time", "image_shape", "confidence_threshold"]
    answer = SCHEMAS["PredictResponse"]

    assert [field.name for field in PredictResponse.DESCRIPTOR.fields] == members
    assert list(answer["properties"]) == answer["required"] == members
    assert not answer["additionalProperties"]
    assert list(SCHEMAS["PredictDetection"]["properties"]) == ["class_id", "class_name", "confidence", "bbox"]


def test_everything_has_words_and_ranges_are_rules() -> None:
    threshold = SCHEMAS["PredictResponse"]["properties"]["confidence_threshold"]

    assert threshold["description"] == "The confidence threshold that was used. Range [0, 1]."
    assert (threshold["minimum"], threshold["maximum"]) == (0, 1)
    assert not list(undescribed(SCHEMAS, "schemas"))
    for path, verbs in PATHS.items():
        for verb, operation in verbs.items():
            assert operation["summary"], (path, verb)
            assert operation["description"], (path, verb)


def undescribed(schemas: dict[str, Any], where: str) -> Any:
    """Names of schemas and their members that nothing is said of."""
    for name, schema in schemas.items():
        if not schema.get("description") and "$ref" not in schema:
            yield f"{where}.{name}"
        yield from undescribed(schema.get("properties", {}), f"{where}.{name}")


def test_a_field_that_refers_to_another_has_the_words_of_that() -> None:
    parameters = {
        path: {each["name"]: each.get("description") for each in PATHS[path]["post"]["parameters"] if "name" in each}
        for path in ("/predict", "/annotate")
    }

    assert parameters["/annotate"] == parameters["/predict"]
    assert parameters["/annotate"]["conf_threshold"].startswith("Lowest confidence of a detection.")
