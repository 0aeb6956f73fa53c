"""What ends at the first look, and why."""

from __future__ import annotations

import pytest

from detector_grpc.capture.gate import Choice, Gate


class Door(Gate):
    def __init__(self, **choice: float) -> None:
        self.now = 100.0
        super().__init__(Choice(**{"threshold": 0.7, "cooldown_s": 10.0} | choice), lambda: self.now)


@pytest.mark.parametrize(
    ("threshold", "score", "uncertain"),
    [(0.7, 0.31, True), (0.7, 0.29, False), (0.7, 1.0, True), (0.0, 1.0, False), (1.0, 0.01, True), (1.0, 0.0, False)],
)
def test_a_picture_is_uncertain_where_what_is_left_of_certainty_is_below_the_threshold(
    threshold: float, score: float, *, uncertain: bool
) -> None:
    assert Door(threshold=threshold).is_uncertain(score) == uncertain


def test_a_stream_rests_after_a_look() -> None:
    door = Door()

    assert [door.refusal("hall"), door.refusal("hall"), door.refusal("yard")] == ["", "cooldown", ""]
    door.now += 10
    assert door.refusal("hall") == ""


def test_pictures_of_no_stream_do_not_rest() -> None:
    door = Door()

    assert [door.refusal("") for _ in range(5)] == [""] * 5


def test_it_is_closed_while_the_budget_is_used_up() -> None:
    door = Door()
    door.close(60)

    assert [door.refusal("hall"), door.refusal("")] == ["over_budget"] * 2
    door.now += 60
    assert door.refusal("hall") == ""


def test_it_forgets_streams_and_not_those_of_late() -> None:
    door = Door()
    for number in range(5000):
        door.refusal(str(number))

    assert door.refusal("4999") == "cooldown"
    assert len(door._rests_until) == 4096
