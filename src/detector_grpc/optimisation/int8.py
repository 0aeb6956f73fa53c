"""Convolutions in 8 bits, with ranges measured on pictures."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from detector_grpc.errors import ImageError, SetupInvalid
from detector_grpc.optimisation.tools import at_least_opset_13, drop_unused_domains, import_onnx
from detector_grpc.serving.inputs import PICTURES
from detector_grpc.serving.pipeline import EncodedImage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from detector_grpc.serving.inputs import ImageInput

# Ranges hardly change with more, and every picture takes a second.
MOST_PICTURES = 64

# What ONNX Runtime has kernels for that compute in 8 bits and gain from it.
_OPERATORS = ("Conv",)


class Feeds:
    """Pictures as a model is fed with them, one after the other; see onnxruntime.quantization.CalibrationDataReader.

    Args:
        image: The way from pixels to the model's inputs.
        name: Of the input that takes pictures.
        pictures: Files.

    Raises:
        SetupInvalid: There are none.
    """

    def __init__(self, image: ImageInput, name: str, pictures: Sequence[Path]) -> None:
        if not pictures:
            raise SetupInvalid(["there are no pictures to calibrate with"])
        step = max(1, len(pictures) / MOST_PICTURES)
        chosen = [pictures[int(place)] for place in np.arange(0, len(pictures), step)]
        self._feeds = _feeds(image, name, chosen)

    def get_next(self) -> Mapping[str, NDArray[Any]] | None:
        """The inputs for the next picture; None after the last."""
        return next(self._feeds, None)


def quantise(model: Any, feeds: Feeds) -> Any:  # noqa: ANN401 - onnx.ModelProto
    """A model whose convolutions compute in 8 bits: QDQ, activations unsigned, weights signed and scaled by channel.

    Those whose results no other convolution sees stay as they are: they answer pixels beside probabilities, which have
    no range in common. So do those that see one channel each: they take little time, and of their channels each has a
    range of its own.

    Args:
        model: It; computes in float32.
        feeds: From which the ranges of the activations are measured, from the least to the largest.
    """
    from onnxruntime import quantization  # noqa: PLC0415 - slow to import

    onnx = import_onnx()
    model = at_least_opset_13(model)
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"node.{number}"
    logging.getLogger().addFilter(_no_advice)
    try:
        with tempfile.TemporaryDirectory(prefix="detector-grpc-") as folder:
            before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
            onnx.save(model, before)
            quantization.quantize_static(
                before,
                after,
                feeds,
                quant_format=quantization.QuantFormat.QDQ,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                per_channel=True,
                op_types_to_quantize=list(_OPERATORS),
                nodes_to_exclude=[node.name for node in (*_last(model.graph), *_depthwise(model.graph))],
            )
            made = onnx.load(after)
    finally:
        logging.getLogger().removeFilter(_no_advice)
    drop_unused_domains(made)
    return made


def _last(graph: Any) -> list[Any]:  # noqa: ANN401 - onnx.GraphProto
    """The convolutions whose results no other one sees."""
    seen: set[str] = set()  # values that a convolution sees, and those that these are made of
    last = []
    for node in reversed(graph.node):  # sorted: whoever takes a value comes after who makes it
        is_seen = not seen.isdisjoint(node.output)
        convolves = node.op_type in _OPERATORS
        if convolves and not is_seen:
            last.append(node)
        if convolves or is_seen:
            seen.update(node.input)
    return last


def _depthwise(graph: Any) -> list[Any]:  # noqa: ANN401 - onnx.GraphProto
    """The convolutions of several groups."""
    return [node for node in graph.node if any(each.name == "group" and each.i > 1 for each in node.attribute)]


def _no_advice(record: logging.LogRecord) -> bool:
    """Keeps back the advice to prepare models with a tool of ONNX Runtime, which is what slim does."""
    return "pre-processing before quantization" not in record.getMessage()


def _feeds(image: ImageInput, name: str, pictures: Sequence[Path]) -> Iterator[Mapping[str, NDArray[Any]]]:
    for path in pictures:
        try:
            picture = EncodedImage(path.read_bytes()).open(2**30)
            letterbox = image.fit(picture.image_wh)
            pixels = picture.pixels(letterbox.resized_wh)
        except (OSError, ImageError) as error:
            raise SetupInvalid([f"cannot calibrate with {path}: {error}"]) from error
        feeds = image.feeds(letterbox.apply(pixels, image.pad_value))
        yield {name if given == PICTURES else given: value for given, value in feeds.items()}
