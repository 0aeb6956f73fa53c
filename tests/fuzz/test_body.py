"""Any body is a picture with fields or an error of ours that the caller may see, and nothing else."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any
from urllib.parse import urlencode

import pytest
from google.api.httpbody_pb2 import HttpBody
from hypothesis import given, settings
from hypothesis import strategies as st
from support.forms import FORM, JSON, form, json_body

from detector_grpc._gen.detector.v1.predict_pb2 import PredictRequest
from detector_grpc.errors import InvalidRequest, Violation
from detector_grpc.rpc.body import read_body
from detector_grpc.rpc.fields import Fields, read_query
from detector_grpc.rpc.predict_messages import parse_rest
from detector_grpc.rpc.status import rich_status

INPUTS = 50_000
PICTURE = bytes(range(256))
FORMS = [
    form(("file", PICTURE)),
    form(("conf_threshold", "0.5"), ("file", PICTURE), ("classes", "car"), ("classes", "bus")),
    form(("version", "v1"), ("model", "street"), ("max_detections", "10"), ("file", b"")),
    form(("multi_label", "true"), ("file", PICTURE), ("file", PICTURE)),
]
OBJECTS = [
    json_body(PICTURE),
    json_body(b"", conf_threshold=0.5, classes=["car", "bus"], max_detections=10),
    json_body(PICTURE, version="v1", model="street", multi_label=True, iou_threshold=0.5),
]

texts = st.text(max_size=20)
fields = st.fixed_dictionaries(
    {},
    optional={
        "conf_threshold": st.floats(0, 1),
        "version": texts,
        "model": texts,
        "iou_threshold": st.floats(0, 1),
        "classes": st.lists(texts, min_size=1, max_size=5),
        "multi_label": st.booleans(),
        "class_agnostic_nms": st.booleans(),
        "max_detections": st.integers(1, 1000),
    },
)


def texts_say(said: dict[str, Any]) -> dict[str, Any]:
    """What texts say: those that are empty say nothing."""
    values = {name: [each for each in value if each] if name == "classes" else value for name, value in said.items()}
    return {name: value for name, value in values.items() if value not in ("", [])}


def outcome(content_type: str, data: bytes, query: str = "") -> str:
    """What became of a body; raises whatever is neither a checked call nor an error of ours."""
    try:
        call = parse_rest(PredictRequest(body=HttpBody(content_type=content_type, data=data)), query)
    except InvalidRequest as error:
        status = rich_status(error, "id-1")
        assert len(status.trailing_metadata[0][1]) < 4096
        return error.violations[0].field
    assert len(call.detect.image.data) <= len(data)
    return "a call"


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("content_type", "corpus"), [(FORM, FORMS), (JSON, OBJECTS)], ids=["form", "json"])
def test_damaged_bodies_are_read_or_refused_and_leave_no_memory_behind(
    content_type: str, corpus: list[bytes], mutator: Any, memory: Any
) -> None:
    watched, outcomes = memory(INPUTS), Counter[str]()
    for damaged in mutator(corpus).inputs(INPUTS):
        outcomes[outcome(content_type, damaged)] += 1
        watched.tick()
    watched.assert_flat()
    assert outcomes.total() == INPUTS
    # Were nearly everything no form and no JSON at all, the rest would not be tried.
    assert outcomes["a call"] > INPUTS // 20
    assert INPUTS // 20 < outcomes["body"] < INPUTS * 9 // 10


@settings(max_examples=2000, deadline=None)
@given(st.sampled_from([FORM, JSON, "multipart/form-data; boundary=\x00", "image/"]) | st.text(), st.binary())
def test_any_bytes_of_any_type_are_read_or_refused(content_type: str, data: bytes) -> None:
    outcome(content_type, data)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=1000, deadline=None)
@given(st.dictionaries(st.sampled_from(["image", *Fields.model_fields]) | st.text(), json_values, max_size=5))
def test_any_json_is_read_or_refused(value: Any) -> None:
    outcome(JSON, json.dumps(value).encode())


@settings(max_examples=1000, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["file", *Fields.model_fields]) | texts, st.binary(max_size=50) | texts)))
def test_any_parts_are_read_or_refused(parts: list[tuple[str, bytes | str]]) -> None:
    outcome(FORM, form(*parts))


@settings(max_examples=1000, deadline=None)
@given(st.binary(max_size=500), fields, st.randoms(use_true_random=False))
def test_a_form_says_what_was_put_into_it(picture: bytes, said: dict[str, Any], random: Any) -> None:
    parts = [("file", picture)]
    for name, value in said.items():
        if name != "classes":
            parts.append((name, str(value).lower() if isinstance(value, bool) else str(value)))
    random.shuffle(parts)
    parts += [("classes", name) for name in said.get("classes", ())]

    read = read_body(FORM, form(*parts))
    assert (read.picture, dict(read.said)) == (picture, texts_say(said))


@settings(max_examples=1000, deadline=None)
@given(st.binary(max_size=500), fields)
def test_an_object_says_what_was_put_into_it(picture: bytes, said: dict[str, Any]) -> None:
    read = read_body(JSON, json_body(picture, **said))
    assert (read.picture, dict(read.said)) == (picture, said)


@settings(max_examples=2000, deadline=None)
@given(st.text() | st.lists(st.sampled_from([*Fields.model_fields, "=", "&", "%", "%ff", "1", "a"])).map("".join))
def test_any_query_is_read_or_refused(query: str) -> None:
    outcome("image/", b"picture", query)


@settings(max_examples=1000, deadline=None)
@given(fields)
def test_a_query_says_what_was_put_into_it(said: dict[str, Any]) -> None:
    violations: list[Violation] = []
    texts = {name: str(value).lower() if isinstance(value, bool) else value for name, value in said.items()}

    assert dict(read_query(urlencode(texts, doseq=True), violations)) == texts_say(said)
    assert not violations
