from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from support.scenes import detections

from detector_grpc.evaluation.target import Answer, Refused, look_at_all

if TYPE_CHECKING:
    from pathlib import Path


class Fake:
    """Finds in each picture what its bytes say: nothing, or a reason to refuse it."""

    name, class_names, digest, iou_threshold = "fake", ("car",), "sha256:", 0.7

    def __init__(self) -> None:
        self.threads: set[int] = set()

    def look(self, picture: bytes) -> Answer:
        self.threads.add(threading.get_ident())
        if picture == b"broken":
            raise RuntimeError("the model failed")
        if picture:
            raise Refused(picture.decode())
        return Answer(detections(), 1.0, {})


@pytest.fixture
def pictures(tmp_path: Path) -> dict[int, Path]:
    paths = {key: tmp_path / f"{key}.png" for key in (7, 3, 5)}
    for path in paths.values():
        path.write_bytes(b"")
    return paths


def test_answers_and_refusals_are_told_by_the_ids_of_the_pictures(pictures: dict[int, Path]) -> None:
    pictures[3].write_bytes(b"too large")
    advanced: list[None] = []
    run = look_at_all(Fake(), pictures, 2, lambda: advanced.append(None))
    assert list(run.answers) == [7, 5]
    assert run.refused == {3: "too large"}
    assert len(advanced) == 3


def test_a_file_that_cannot_be_read_is_refused(pictures: dict[int, Path]) -> None:
    pictures[5].unlink()
    assert look_at_all(Fake(), pictures, 1, lambda: None).refused == {5: "No such file or directory"}


def test_what_is_not_about_a_picture_ends_the_run(pictures: dict[int, Path]) -> None:
    pictures[7].write_bytes(b"broken")
    with pytest.raises(RuntimeError, match="the model failed"):
        look_at_all(Fake(), pictures, 1, lambda: None)
