"""Draws detections into a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector_grpc.vision.draw import LabelledBox, draw_boxes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from detector_grpc.client.pictures import Color
    from detector_grpc.client.results import DetectionResult


def draw(image: NDArray[np.uint8], result: DetectionResult, color: Color = "RGB") -> NDArray[np.uint8]:
    """Draws boxes with class name, track id and confidence; the most confident lie on top, labels above all boxes.

    Colours tell objects that are followed apart, all others by class.

    Args:
        image: uint8 (H, W, 3), upright, of size `result.image_wh`. Not changed.
        result: What was found in it.
        color: Order of the channels of `image`.

    Returns:
        uint8 (H, W, 3), in the same order.
    """
    boxes = [LabelledBox(each.bbox, each.class_id, each.class_name, each.confidence, each.track_id) for each in result]
    return draw_boxes(image, boxes, color)
