"""The format of PASCAL VOC (Everingham et al. 2010): for each picture an XML file.

Its development kit counts pixels from 1 and includes the last one: the left edge of the first pixel is `xmin` 1, its
right edge `xmax` 1. Fractions of pixels stay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement

from detector_grpc.capture.formats.dataset import BOX_DIGITS, Dataset, Sizes, files_below, key_of, label, number
from detector_grpc.capture.formats.xml import read_xml, write_xml

if TYPE_CHECKING:
    from pathlib import Path

    from detector_grpc.capture.sample import Label

ANNOTATIONS = "Annotations"
SETS = "ImageSets/Main"

_EDGES = ("xmin", "ymin", "xmax", "ymax")
_FIRST = (1, 1, 0, 0)


def write(dataset: Dataset, folder: Path) -> None:
    """Writes `Annotations/<name>.xml`, and `ImageSets/Main/train.txt` with all names."""
    (folder / ANNOTATIONS).mkdir()
    for picture in dataset.pictures:
        root = Element("annotation")
        for name, text in (("folder", "JPEGImages"), ("filename", picture.file)):
            SubElement(root, name).text = text
        SubElement(SubElement(root, "source"), "database").text = picture.seen_by
        size = SubElement(root, "size")
        for name, value in (("width", picture.width), ("height", picture.height), ("depth", 3)):
            SubElement(size, name).text = str(value)
        SubElement(root, "segmented").text = "0"
        for each in picture.labels:
            thing = SubElement(root, "object")
            for name, text in (
                ("name", each.class_name),
                ("pose", "Unspecified"),
                ("truncated", "0"),
                ("difficult", "0"),
            ):
                SubElement(thing, name).text = text
            box = SubElement(thing, "bndbox")
            for name, edge, first in zip(_EDGES, each.bbox, _FIRST, strict=True):
                SubElement(box, name).text = f"{round(edge + first, BOX_DIGITS)}"
        write_xml(root, folder / ANNOTATIONS / f"{picture.stem}.xml")
    (folder / SETS).mkdir(parents=True)
    names = "".join(f"{picture.stem}\n" for picture in dataset.pictures)
    (folder / SETS / "train.txt").write_text(names, encoding="utf-8")


def read(path: Path, sizes: Sizes) -> dict[str, tuple[Label, ...]]:
    """Labels by `key_of` their picture, of XML files wherever below a folder.

    Raises:
        SetupInvalid: A file is not as it should be.
    """
    return {
        key_of(file.name): tuple(_label(f"{file}", thing) for thing in read_xml(file, "annotation").iter("object"))
        for file in files_below(path, ".xml")
        if sizes.of(file.name)
    }


def _label(where: str, thing: Element) -> Label:
    x_min, y_min, x_max, y_max = (
        number(f"{where}, {name}", thing.findtext(f"bndbox/{name}")) - first
        for name, first in zip(_EDGES, _FIRST, strict=True)
    )
    return label(where, (thing.findtext("name") or "").strip(), (x_min, y_min, x_max, y_max))
