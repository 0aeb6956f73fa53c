"""How models of a family see pictures, and which head reads them: what a file leaves unsaid that is of a known family.

The ONNX files of libreyolo (MIT) have the key `model_family`. How a family sees pictures is in libreyolo's own
`preprocess`; that ours comes to the same was compared box by box for those in
`detector_grpc.conversion.worker.COMPARED_FAMILIES`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from detector_grpc.serving.inputs import Trained

if TYPE_CHECKING:
    from collections.abc import Mapping

    from detector_grpc.vision.heads import HeadName
    from detector_grpc.vision.tensor import Triple

_KEY = "model_family"

# Of ImageNet's pictures, RGB, as fractions: torchvision's.
_MEAN: Triple = (0.485, 0.456, 0.406)
_STD: Triple = (0.229, 0.224, 0.225)


class Family(NamedTuple):
    """A family of libreyolo.

    Attributes:
        name: What libreyolo calls it.
        head: Reads what it answers.
        trained: How it sees pictures.
    """

    name: str
    head: HeadName
    trained: Trained

    @property
    def reason(self) -> str:
        """What told it."""
        return f"metadata {_KEY}: {self.name}"


# Megvii's YOLOX takes what OpenCV reads.
_YOLOX = Trained(resize="letterbox_topleft", color_order="BGR", scale=1.0)
_STRETCHED = Trained(resize="stretch")  # detectors with queries see no padding
_NORMALISED = Trained(resize="stretch", mean=_MEAN, std=_STD)
# mmdetection gives them in the order of the channels, BGR.
_RTMDET = Trained("letterbox_topleft", "BGR", mean=_MEAN[::-1], std=_STD[::-1])

_BY_HEAD: dict[HeadName, Trained] = {
    "yolox": _YOLOX,
    "detr": _STRETCHED,
    "detr_softmax": _NORMALISED,
    "labels_boxes_scores": _STRETCHED,
}

_FAMILIES = {
    family.name: family
    for family in (
        Family("yolo9", "xyxy", Trained()),
        Family("yolox", "yolov5", _YOLOX),
        Family("rtmdet", "xyxy", _RTMDET),
        Family("picodet", "xyxy", _NORMALISED),
        Family("dfine", "detr", _STRETCHED),
        Family("deim", "detr", _STRETCHED),
        Family("rtdetrv4", "detr", _STRETCHED),
        Family("ec", "detr", _NORMALISED),
    )
}


def family_of(metadata: Mapping[str, str]) -> Family | None:
    """The family that a file says it is of, if we know it."""
    return _FAMILIES.get(metadata.get(_KEY, ""))


def trained(head: HeadName, metadata: Mapping[str, str]) -> tuple[Trained, str]:
    """How a model sees pictures, and what tells that."""
    family = family_of(metadata)
    if family is None:
        return _BY_HEAD.get(head, Trained()), f"usual for {head}"
    return family.trained, family.reason
