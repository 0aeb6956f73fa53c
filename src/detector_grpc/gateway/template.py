"""Fills the templates of Envoy's configuration, which are YAML with ${NAME} in place of values."""

from __future__ import annotations

import json
from importlib.resources import files
from string import Template
from typing import Any

import yaml

_TEMPLATES = files("detector_grpc.gateway") / "templates"


def fill(template: str, /, **values: object) -> Any:  # noqa: ANN401  whatever the template is
    """One template with its values in place, which may be lists and mappings."""
    text = (_TEMPLATES / f"{template}.yaml").read_text(encoding="utf-8")
    # JSON is YAML that means the same wherever it stands.
    return yaml.safe_load(Template(text).substitute({key.upper(): json.dumps(value) for key, value in values.items()}))


def duration(seconds: float) -> str:
    """Seconds as protobuf's JSON has them."""
    return f"{seconds:g}s"
