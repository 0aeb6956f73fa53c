"""The page's own list of messages is that of the contract."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest
from google.protobuf import any_pb2, duration_pb2  # noqa: F401  fill the pool
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pool import Default
from google.rpc import error_details_pb2, status_pb2  # noqa: F401  fill the pool

from detector_grpc._gen.detector.v1 import detector_service_pb2  # noqa: F401  fills the pool

SOURCE = (files("detector_grpc") / "gateway" / "page" / "messages.js").read_text(encoding="utf-8")
MESSAGES = json.loads(SOURCE.partition("MESSAGES = ")[2].rstrip().removesuffix(";"))

TYPES = {
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_FLOAT: "float",
}


@pytest.mark.parametrize(
    ("message", "field"), [(message, field) for message, fields in MESSAGES.items() for field in fields]
)
def test_a_field_has_the_number_and_the_type_of_the_contract(message: str, field: str) -> None:
    number, type_name, *repeated = MESSAGES[message][field]
    descriptor = Default().FindMessageTypeByName(message).fields_by_name[field]

    assert descriptor.number == number
    expected = descriptor.message_type.full_name if descriptor.message_type else TYPES[descriptor.type]
    assert type_name == expected
    assert repeated == (["repeated"] if descriptor.is_repeated else [])


def test_every_message_that_a_field_has_is_there() -> None:
    named = {field[1] for fields in MESSAGES.values() for field in fields.values() if "." in field[1]}

    assert named <= MESSAGES.keys()
