"""The description of the REST API: the contract with its comments, in the frame of openapi.yaml."""

from __future__ import annotations

import re
import tempfile
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from google.api import annotations_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc

from detector_grpc import __version__
from detector_grpc.gateway.descriptors import SERVICES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.api.http_pb2 import HttpRule
    from google.protobuf.descriptor import Descriptor, MethodDescriptor

    Json = dict[str, Any]

FRAME = Path(__file__).with_suffix(".yaml")
PROTOS = FRAME.parents[1] / "protos"
PACKAGE = "detector.v1"
HTTP_BODY = "google.api.HttpBody"
TIMESTAMP = "google.protobuf.Timestamp"
BODY_FIELD = "body"

FILE: Json = {"type": "string", "format": "binary"}
SCALARS: dict[int, Json] = {
    FieldDescriptor.CPPTYPE_FLOAT: {"type": "number", "format": "float"},
    FieldDescriptor.CPPTYPE_INT32: {"type": "integer", "format": "int32"},
    FieldDescriptor.CPPTYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.CPPTYPE_STRING: {"type": "string"},
}

# Statuses that every call may end with, and those of calls that bring a picture.
STATUSES = (400, 401, 403, 404, 431, 500, 503, 504)
BODY_STATUSES = (408, 413, 415, 501)
PICTURE_STATUSES = (408, 413, 415, 429, 501)

_RANGE = re.compile(r"Range \[(\d+), (\d+)\]\.")
_EXAMPLE = re.compile(r'e\.g\. "(\w+)"')
_SEE = re.compile(r"As (\w+\.\w+)\.")


def openapi() -> Json:
    """The whole document."""
    document: Json = yaml.safe_load(FRAME.read_text(encoding="utf-8"))
    document["info"]["version"] = __version__
    paths, schemas = document["paths"], document["components"]["schemas"]
    services = [{"name": service.name, "description": _comment(service.full_name)} for service in SERVICES]
    document["tags"] = [*services, *document["tags"]]
    for service in SERVICES:
        for method in service.methods:
            for path, verb, operation in _operations(method, schemas):
                paths.setdefault(path, {})[verb] = operation
    document["paths"] = dict(sorted(paths.items()))
    document["components"]["schemas"] = dict(sorted(schemas.items()))
    return document


def _operations(method: MethodDescriptor, schemas: Json) -> Iterator[tuple[str, str, Json]]:
    """Path, HTTP method and description of each way to call a method."""
    rule: HttpRule = method.GetOptions().Extensions[annotations_pb2.http]
    for each in (rule, *rule.additional_bindings):
        if verb := each.WhichOneof("pattern"):
            path = getattr(each, verb)
            yield path, verb, _operation(method, path, schemas, has_body=bool(each.body))


def _operation(method: MethodDescriptor, path: str, schemas: Json, *, has_body: bool) -> Json:
    in_path = re.findall(r"{(\w+)}", path)
    words = _comment(method.full_name)
    parameters = [_in_path(method.input_type, name) for name in in_path]
    # What the path says already, the query could only contradict.
    parameters += [
        {"name": field.name, "in": "query"} | _parameter(method.input_type, field.name)
        for field in method.input_type.fields
        if field.name not in (BODY_FIELD, *in_path) and (BODY_FIELD in method.input_type.fields_by_name or not has_body)
    ]
    operation: Json = {
        "operationId": method.name + "".join(f"By{name.title()}" for name in in_path if path.startswith("/{")),
        "tags": [method.containing_service.name],
        "summary": words.split(". ")[0].rstrip("."),
        "description": words,
    }
    statuses = STATUSES
    if BODY_FIELD in method.input_type.fields_by_name:
        names = [*(() if in_path else ("pin", "user", "stream")), "request_id", "capture"]
        parameters += [{"$ref": f"#/components/parameters/{name}"} for name in names]
        operation["requestBody"] = _picture_body(method.input_type, in_path)
        statuses = tuple(sorted(STATUSES + PICTURE_STATUSES))
    elif has_body:
        fields = {field.name: _field(field, schemas) for field in method.input_type.fields}
        schema = _object(fields, [name for name, field in fields.items() if "Required." in field["description"]])
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
        statuses = tuple(sorted(STATUSES + BODY_STATUSES))
    operation["parameters"] = parameters
    operation["responses"] = {"200": _answer(method, schemas)} | {
        str(status): {"$ref": f"#/components/responses/{status}"} for status in statuses
    }
    return operation


def _in_path(message: Descriptor, name: str) -> Json:
    parameter = {"name": name, "in": "path", "required": True} | _parameter(message, name)
    example = _EXAMPLE.search(parameter["description"])  # so that a page where it can be tried has it filled in
    return parameter | ({"example": example[1]} if example else {})


def _parameter(message: Descriptor, name: str) -> Json:
    schema = _field(message.fields_by_name[name], {})
    return {"description": schema.pop("description"), "schema": schema}


def _picture_body(message: Descriptor, in_path: list[str]) -> Json:
    """A form, JSON or the picture itself; what the path says is not said again."""
    fields = {field.name: _field(field, {}) for field in message.fields if field.name not in (BODY_FIELD, *in_path)}
    picture = "The picture file."
    in_base64 = {"type": "string", "contentEncoding": "base64", "description": f"{picture[:-1]} in base64."}
    return {
        "description": _comment(message.fields_by_name[BODY_FIELD].full_name),
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": _object({"file": FILE | {"description": picture}, **fields}, ["file"]),
                "encoding": {"classes": {"style": "form", "explode": True}},
            },
            "application/json": {"schema": _object({"image": in_base64, **fields}, ["image"])},
            "image/*": {"schema": FILE},
            "application/octet-stream": {"schema": FILE},
        },
    }


def _answer(method: MethodDescriptor, schemas: Json) -> Json:
    headers = {"x-request-id": {"$ref": "#/components/headers/request_id"}}
    if BODY_FIELD in method.input_type.fields_by_name:
        headers["x-detector-arm"] = {"$ref": "#/components/headers/arm"}
        headers["x-detector-uncertainty"] = {"$ref": "#/components/headers/uncertainty"}
        headers["x-detector-uncertainty-driver"] = {"$ref": "#/components/headers/uncertainty_driver"}
    if method.output_type.full_name == HTTP_BODY and BODY_FIELD not in method.input_type.fields_by_name:
        return {
            "description": "The page.",
            "headers": headers,
            "content": {"text/html": {"schema": {"type": "string"}}},
        }
    if method.output_type.full_name == HTTP_BODY:
        headers["x-model-version"] = {"$ref": "#/components/headers/version"}
        return {"description": "The picture.", "headers": headers, "content": {"image/jpeg": {"schema": FILE}}}
    schema = _message(method.output_type, schemas)
    words = _comment(method.output_type.full_name)
    return {"description": words, "headers": headers, "content": {"application/json": {"schema": schema}}}


def _message(message: Descriptor, schemas: Json) -> Json:
    """A reference to a message's schema, which is added where it is not there yet."""
    if message.name not in schemas:
        schemas[message.name] = {}
        # Envoy prints every field but those that can be unset and are.
        printed = [field.name for field in message.fields if field.is_repeated or not field.has_presence]
        properties = {field.name: _field(field, schemas) for field in message.fields}
        schemas[message.name] |= {"description": _comment(message.full_name), **_object(properties, printed)}
    return {"$ref": f"#/components/schemas/{message.name}"}


def _field(field: FieldDescriptor, schemas: Json) -> Json:
    words = _comment(field.full_name)
    if field.message_type and field.message_type.GetOptions().map_entry:
        value = _value(field.message_type.fields_by_name["value"], schemas)
        return {"type": "object", "additionalProperties": value, "description": words}
    schema = _value(field, schemas)
    if field.is_repeated:
        return {"type": "array", "items": schema, "description": words}
    if limits := _RANGE.search(words):
        schema |= {"minimum": int(limits[1]), "maximum": int(limits[2])}
    return schema | {"description": words}


def _value(field: FieldDescriptor, schemas: Json) -> Json:
    if field.message_type and field.message_type.full_name == TIMESTAMP:
        return {"type": "string", "format": "date-time"}
    if field.message_type:
        return _message(field.message_type, schemas)
    if field.enum_type:
        return {"type": "string", "enum": [value.name for value in field.enum_type.values]}
    return dict(SCALARS[field.cpp_type])


def _object(properties: Json, required: list[str]) -> Json:
    described: Json = {"type": "object", "properties": properties, "additionalProperties": False}
    return described | ({"required": required} if required else {})


def _comment(full_name: str) -> str:
    """What the contract says; where it refers to a field, what it says of that."""
    return _SEE.sub(lambda found: _comment(f"{PACKAGE}.{found[1]}"), _comments()[full_name])


@cache
def _comments() -> dict[str, str]:
    """The comments of the contract by the full names of what they are about."""
    sources = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.glob("detector/**/*.proto"))
    well_known = files("grpc_tools") / "_proto"
    with tempfile.NamedTemporaryFile() as file:
        options = [f"-I{PROTOS}", f"-I{well_known}", "--include_source_info", f"--descriptor_set_out={file.name}"]
        if protoc.main(["protoc", *options, *sources]) != 0:
            raise SystemExit("protoc failed")
        compiled = FileDescriptorSet.FromString(Path(file.name).read_bytes())
    return {
        _full_name(proto, list(place.path)): _unwrapped(place.leading_comments)
        for proto in compiled.file
        for place in proto.source_code_info.location
        if place.leading_comments
    }


def _full_name(proto: FileDescriptorProto, place: list[int]) -> str:
    """The name of what is at a place: field numbers and indices in turn, as descriptors have them."""
    names: list[str] = [proto.package]
    thing: Any = proto
    for number, index in zip(place[::2], place[1::2], strict=False):
        thing = getattr(thing, thing.DESCRIPTOR.fields_by_number[number].name)[index]
        names.append(thing.name)
    return ".".join(names)


def _unwrapped(comment: str) -> str:
    """The comment without its line breaks, but for those of paragraphs and lists."""
    lines = [line.strip() for line in comment.splitlines()]
    return re.sub(r"(?<!\n)\n(?!\n|- )", " ", "\n".join(lines)).strip()
