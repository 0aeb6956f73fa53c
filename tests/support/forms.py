"""Bodies as REST callers send them."""

from __future__ import annotations

import base64
import json
from typing import Any

BOUNDARY = "----a-boundary"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
JSON = "application/json"

Value = bytes | str


def form(*parts: tuple[str, Value], boundary: str = BOUNDARY) -> bytes:
    """A form of these parts; the one called "file" has a file name, as browsers give it."""
    return b"".join(part(name, value, boundary) for name, value in parts) + f"--{boundary}--\r\n".encode()


def part(name: str, value: Value, boundary: str = BOUNDARY) -> bytes:
    """One part with the boundary before it."""
    file_name = '; filename="picture.jpg"\r\nContent-Type: image/jpeg' if name == "file" else ""
    header = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file_name}\r\n\r\n'
    return header.encode() + (value.encode() if isinstance(value, str) else value) + b"\r\n"


def json_body(picture: bytes, **members: Any) -> bytes:
    """An object with the picture in base64."""
    return json.dumps({"image": base64.b64encode(picture).decode(), **members}).encode()
