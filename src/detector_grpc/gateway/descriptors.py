"""What Envoy has to know of the contract to offer it as REST."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from google.api import annotations_pb2
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.rpc import error_details_pb2, status_pb2

from detector_grpc._gen.detector.v1 import detector_service_pb2, drift_service_pb2, model_service_pb2

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FileDescriptor, ServiceDescriptor

SERVICES: list[ServiceDescriptor] = [
    detector_service_pb2.DESCRIPTOR.services_by_name["DetectorService"],
    model_service_pb2.DESCRIPTOR.services_by_name["ModelService"],
    drift_service_pb2.DESCRIPTOR.services_by_name["DriftService"],
]
DETECTOR_SERVICE, MODEL_SERVICE, DRIFT_SERVICE = (service.full_name for service in SERVICES)
# The field that holds a body of any type.
_BODY = "body"

STREAM_METHOD = f"/{DETECTOR_SERVICE}/StreamDetect"


def descriptor_set() -> bytes:
    """The contract as a serialized FileDescriptorSet, each file behind those that it imports.

    The details of errors are not imported by it, but without them Envoy answers errors without a body.
    """
    ordered: dict[str, FileDescriptor] = {}
    for file in (status_pb2.DESCRIPTOR, error_details_pb2.DESCRIPTOR, *(service.file for service in SERVICES)):
        _add(file, ordered)
    return FileDescriptorSet(
        file=[FileDescriptorProto.FromString(file.serialized_pb) for file in ordered.values()]
    ).SerializeToString(deterministic=True)


class RestPath(NamedTuple):
    """A path of REST.

    Attributes:
        methods: HTTP methods that it takes.
        takes_picture: Whether its body is, or has, a picture.
    """

    methods: list[str]
    takes_picture: bool


def rest_paths() -> dict[str, RestPath]:
    """What there is for REST by the path templates that the contract has for it."""
    paths: dict[str, RestPath] = {}
    for service in SERVICES:
        for method in service.methods:
            rule = method.GetOptions().Extensions[annotations_pb2.http]
            takes_picture = _BODY in method.input_type.fields_by_name
            for each in (rule, *rule.additional_bindings):
                if kind := each.WhichOneof("pattern"):
                    paths.setdefault(getattr(each, kind), RestPath([], takes_picture)).methods.append(kind.upper())
    return paths


def rest_fields() -> list[str]:
    """Fields of all requests of REST by all names that Envoy knows them by, those of a body included."""
    names = {f"body.{name}" for name in _names(HttpBody.DESCRIPTOR)}
    for service in SERVICES:
        for method in service.methods:
            if method.GetOptions().HasExtension(annotations_pb2.http):
                names |= _names(method.input_type)
    return sorted(names)


def _names(message: Descriptor) -> set[str]:
    return {name for field in message.fields for name in (field.name, field.json_name)}


def _add(file: FileDescriptor, ordered: dict[str, FileDescriptor]) -> None:
    if file.name not in ordered:
        for imported in file.dependencies:
            _add(imported, ordered)
        ordered[file.name] = file
