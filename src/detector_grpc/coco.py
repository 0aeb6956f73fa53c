"""What people have marked in pictures, in the format of COCO."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, Field, ValidationError

from detector_grpc.errors import SetupInvalid, listed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from pathlib import Path

    from pydantic_core import ErrorDetails

# A file can be wrong in each of its million boxes.
MOST_FAULTS = 10

Finite = Annotated[float, Field(allow_inf_nan=False)]
Size = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class TrueBox:
    """One marked object.

    Attributes:
        picture_id: Id of its picture.
        category: Name of its category.
        xywh: Left, top, width, height in px of the picture.
        area: In square px; of the outline, where the file has one.
        is_crowd: Whether it stands for many objects, or for one that need not be found.
    """

    picture_id: int
    category: str
    xywh: tuple[float, float, float, float]
    area: float
    is_crowd: bool


@dataclass(frozen=True)
class Annotations:
    """Pictures and what is in them.

    Attributes:
        pictures: File names by id.
        categories: Names.
        boxes: All marked objects.
    """

    pictures: Mapping[int, str]
    categories: tuple[str, ...]
    boxes: tuple[TrueBox, ...]

    def counts(self) -> Counter[str]:
        """How many objects there are to find, by category."""
        return Counter(box.category for box in self.boxes if not box.is_crowd)

    def only(self, pictures: Collection[int], categories: Collection[str]) -> Annotations:
        """What concerns these pictures, by id, and these categories."""
        return Annotations(
            {key: name for key, name in self.pictures.items() if key in pictures},
            tuple(name for name in self.categories if name in categories),
            tuple(box for box in self.boxes if box.picture_id in pictures and box.category in categories),
        )


class _Image(BaseModel):
    id: int
    file_name: str


class _Category(BaseModel):
    id: int
    name: str


class _Annotation(BaseModel):
    id: int
    image_id: int
    category_id: int
    bbox: tuple[Finite, Finite, Size, Size]
    area: Size | None = None
    iscrowd: bool = False


class _File(BaseModel):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


def read_annotations(path: Path) -> Annotations:
    """Reads a JSON file of COCO's object detection format.

    Keys that play no part here are ignored. Where a box has no `area` it is that of the box, without `iscrowd` it is
    no crowd.

    Raises:
        SetupInvalid: The file cannot be read, is no JSON, lacks keys, has wrong values, or contradicts itself.
    """
    try:
        content = _File.model_validate_json(path.read_bytes())
    except OSError as error:
        raise SetupInvalid([f"cannot read the annotations {path}: {error.strerror}"]) from error
    except ValidationError as error:
        raise SetupInvalid(_few(f"{path}: {_fault(each)}" for each in error.errors(include_url=False))) from error
    if faults := [f"{path}: {fault}" for fault in _contradictions(content)]:
        raise SetupInvalid(faults)
    names = {category.id: category.name for category in content.categories}
    return Annotations(
        {image.id: image.file_name for image in content.images},
        tuple(names.values()),
        tuple(
            TrueBox(
                each.image_id,
                names[each.category_id],
                each.bbox,
                each.bbox[2] * each.bbox[3] if each.area is None else each.area,
                each.iscrowd,
            )
            for each in content.annotations
        ),
    )


def _fault(error: ErrorDetails) -> str:
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]).removeprefix(".")
    match error["type"]:
        case "json_invalid":
            return f"is no JSON: {error['ctx']['error']}"
        case "missing":
            return f"is not in the format of COCO: {place} is missing"
        case _:
            return f"{place or 'the file'}: {error['msg']}, got {str(error['input'])[:40]}"


def _few(faults: Iterable[str]) -> list[str]:
    every = list(faults)
    more = len(every) - MOST_FAULTS
    return every if more <= 0 else [*every[:MOST_FAULTS], f"and {more} more faults of the same file"]


def _contradictions(content: _File) -> Iterator[str]:
    images, categories = {each.id for each in content.images}, {each.id for each in content.categories}
    for what, ids in (
        ("images", [each.id for each in content.images]),
        ("categories", [each.id for each in content.categories]),
        ("annotations", [each.id for each in content.annotations]),
    ):
        if repeated := _repeated(ids):
            yield f"{what} have the same id more than once: {listed(repeated)}"
    if repeated := _repeated(category.name for category in content.categories):
        yield f"categories have the same name more than once: {listed(repeated)}"
    if unknown := sorted({each.image_id for each in content.annotations} - images):
        yield f"annotations name images that there are not: {listed(unknown)}"
    if unknown := sorted({each.category_id for each in content.annotations} - categories):
        yield f"annotations name categories that there are not: {listed(unknown)}"
    if not images:
        yield "there are no images"


def _repeated(values: Iterable[object]) -> list[object]:
    return [value for value, count in Counter(values).items() if count > 1]
