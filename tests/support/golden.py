"""Whole answers of REST, as golden files hold them: what differs from call to call is replaced by what it is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from support.http import Answer

FOLDER = Path(__file__).parents[1] / "integration" / "golden"


def golden(name: str) -> dict[str, Any]:
    """What a golden file holds."""
    answer: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return answer


def as_golden(answer: Answer) -> dict[str, Any]:
    """The answer as its golden file has it."""
    text = answer.body.decode()
    text = re.sub(r'"request_id": ?"[^"]+"', '"request_id": "ID"', text)
    text = re.sub(r'"inference_time": ?[\d.e-]+', '"inference_time": "SECONDS"', text)
    text = re.sub(r'"retry_delay": ?"[\d.]+s"', '"retry_delay": "SECONDS"', text)
    text = re.sub(r"sha256:[0-9a-f]{64}", "DIGEST", text)
    content_type = answer.headers["content-type"]
    return {"status": answer.status, "content_type": content_type, "body": json.loads(text)}
