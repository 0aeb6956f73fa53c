"""The body of a REST call: a form, JSON, or the picture itself.

These are bytes of strangers, and where they are many, reading them takes milliseconds.

What a form or an object may hold is bounded before anything is made of it, since Python makes values at some
microseconds each: a body of 16 MiB has room for millions of them.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from multipart import MultipartError, ParserLimitReached, PushMultipartParser, parse_options_header
from pydantic import ConfigDict, TypeAdapter

from detector_grpc.errors import InvalidRequest, Violation
from detector_grpc.rpc.fields import Fields, cut, read_members, read_texts, refused, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from detector_grpc.rpc.fields import Said

FORM, JSON, BYTES, ANY_IMAGE = "multipart/form-data", "application/json", "application/octet-stream", "image/"
FILE_PART, IMAGE_MEMBER = "file", "image"

MAX_PARTS = 100
MAX_PART_HEADERS = 8
MAX_VALUE_BYTES = 1024
# Of an object without its picture. No value comes without a comma but the first.
MAX_BESIDE_BYTES = 1024 * 1024
MAX_COMMAS = 2000
MAX_CONTENT_TYPE_LENGTH = 256


class Body(NamedTuple):
    """What was sent.

    Attributes:
        picture: The picture file.
        said: What was said beside it.
    """

    picture: bytes
    said: Said


def read_body(content_type: str, data: bytes) -> Body:
    """Takes a body apart.

    Args:
        content_type: Type of the body, with the boundary of a form.
        data: The body.

    Raises:
        InvalidRequest: It is of another type, damaged, has no picture or several, or fields that are unknown or wrong.
    """
    kind, options = parse_options_header(content_type[:MAX_CONTENT_TYPE_LENGTH])
    if not data:
        raise refused("body", "is empty; the picture is missing")
    if kind == FORM:
        return _read_form(options.get("boundary", ""), data)
    if kind == JSON:
        return _read_object(data)
    if is_picture(kind):
        return Body(data, [])
    accepted = f"must be {FORM}, {JSON}, {BYTES} or one of {ANY_IMAGE}"
    raise refused("body.content_type", f"{accepted}, {f'got {shown(kind)}' if kind else 'there is none'}")


def is_picture(content_type: str) -> bool:
    """Whether a body of this type is the picture itself, which takes no time to read."""
    return content_type.lower().startswith((ANY_IMAGE, BYTES))


def _read_form(boundary: str, data: bytes) -> Body:
    if not boundary:
        raise refused("body.content_type", "must name the boundary of the form's parts, there is none")
    pictures: list[bytes] = []
    texts: list[tuple[str, str]] = []
    violations: list[Violation] = []
    for name, content in _parts(boundary, data):
        if name == FILE_PART:
            pictures.append(content)
        elif len(content) > MAX_VALUE_BYTES and name in Fields.model_fields:
            violations.append(Violation(cut(name), f"must have at most {MAX_VALUE_BYTES} bytes, got {len(content)}"))
        else:
            texts.append((name, content[:MAX_VALUE_BYTES].decode(errors="replace")))
    if len(pictures) != 1:
        given = f"got {len(pictures)} of them" if pictures else "it is missing"
        violations.append(Violation(FILE_PART, f"the picture must be one part of the form, {given}"))
    said = read_texts(texts, violations)
    if violations:
        raise InvalidRequest(violations)
    return Body(pictures[0], said)


def _parts(boundary: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and content of each part."""
    number, all_read = 1, False
    name, content = "", b""
    try:
        parser = PushMultipartParser(
            boundary, max_header_count=MAX_PART_HEADERS, max_segment_count=MAX_PARTS, strict=True
        )
        for event in parser.parse(data):
            if event is None:
                yield name, content
                number += 1
            elif isinstance(event, bytes):
                content += event  # all of the part comes at once, as all of the data is there, so this copies nothing
            else:
                name, content = event.name or "", b""
        all_read = True
        parser.close()
    except ParserLimitReached:
        rule = f"must have at most {MAX_PARTS} parts of at most {MAX_PART_HEADERS} short headers each, got more"
        raise refused("body", rule) from None
    except MultipartError:
        how = "breaks off" if all_read else f"cannot be read, by the boundary {shown(boundary)}"
        raise refused("body", f"is no whole form: part {number} {how}") from None


def _read_object(data: bytes) -> Body:
    in_base64, beside = _cut_out(data)
    members = _members(beside)
    violations: list[Violation] = []
    said = read_members([(name, value) for name, value in members if name != IMAGE_MEMBER], violations)
    pictures = [value for name, value in members if name == IMAGE_MEMBER]
    picture = b""
    if len(pictures) != 1:
        given = f"must be one member, got {len(pictures)} of them" if pictures else _MISSING
        violations.append(Violation(IMAGE_MEMBER, given))
    elif not isinstance(pictures[0], str):
        violations.append(Violation(IMAGE_MEMBER, f"{_IN_BASE64}, got {shown(pictures[0])}"))
    else:
        text = in_base64 or pictures[0].encode(errors="replace")
        try:
            picture = _from_base64(text)
        except ValueError:
            beginning = text[:MAX_VALUE_BYTES].decode(errors="replace")
            violations.append(Violation(IMAGE_MEMBER, f"{_IN_BASE64}, got {shown(beginning)}"))
    if violations:
        raise InvalidRequest(violations)
    return Body(picture, said)


_MISSING = "is required: the picture file in base64"
_IN_BASE64 = "must be a text in base64, without blanks and line breaks"

# Where the picture begins. In an object that is accepted this is the picture: no text has such quotation marks in it.
_IMAGE = re.compile(rb'"%s"[ \t\r\n]*:[ \t\r\n]*"' % IMAGE_MEMBER.encode())


def _cut_out(data: bytes) -> tuple[bytes, bytes]:
    """The picture in base64, and the object with an empty text in its place: reading long JSON stops all threads.

    Raises:
        InvalidRequest: The picture breaks off, or the object is long even without it.
    """
    found = _IMAGE.search(data, 0, MAX_BESIDE_BYTES)
    if found is None:
        in_base64, beside = b"", data
    else:
        end = data.find(b'"', found.end())
        if end < 0:
            raise refused("body", "is no JSON: it breaks off")
        in_base64, beside = data[found.end() : end], data[: found.end()] + data[end:]
    if len(beside) > MAX_BESIDE_BYTES:
        rule = f"must have at most {MAX_BESIDE_BYTES} bytes beside the picture, got {len(beside)}"
        raise refused("body", rule) if found else refused(IMAGE_MEMBER, _MISSING)
    return in_base64, beside


class _Members(dict[str, Any]):
    """A JSON object that keeps members whose names come again."""

    def __init__(self, pairs: Said) -> None:
        super().__init__(pairs)
        self.pairs = pairs


def _members(data: bytes) -> Said:
    """Names and values in a JSON object."""
    if data.count(b",") > MAX_COMMAS:
        raise refused("body", f"must have at most {MAX_COMMAS} members and items, got more")
    try:
        content = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_Members)
    except json.JSONDecodeError as error:
        left = error.doc[error.pos :]
        raise refused("body", f"is no JSON: {f'wrong from {shown(left)} on' if left else 'it breaks off'}") from None
    except UnicodeDecodeError:
        raise refused("body", "is no JSON: it must be in UTF-8") from None
    except ValueError:
        raise refused("body", "must have numbers of fewer digits") from None
    except RecursionError:
        raise refused("body", "must not be nested so deeply") from None
    if not isinstance(content, _Members):
        raise refused("body", "must be a JSON object")
    return content.pairs


_BASE64 = TypeAdapter(bytes, config=ConfigDict(val_json_bytes="base64"))
_SLICE_BYTES = 1024 * 1024


def _from_base64(text: bytes) -> bytes:
    """The bytes, in slices, between which other threads run.

    Args:
        text: As JSON has it between quotation marks.

    Raises:
        ValueError: It is no base64.
    """
    if 0 <= text.find(b"=") < len(text) - 2:
        raise ValueError("padding before the end")
    size = len(text) if b"\\" in text else _SLICE_BYTES  # some languages escape letters of base64
    return b"".join(_BASE64.validate_json(b'"%s"' % text[at : at + size]) for at in range(0, len(text), size))
