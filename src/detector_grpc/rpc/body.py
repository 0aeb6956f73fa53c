"""The body of a REST call: a form, JSON, or the picture itself.

These are bytes of strangers, and where they are many, reading them takes milliseconds.

What a form or an object may hold is bounded before anything is made of it, since Python makes values at some
microseconds each: a body of 16 MiB has room for millions of them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from multipart import MultipartError, PushMultipartParser, parse_options_header
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from detector_grpc.errors import InvalidRequest, Violation
from detector_grpc.serving.options import MAX_DETECTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

FORM, JSON, BYTES, ANY_IMAGE = "multipart/form-data", "application/json", "application/octet-stream", "image/"
FILE_PART = "file"

MAX_PARTS = 100
MAX_PART_HEADERS = 8
MAX_VALUE_BYTES = 1024
# No picture in base64 has a comma in it, and no value comes without one but the first.
MAX_COMMAS = 2000
MAX_CONTENT_TYPE_LENGTH = 256
MAX_SHOWN_LENGTH = 40


class Fields(BaseModel):
    """What may be said beside the picture: fields of PredictRequest by their names, types checked, ranges not."""

    model_config = ConfigDict(extra="forbid", frozen=True, val_json_bytes="base64")

    conf_threshold: float | None = None
    version: str | None = None
    model: str | None = None
    iou_threshold: float | None = None
    classes: list[str] | None = None
    multi_label: bool | None = None
    class_agnostic_nms: bool | None = None
    max_detections: int | None = Field(None, ge=1, le=MAX_DETECTIONS)

    def said(self) -> dict[str, Any]:
        """Those that are set."""
        return self.model_dump(include=set(Fields.model_fields), exclude_none=True)


class _Object(Fields):
    """The JSON object."""

    image: bytes


class Body(NamedTuple):
    """What was sent.

    Attributes:
        picture: The picture file.
        fields: What was said beside it.
    """

    picture: bytes
    fields: dict[str, Any]


def read_body(content_type: str, data: bytes) -> Body:
    """Takes a body apart; the picture is the only copy that is made of it.

    Args:
        content_type: Type of the body, with the boundary of a form.
        data: The body.

    Raises:
        InvalidRequest: It is of another type, damaged, has no picture or several, or fields that are unknown or wrong.
    """
    kind, parameters = parse_options_header(content_type[:MAX_CONTENT_TYPE_LENGTH])
    if not data:
        raise _refused("body", "is empty; the picture is missing")
    if kind == FORM:
        return _read_form(parameters.get("boundary", ""), data)
    if kind == JSON:
        return _read_object(data)
    if is_picture(kind):
        return Body(data, {})
    accepted = f"must be {FORM}, {JSON}, {BYTES} or one of {ANY_IMAGE}"
    raise _refused("body.content_type", f"{accepted}, {f'got {_shown(kind)}' if kind else 'there is none'}")


def is_picture(content_type: str) -> bool:
    """Whether a body of this type is the picture itself, which takes no time to read."""
    return content_type.lower().startswith((ANY_IMAGE, BYTES))


def _read_form(boundary: str, data: bytes) -> Body:
    pictures: list[bytes] = []
    texts: dict[str, list[str]] = {}
    violations: list[Violation] = []
    for name, content in _parts(boundary, data):
        if name == FILE_PART:
            pictures.append(content)
        elif len(content) > MAX_VALUE_BYTES:
            rule = f"must have at most {MAX_VALUE_BYTES} bytes, got {len(content)}"
            violations.append(Violation(_cut(name), rule))
        else:
            texts.setdefault(name, []).append(content.decode(errors="replace"))
    if len(pictures) != 1:
        given = f"got {len(pictures)} of them" if pictures else "it is missing"
        violations.append(Violation(FILE_PART, f"the picture must be one part of the form, {given}"))
    violations += [
        Violation(_cut(name), f"must be given once, got it {len(values)} times")
        for name, values in texts.items()
        if len(values) > 1 and name != "classes"
    ]
    values = {name: given if name == "classes" else given[0] for name, given in texts.items()}
    try:
        said = Fields.model_validate(values).said()
    except ValidationError as error:
        violations += _violations(error)
    if violations:
        raise InvalidRequest(violations)
    return Body(pictures[0], said)


def _parts(boundary: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and content of each part."""
    try:
        parser = PushMultipartParser(
            boundary, max_header_count=MAX_PART_HEADERS, max_segment_count=MAX_PARTS, strict=True
        )
        name, content = "", b""
        for event in parser.parse(data):
            if event is None:
                yield name, content
            elif isinstance(event, bytes):
                content += event  # all of the part comes at once, as all of the data is there, so this copies nothing
            else:
                name, content = event.name or "", b""
        parser.close()
    except MultipartError as error:
        raise _refused("body", f"is no whole form of at most {MAX_PARTS} parts: {str(error)[:100].lower()}") from None


def _read_object(data: bytes) -> Body:
    if data.count(b",") > MAX_COMMAS:
        raise _refused("body", f"must have at most {MAX_COMMAS} members and items, got more")
    try:
        content = _Object.model_validate_json(data, strict=True)
    except ValidationError as error:
        raise InvalidRequest(_violations(error)) from None
    return Body(content.image, content.said())


# By the beginnings of pydantic's names of faults.
_RULES = {
    "extra_forbidden": f"there is no such field; there are {', '.join(Fields.model_fields)}",
    "missing": "is required: the picture file in base64",
    "json_invalid": "is no JSON",
    "model_type": "must be a JSON object",
    "bytes": "must be a text in base64",
    "float": "must be a number",
    "int": "must be a whole number",
    "greater_than_equal": f"must be in [1, {MAX_DETECTIONS}]",
    "less_than_equal": f"must be in [1, {MAX_DETECTIONS}]",
    "bool": "must be true or false",
    "string": "must be a text",
    "list": "must be a list of texts",
}
_WITHOUT_VALUE = ("extra_forbidden", "missing", "model_type")


def _violations(error: ValidationError) -> list[Violation]:
    """What is wrong with fields, in words for those who sent them."""
    violations = []
    for fault in error.errors(include_url=False):
        field = ".".join(map(str, fault["loc"])) or "body"
        kind = fault["type"]
        rule = next((rule for name, rule in _RULES.items() if kind.startswith(name)), "cannot be read")
        if kind == "json_invalid":
            actual = f": {fault['ctx']['error']}"
        else:
            actual = "" if kind in _WITHOUT_VALUE else f", got {_shown(fault['input'])}"
        violations.append(Violation(_cut(field), rule + actual))
    return violations


def _shown(value: object) -> str:
    """A value as JSON has it, of a long one its beginning."""
    return _cut(json.dumps(_cut(value) if isinstance(value, str) else value, ensure_ascii=False, default=repr))


def _cut(text: str) -> str:
    return text if len(text) <= MAX_SHOWN_LENGTH else f"{text[:MAX_SHOWN_LENGTH]}…"


def _refused(field: str, description: str) -> InvalidRequest:
    return InvalidRequest([Violation(field, description)])
