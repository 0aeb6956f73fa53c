"""Observers are told, and cannot disturb."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector_grpc.serving.options import RequestedOptions
from detector_grpc.serving.outcome import Call, Observers, Outcome
from detector_grpc.serving.pipeline import EncodedImage, PictureRequest

if TYPE_CHECKING:
    import pytest


def outcome() -> Outcome:
    return Outcome(Call("/a/B", "id-1"), "ok", 0.1)


def test_every_observer_is_told_the_same_outcome() -> None:
    told: list[Outcome] = []
    one = outcome()
    Observers([told.append, told.append])(one)
    assert told == [one, one]
    assert one.call.observed


def test_an_observer_that_fails_is_logged_and_the_next_is_told(caplog: pytest.LogCaptureFixture) -> None:
    told: list[Outcome] = []

    def fail(_: Outcome) -> None:
        raise ValueError("broken observer")

    Observers([fail, told.append])(outcome())
    assert len(told) == 1
    assert "broken observer" in caplog.text
    assert caplog.records[0].__dict__["request_id"] == "id-1"


def test_the_picture_is_not_in_the_text_of_an_outcome() -> None:
    request = PictureRequest(EncodedImage(b"secret pixels"), None, RequestedOptions())
    assert "secret pixels" not in repr(Outcome(Call("/a/B", "id-1"), "ok", 0.1, request))


def test_nobody_is_told_of_a_copy() -> None:
    told: list[Outcome] = []
    copy = Outcome(Call("/a/B", "id-1", copy_of="id-0"), "ok", 0.1)
    Observers([told.append])(copy)
    assert not told
    assert copy.call.observed
