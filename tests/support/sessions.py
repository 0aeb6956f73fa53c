"""A session without a model: it answers every picture with the arrays it was given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from detector_grpc.serving.inputs import ImageInput
from detector_grpc.serving.layouts import Layout
from detector_grpc.serving.options import DetectOptions
from detector_grpc.serving.pipeline import Pipeline
from detector_grpc.serving.registry import LoadedModel
from detector_grpc.serving.session import CPU_PROVIDER, Signature, TensorInfo
from detector_grpc.serving.spec import ModelSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

IMAGE = TensorInfo("images", "float32", (1, 3, 64, 64))


class FakeSession:
    """Also a file: a session and a file in one. Keeps what it was fed with, until it is closed.

    Args:
        outputs: Name and array of every output; an array of shape [1, 6, 21] without any detection if none is given.
        inputs: What the file says of its inputs.
        metadata: The file's key-value pairs.
        digest: Of the file.
    """

    def __init__(
        self,
        outputs: Mapping[str, np.ndarray] | None = None,
        *,
        inputs: Sequence[TensorInfo] = (IMAGE,),
        metadata: Mapping[str, str] | None = None,
        digest: str = "sha256:0",
    ) -> None:
        self._outputs = outputs or {"output0": np.zeros((1, 6, 21), np.float32)}
        infos = tuple(TensorInfo(name, str(array.dtype), array.shape) for name, array in self._outputs.items())
        self.signature = Signature(tuple(inputs), infos, metadata or {}, digest)
        self.provider = CPU_PROVIDER
        self.fed: list[dict[str, Any]] = []
        self.closed = False

    def run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        assert not self.closed
        self.fed.append(dict(feeds))
        return [self._outputs[name] for name in outputs]

    def taking(self, image: ImageInput, *, bf16: bool = False) -> Self:  # noqa: ARG002
        """Is opened again itself; whatever it was fed with counts on."""
        self.closed = False
        return self

    def close(self) -> None:
        assert not self.closed
        self.closed = True


def loaded_model(session: FakeSession) -> LoadedModel:
    """A detector of cars and buses in 64 x 64 pixels, ready to be used."""
    spec = ModelSpec(("car", "bus"), ImageInput("images", (64, 64)), Layout("xyxy", ("output0",)), DetectOptions())
    return LoadedModel(spec, session.signature, Pipeline(spec, session, 10_000))
