from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from support.drift import block

from detector_grpc.drift.expectation import Expectation
from detector_grpc.drift.features import NAMES

if TYPE_CHECKING:
    from detector_grpc.drift.block import Block


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def with_column(blocks: list[Block], name: str, columns: list[np.ndarray]) -> list[Block]:
    """The blocks with other numbers of a feature."""
    changed = []
    for each, column in zip(blocks, columns, strict=True):
        values = each.values.copy()
        values[:, NAMES.index(name)] = column
        changed.append(replace(each, values=values))
    return changed


def test_a_block_like_the_others_is_no_surprise(rng: np.random.Generator) -> None:
    expectation = Expectation([block(rng) for _ in range(10)])

    deviations = expectation.deviations(block(rng))

    assert set(deviations) == {*NAMES, "class_mix", "repeats"}
    assert max(each.ratio for each in deviations.values()) < 1


def test_what_moved_most_in_parts_of_what_is_allowed_stands_out(rng: np.random.Generator) -> None:
    expectation = Expectation([block(rng) for _ in range(10)])

    deviations = expectation.deviations(block(rng, brightness=120 - 60))

    assert max(deviations, key=lambda name: deviations[name].ratio) == "brightness"
    assert deviations["brightness"].distance == pytest.approx(60, abs=4)


def test_a_feature_that_differs_from_block_to_block_may_go_on_doing_so(rng: np.random.Generator) -> None:
    """Within a block brightness hardly changes, so any test of independent observations would find each one new."""
    blocks = [block(rng) for _ in range(11)]
    levels = [*rng.normal(120, 20, 10), 160]
    *reference, current = with_column(blocks, "brightness", [rng.normal(level, 0.5, 100) for level in levels])

    steady = with_column(reference, "brightness", [rng.normal(120, 0.5, 100) for _ in reference])

    assert Expectation(reference).deviations(current)["brightness"].ratio < 1
    assert Expectation(steady).deviations(current)["brightness"].ratio > 1


def test_a_change_that_nobody_sees_is_none_however_steady_the_world_was(rng: np.random.Generator) -> None:
    blocks = [block(rng) for _ in range(11)]
    columns = [rng.normal(120, 0.01, 100) for _ in range(10)] + [rng.normal(125, 0.01, 100)]
    *reference, current = with_column(blocks, "brightness", columns)

    assert Expectation(reference).deviations(current)["brightness"].ratio < 0.5


def test_what_a_block_says_nothing_of_is_not_judged(rng: np.random.Generator) -> None:
    expectation = Expectation([block(rng) for _ in range(10)])
    (silent,) = with_column([block(rng)], "confidence", [np.where(np.arange(100) < 24, 0.5, np.nan)])

    assert "confidence" not in expectation.deviations(silent)
    assert "brightness" in expectation.deviations(silent)


def test_fewer_numbers_may_be_further_away(rng: np.random.Generator) -> None:
    expectation = Expectation([block(rng) for _ in range(10)])
    all_of_it = block(rng)
    (part,) = with_column([all_of_it], "size", [np.where(np.arange(100) < 25, all_of_it.values[:, 13], np.nan)])

    ratio = expectation.deviations(part)["size"].allowed / expectation.deviations(all_of_it)["size"].allowed

    assert ratio == pytest.approx(2)


def repeating(of: Block, share: float) -> Block:
    """The first picture of a block again, in the place of so many of its last ones."""
    values = of.values.copy()
    values[round(len(of) * (1 - share)) :] = values[0]
    return replace(of, values=values)


def test_the_same_picture_again_and_again_is_seen(rng: np.random.Generator) -> None:
    expectation = Expectation([block(rng) for _ in range(10)])

    assert expectation.deviations(block(rng))["repeats"] == (0, 0.5)
    assert expectation.deviations(repeating(block(rng), 0.4))["repeats"].ratio < 1
    frozen = expectation.deviations(repeating(block(rng), 1))["repeats"]
    assert (frozen.distance, frozen.allowed) == (pytest.approx(0.99), 0.5)


def test_where_pictures_are_repeated_anyway_they_may_be_and_fewer_are_no_change(rng: np.random.Generator) -> None:
    expectation = Expectation([repeating(block(rng), share) for share in np.linspace(0.5, 0.7, 10)])

    assert expectation.deviations(repeating(block(rng), 1))["repeats"].ratio < 1
    assert expectation.deviations(block(rng))["repeats"].distance == 0


def test_what_was_found_in_a_picture_makes_it_no_other_one(rng: np.random.Generator) -> None:
    again = repeating(block(rng), 1)
    again.values[:, NAMES.index("confidence")] = rng.normal(0.5, 0.1, len(again))

    assert again.repeats == pytest.approx(0.99)


def test_another_mix_of_classes_is_seen(rng: np.random.Generator) -> None:
    expectation = Expectation([block(rng) for _ in range(10)])
    current = block(rng)

    assert expectation.deviations(current)["class_mix"].ratio < 1
    assert expectation.deviations(replace(current, classes={"cat": 250}))["class_mix"].distance == pytest.approx(1)
    assert "class_mix" not in expectation.deviations(replace(current, classes={}))
