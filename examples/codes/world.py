"""Which pictures there are to be drawn: how near codes come, what they are made of, how bad the light may be."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - dataclasses are read by people
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Framing:
    """How far the camera is away.

    Attributes:
        share: How often, relative to the other framings.
        smallest: Longest side of a code's box as a part of the picture's side, at least.
        largest: The same, at most.
        most: Largest number of codes.
    """

    share: float
    smallest: float
    largest: float
    most: int


@dataclass(frozen=True)
class World:
    """The pictures that can be drawn.

    Attributes:
        side: Width and height of a picture in px.
        empty: Share of pictures without a code, in [0, 1].
        framings: How far the camera may be away.
        classes: How often each class is drawn, relative to the others.
        materials: How often each material of sheets.MATERIALS is drawn, relative to the others.
        tilt_deg: Standard deviation of the camera's angle to a sheet, about each of two axes.
        bent: Share of sheets that are round or wavy, in [0, 1].
        busy: Share of surfaces that are full of things, in [0, 1].
        look_alikes: Mean number of sheets with a pattern and without a code.
        occluded: Share of pictures in which something lies on a code's edge, in [0, 1].
        roughness: 0 is a perfect camera in even light; 1 is what cameras and light are like.
    """

    side: int = 640
    empty: float = 0.2
    framings: tuple[Framing, ...] = (
        Framing(0.34, 0.35, 0.98, 2),
        Framing(0.33, 0.12, 0.40, 4),
        Framing(0.33, 0.035, 0.16, 6),
    )
    classes: Mapping[str, float] = field(
        default_factory=lambda: {"qr_code": 1, "data_matrix": 1.6, "aztec": 0.8, "pdf417": 0.9, "linear_barcode": 1.2}
    )
    materials: Mapping[str, float] = field(
        default_factory=lambda: {
            "paper": 5,
            "coloured": 2,
            "inverted": 0.7,
            "faint": 0.8,
            "engraved": 1,
            "screen": 1,
            "bare": 0.7,
        }
    )
    tilt_deg: float = 18
    bent: float = 0.2
    busy: float = 0.5
    look_alikes: float = 1.6
    occluded: float = 0.12
    roughness: float = 1.0
