"""A sample comes back as it was, and whatever is none is told apart."""

from __future__ import annotations

import json

import pytest
from support.samples import sample

from detector_grpc.capture.sample import Box, Label, Sample, SampleInvalid, Sidecar

FULL = sample(
    b"\xff\xd8 not\nquite a \x00 picture",
    stream_id="hall",
    frame_id=7,
    detections=(Box(class_id=1, class_name="face", confidence=0.3, bbox=(1.5, 2.0, 3.25, 4.0)),),
    labels=(Label(class_name="face", bbox=(1, 2, 3, 4)),),
)


def test_a_file_gives_back_the_sample() -> None:
    assert Sample.from_bytes(FULL.to_bytes()) == FULL


@pytest.mark.parametrize("indent", [None, 2])
def test_a_sidecar_comes_back_from_json(indent: int | None) -> None:
    assert Sidecar.from_json(FULL.sidecar.to_json(indent)) == FULL.sidecar


def test_a_sidecar_says_its_schema_and_times_in_utc() -> None:
    said = json.loads(FULL.sidecar.to_json())

    assert said["schema"] == 1
    assert said["captured_at"] == "2026-03-01T12:00:00Z"


@pytest.mark.parametrize("place", [0, 5, -1])
def test_a_file_that_has_changed_is_none(place: int) -> None:
    data = bytearray(FULL.to_bytes())
    data[place] ^= 1

    with pytest.raises(SampleInvalid):
        Sample.from_bytes(bytes(data))


@pytest.mark.parametrize("data", [b"", b"{}", b"\n", FULL.to_bytes()[:40], FULL.sidecar.to_json()])
def test_what_is_no_sample_is_none(data: bytes) -> None:
    with pytest.raises(SampleInvalid):
        Sample.from_bytes(data)


def test_another_schema_is_none() -> None:
    said = json.loads(FULL.sidecar.to_json()) | {"schema": 2}

    with pytest.raises(SampleInvalid, match="1 faults"):
        Sidecar.from_json(json.dumps(said).encode())


def test_keys_are_by_day_model_version_and_content() -> None:
    keys = sample(b"abc", model="my model/1", version="v2", media_type="image/tiff").sidecar.keys

    digest = "ba7816bf8f01cfea414140de5dae2223"
    assert keys.picture == f"2026-03-01/my%20model%2F1/v2/{digest}.tif"
    assert keys.sidecar == f"2026-03-01/my%20model%2F1/v2/{digest}.json"
