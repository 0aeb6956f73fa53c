"""Pictures and the boxes in them on the way to a labelling tool, and back."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote

from detector_grpc.capture.sample import MAX_EDGE, Label
from detector_grpc.errors import SetupInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from detector_grpc.capture.sample import Bbox

# Coordinates are multiples of 1/1000 px, of which decimals and shares of a side can be read back exactly.
BOX_DIGITS = 3

# Of the name of a class; what is longer is none.
_MOST_LETTERS = 1000

# The name that the file of a sample has, which tools leave as it is, or put something before.
_NAME = re.compile(r"(?:^|.*[^0-9a-f])([0-9a-f]{32})$")


@dataclass(frozen=True)
class LabelledPicture:
    """A picture and the boxes in it.

    Attributes:
        file: Name of its file.
        width: Of the upright picture, pixels.
        height: Of the upright picture, pixels.
        labels: Its boxes, in pixels of the upright picture.
        confidences: The model's figures where the boxes are a model's; None where they are a person's.
        seen_by: Who saw them: model and version, or "people".
    """

    file: str
    width: int
    height: int
    labels: tuple[Label, ...]
    confidences: tuple[float, ...] | None
    seen_by: str

    @property
    def stem(self) -> str:
        """The name of its file without the suffix."""
        return PurePosixPath(self.file).stem


@dataclass(frozen=True)
class Dataset:
    """Pictures, and the classes that boxes in them can have.

    Attributes:
        class_names: By the number that formats give to classes.
        pictures: With boxes of these classes.
    """

    class_names: tuple[str, ...]
    pictures: tuple[LabelledPicture, ...]

    def numbered(self) -> Iterator[tuple[LabelledPicture, Label, int]]:
        """Every box with its picture and the number of its class."""
        numbers = {name: number for number, name in enumerate(self.class_names)}
        for picture in self.pictures:
            for label in picture.labels:
                yield picture, label, numbers[label.class_name]


@dataclass(frozen=True)
class Sizes:
    """Width and height of the upright pictures of which labels are read, pixels, by `key_of` their files."""

    by_key: Mapping[str, tuple[int, int]]

    def of(self, file: str) -> tuple[int, int] | None:
        """Those of a file; None where it is none of the pictures."""
        return self.by_key.get(key_of(file))


def key_of(file: str) -> str:
    """What stays of the name of a sample's file, whatever folder and prefix tools give it; empty if it is none."""
    found = _NAME.match(PurePosixPath(unquote(file).replace("\\", "/")).stem)
    return found[1] if found else ""


def files_below(folder: Path, suffix: str) -> list[Path]:
    """Files with a suffix, wherever below a folder, in the order of their names.

    Raises:
        SetupInvalid: It is no folder.
    """
    if not folder.is_dir():
        raise SetupInvalid([f"{folder} is no folder; give the one with the files of labels"])
    return [file for file in sorted(folder.rglob(f"*{suffix}")) if file.is_file()]


def enclosing(xyxy: Bbox, degrees: float, centre: tuple[float, float]) -> Bbox:
    """The smallest upright box around one that is turned clockwise about a point, as labelling tools turn them."""
    if degrees == 0 or not all(map(math.isfinite, (degrees, *xyxy))):
        return xyxy
    x_min, y_min, x_max, y_max = xyxy
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x_0, y_0 = centre
    corners = [(x - x_0, y - y_0) for x in (x_min, x_max) for y in (y_min, y_max)]
    x = [x_0 + across * cos - down * sin for across, down in corners]
    y = [y_0 + across * sin + down * cos for across, down in corners]
    return min(x), min(y), max(x), max(y)


def label(where: str, class_name: str, xyxy: Bbox) -> Label:
    """A box that was read.

    Args:
        where: Place in the file, for the error.
        class_name: Name of its class.
        xyxy: Pixels of the upright picture.

    Raises:
        SetupInvalid: It is none.
    """
    x_min, y_min, x_max, y_max = (round(edge, BOX_DIGITS) if abs(edge) <= MAX_EDGE else math.nan for edge in xyxy)
    if not (x_min <= x_max and y_min <= y_max):  # false for NaN, too
        raise SetupInvalid([f"{where}: the box {', '.join(f'{edge:g}' for edge in xyxy)} is none"])
    if not class_name:
        raise SetupInvalid([f"{where}: the box has no class"])
    if len(class_name) > _MOST_LETTERS:
        raise SetupInvalid(
            [f"{where}: the name of the class has {len(class_name)} letters, at most {_MOST_LETTERS} may be"]
        )
    return Label(class_name=class_name, bbox=(x_min, y_min, x_max, y_max))


def number(where: str, text: object) -> float:
    """A number that was read.

    Raises:
        SetupInvalid: It is none.
    """
    try:
        return float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise SetupInvalid([f"{where}: {str(text)[:40]!r} is no number"]) from None
