"""What is watched: the features of an observation, in the words in which people are told of them."""

from __future__ import annotations

from typing import NamedTuple

# Of observations on the wire, and of references in files; raised whenever a feature changes its meaning or its place.
SCHEMA = 1


class Feature(NamedTuple):
    """One number of an observation.

    Attributes:
        name: Its name, the same everywhere.
        words: What people call it.
        least_change: Mean change, in its own unit, below which nobody would speak of another world, however steady the
            feature was before. Of light it is more than what the weather does from day to day.
    """

    name: str
    words: str
    least_change: float


FEATURES = (
    Feature("brightness", "brightness", 25.0),
    Feature("contrast", "contrast", 12.0),
    Feature("saturation", "saturation", 0.08),
    Feature("redness", "redness", 4.0),
    Feature("blueness", "blueness", 4.0),
    Feature("upper_light", "light from above", 20.0),
    Feature("left_light", "light from the left", 20.0),
    Feature("edge_upright", "uprightness of edges", 0.12),
    Feature("edge_slant", "slant of edges", 0.12),
    Feature("sharpness", "sharpness", 1.5),
    Feature("noise", "noise", 1.0),
    Feature("blockiness", "blockiness", 0.25),
    Feature("aspect", "aspect ratio", 0.1),
    Feature("size", "picture side", 32.0),
    Feature("detections", "detections per picture", 0.5),
    Feature("confidence", "mean confidence", 0.08),
    Feature("confidence_spread", "spread of confidence", 0.06),
    Feature("uncertain", "share of uncertain boxes", 0.2),
    Feature("box_size", "box size", 0.05),
    Feature("box_x", "place of boxes from the left", 0.08),
    Feature("box_y", "place of boxes from the top", 0.08),
)
NAMES = tuple(feature.name for feature in FEATURES)

# Those of the picture itself, without its boxes.
OF_PICTURE = slice(NAMES.index("detections"))

# What is no number of a picture, but of all that are judged together: the classes of their boxes, which have the
# Jensen-Shannon distance to those of the reference, and the share of pictures that another one is the same as, of which
# only more is a change: a camera that hangs sends the same picture again and again.
CLASS_MIX = Feature("class_mix", "mix of classes", 0.2)
REPEATS = Feature("repeats", "share of repeated pictures", 0.5)

WATCHED = (*FEATURES, CLASS_MIX, REPEATS)
