"""Which runtime an execution provider is, by its name."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from detector_grpc.serving.openvino import OpenVinoSession, import_openvino
from detector_grpc.serving.session import OPENVINO, OnnxSession, check_provider

if TYPE_CHECKING:
    from collections.abc import Callable

    from detector_grpc.serving.session import Model, Session


def check(provider: str, setting: str = "") -> None:
    """Refuses an execution provider that is not installed.

    Args:
        provider: Its name, as ONNX Runtime has it.
        setting: What it was named by, for the error.

    Raises:
        SetupInvalid: It is not.
    """
    if provider == OPENVINO:
        import_openvino()
    else:
        check_provider(provider, setting)


def opening(provider: str) -> Callable[[Model], Session]:
    """What opens a model on an execution provider, with one thread for a picture, and one picture at a time."""
    return OpenVinoSession if provider == OPENVINO else partial(OnnxSession, provider=provider)
