"""The packages that edit ONNX files, which no server needs."""

from __future__ import annotations

from importlib import import_module
from itertools import starmap
from typing import Any

from detector_grpc.errors import SetupInvalid

NOT_INSTALLED = "the package onnx is not installed: `pip install 'detector-grpc[cpu,optimize]'`"


def import_onnx() -> Any:  # noqa: ANN401 - a module that is not installed everywhere
    """The package onnx.

    Raises:
        SetupInvalid: It is not installed; it comes with an extra.
    """
    try:
        for part in ("compose", "parser", "version_converter"):
            import_module(f"onnx.{part}")
        return import_module("onnx")
    except ImportError as error:
        raise SetupInvalid([NOT_INSTALLED]) from error


def drop_unused_domains(model: Any) -> None:  # noqa: ANN401 - onnx.ModelProto
    """Leaves the operator sets that nodes are from, each once: others than ONNX Runtime lack those that it adds."""
    used = {node.domain for node in model.graph.node} | {""}
    kept = {each.domain: each.version for each in model.opset_import if each.domain in used}
    del model.opset_import[:]
    model.opset_import.extend(starmap(import_onnx().helper.make_opsetid, kept.items()))


def at_least_opset_13(model: Any) -> Any:  # noqa: ANN401 - onnx.ModelProto
    """The same model in operators from which on weights may have a scale for each channel, and axes are inputs."""
    drop_unused_domains(model)
    if model.opset_import[0].version >= 13:  # noqa: PLR2004
        return model
    converted = import_onnx().version_converter.convert_version(model, 13)
    converted.metadata_props.extend(model.metadata_props)
    return converted
