"""CVAT's format "CVAT for images 1.1": one XML file."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement

from detector_grpc.capture.formats.dataset import Dataset, Sizes, enclosing, key_of, label, number
from detector_grpc.capture.formats.xml import read_xml, write_xml

if TYPE_CHECKING:
    from pathlib import Path

    from detector_grpc.capture.sample import Label

FILE = "annotations.xml"

_EDGES = ("xtl", "ytl", "xbr", "ybr")


def write(dataset: Dataset, folder: Path) -> None:
    """Writes `annotations.xml`."""
    root = Element("annotations")
    SubElement(root, "version").text = "1.1"
    labels = SubElement(SubElement(SubElement(root, "meta"), "task"), "labels")
    for name in dataset.class_names:
        of_class = SubElement(labels, "label")
        SubElement(of_class, "name").text = name
        SubElement(of_class, "type").text = "rectangle"
        SubElement(of_class, "attributes")
    for number_, picture in enumerate(dataset.pictures):
        image = SubElement(
            root,
            "image",
            {
                "id": str(number_),
                "name": picture.file,
                "width": str(picture.width),
                "height": str(picture.height),
            },
        )
        source = "manual" if picture.confidences is None else "auto"
        for each in picture.labels:
            edges = {name: str(edge) for name, edge in zip(_EDGES, each.bbox, strict=True)}
            said = {"label": each.class_name, "source": source, "occluded": "0", **edges, "z_order": "0"}
            SubElement(image, "box", said)
    write_xml(root, folder / FILE)


def read(path: Path, sizes: Sizes) -> dict[str, tuple[Label, ...]]:
    """Labels by `key_of` their picture, of a file, or of the one in a folder.

    Raises:
        SetupInvalid: The file cannot be read, or is none of CVAT's.
    """
    file = path / FILE if path.is_dir() else path
    labels = {}
    for image in read_xml(file, "annotations").iter("image"):
        name = image.get("name", "")
        if sizes.of(name):
            labels[key_of(name)] = tuple(_label(f"{file}, {name}", box) for box in image.iter("box"))
    return labels


def _label(where: str, box: Element) -> Label:
    x_min, y_min, x_max, y_max = (number(f"{where}, {name}", box.get(name)) for name in _EDGES)
    turned = number(f"{where}, rotation", box.get("rotation", 0))
    centre = (x_min + x_max) / 2, (y_min + y_max) / 2
    return label(where, box.get("label", ""), enclosing((x_min, y_min, x_max, y_max), turned, centre))
