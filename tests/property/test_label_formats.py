"""Boxes go to every labelling tool and come back as they were."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.labels import accept

from detector_grpc.capture.formats import FORMATS
from detector_grpc.capture.formats.dataset import Dataset, LabelledPicture, Sizes
from detector_grpc.capture.sample import Label

EVERY_FORMAT = pytest.mark.parametrize("name", FORMATS)
NAMES = ("car", "bus & <tram>", 'a "quoted" one', "Fußgänger", "交通信号灯", "7", "no")


@st.composite
def pictures(draw: st.DrawFn) -> LabelledPicture:
    width, height = draw(st.integers(1, 65_500)), draw(st.integers(1, 65_500))

    def edges(side: int) -> st.SearchStrategy[list[float]]:
        return st.lists(st.integers(0, side * 1000), min_size=2, max_size=2).map(
            lambda two: [i / 1000 for i in sorted(two)]
        )

    labels = []
    for _ in range(draw(st.integers(0, 4))):
        (x_min, x_max), (y_min, y_max) = draw(edges(width)), draw(edges(height))
        labels.append(Label(class_name=draw(st.sampled_from(NAMES)), bbox=(x_min, y_min, x_max, y_max)))
    stem = draw(st.binary(min_size=16, max_size=16)).hex()
    confidences = draw(st.none() | st.just(tuple(0.5 for _ in labels)))
    return LabelledPicture(f"{stem}.jpg", width, height, tuple(labels), confidences, "street v1")


DATASETS = st.lists(pictures(), min_size=1, max_size=3, unique_by=lambda each: each.stem).map(
    lambda each: Dataset(NAMES, tuple(each))
)


@EVERY_FORMAT
@given(dataset=DATASETS)
def test_what_was_written_is_read_again_exactly(name: str, dataset: Dataset) -> None:
    sizes = Sizes({picture.stem: (picture.width, picture.height) for picture in dataset.pictures})
    with tempfile.TemporaryDirectory() as folder:
        FORMATS[name].write(dataset, Path(folder))
        if name == "label-studio":
            accept(Path(folder) / "tasks.json")
        found = FORMATS[name].read(Path(folder), sizes)
    assert found == {picture.stem: picture.labels for picture in dataset.pictures}


@EVERY_FORMAT
@given(dataset=DATASETS)
def test_pictures_that_are_not_asked_for_are_left_out(name: str, dataset: Dataset) -> None:
    first, *_ = dataset.pictures
    with tempfile.TemporaryDirectory() as folder:
        FORMATS[name].write(dataset, Path(folder))
        if name == "label-studio":
            accept(Path(folder) / "tasks.json")
        found = FORMATS[name].read(Path(folder), Sizes({first.stem: (first.width, first.height)}))
    assert found == {first.stem: first.labels}
