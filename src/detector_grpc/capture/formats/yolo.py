"""The format of YOLO: for each picture a text file, a line for each box: class, centre x, centre y, width, height.

The class is a number, of which `data.yaml` has the names; the others are shares of the picture's sides. Where there are
more, they are the corners of an outline, x and y in turn, of which the box around it counts; a sixth alone is a
confidence, which does not.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import yaml

from detector_grpc.capture.formats.dataset import Dataset, Sizes, files_below, key_of, label, number
from detector_grpc.errors import SetupInvalid

if TYPE_CHECKING:
    from pathlib import Path

    from detector_grpc.capture.sample import Label

NAMES_FILE = "data.yaml"
LABELS = "labels"

_VALUES = 5
_OUTLINE_VALUES = 7


def write(dataset: Dataset, folder: Path) -> None:
    """Writes `data.yaml` and `labels/<name>.txt`; a picture without boxes has an empty file."""
    lines: dict[str, list[str]] = {picture.stem: [] for picture in dataset.pictures}
    for picture, each, class_number in dataset.numbered():
        x_min, y_min, x_max, y_max = each.bbox
        shares = (
            (x_min + x_max) / 2 / picture.width,
            (y_min + y_max) / 2 / picture.height,
            (x_max - x_min) / picture.width,
            (y_max - y_min) / picture.height,
        )
        lines[picture.stem].append(" ".join(map(str, (class_number, *shares))))
    (folder / LABELS).mkdir()
    for stem, of_picture in lines.items():
        (folder / LABELS / f"{stem}.txt").write_text("".join(f"{line}\n" for line in of_picture), encoding="utf-8")
    names = {"path": ".", "train": "images", "val": "images", "names": dict(enumerate(dataset.class_names))}
    (folder / NAMES_FILE).write_text(yaml.safe_dump(names, sort_keys=False, allow_unicode=True), encoding="utf-8")


def read(path: Path, sizes: Sizes) -> dict[str, tuple[Label, ...]]:
    """Labels by `key_of` their picture, of a folder with `data.yaml` and text files, wherever below it.

    Raises:
        SetupInvalid: The folder is none, or a file is not as it should be.
    """
    names = _names(path / NAMES_FILE)
    labels = {}
    for file in files_below(path, ".txt"):
        if size := sizes.of(file.name):
            lines = _lines(file)
            labels[key_of(file.name)] = tuple(
                _label(f"{file}, line {row}", line.split(), size, names)
                for row, line in enumerate(lines, 1)
                if line.strip()
            )
    return labels


def _label(where: str, values: list[str], size: tuple[int, int], names: dict[int, str]) -> Label:
    if len(values) < _VALUES:
        raise SetupInvalid([f"{where}: a box takes {_VALUES} numbers, there are {len(values)}"])
    class_number, *shares = (number(where, value) for value in values)
    if class_number not in names:
        raise SetupInvalid([f"{where}: {NAMES_FILE} has no class {class_number:g}"])
    if len(values) >= _OUTLINE_VALUES:
        across, down = shares[::2], shares[1::2]
        if len(across) != len(down):
            raise SetupInvalid([f"{where}: the outline has {len(across)} numbers across and {len(down)} down"])
        left, top, right, bottom = min(across), min(down), max(across), max(down)
    else:
        x, y, wide, high = shares[: _VALUES - 1]
        left, top, right, bottom = x - wide / 2, y - high / 2, x + wide / 2, y + high / 2
    width, height = size
    return label(where, names[int(class_number)], (left * width, top * height, right * width, bottom * height))


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise SetupInvalid([f"cannot read {file}: {error.strerror}"]) from error


def _names(file: Path) -> dict[int, str]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SetupInvalid([f"cannot read {file}: {error.strerror}"]) from error
    except (ValueError, yaml.YAMLError) as error:  # ValueError: no UTF-8, or a date that does not exist
        raise SetupInvalid([f"{file} is no YAML: {error}"]) from error
    except RecursionError:
        raise SetupInvalid([f"{file} is no YAML that can be read: it is nested too deeply"]) from None
    match content:
        case {"names": list(names)}:
            by_number = dict(enumerate(names))
        case {"names": dict(names)} if all(_is_number(key) for key in names):
            by_number = {int(key): name for key, name in names.items()}
        case _:
            raise SetupInvalid([f"{file}: has no list of class names under `names`"])
    # What is nested may be huge once written out, though its file is small.
    if nested := [key for key, name in by_number.items() if isinstance(name, list | dict | set)]:
        raise SetupInvalid([f"{file}: the name of class {nested[0]} is no text"])
    return {key: str(name) for key, name in by_number.items()}


def _is_number(key: object) -> bool:
    return isinstance(key, int) or (isinstance(key, str) and re.fullmatch("[0-9]{1,9}", key) is not None)
