"""What must hold of average precision and its intervals whatever was found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from support.scenes import Scene, perfect, random_scene

from detector_grpc.coco import Annotations
from detector_grpc.evaluation.bootstrap import Interval, average_precision, draw_pictures, mean_average_precision
from detector_grpc.evaluation.reference import evaluate

scenes = st.builds(random_scene, st.integers(0, 2**32), st.integers(1, 12), st.integers(1, 3))
# An interval says something only of more pictures than a few.
large_scenes = st.builds(random_scene, st.integers(0, 2**32), st.just(30), st.integers(1, 3))


def once(scene: Scene) -> np.ndarray:
    return np.ones((1, len(scene.annotations.pictures)), np.int32)


@given(scenes)
def test_with_every_picture_once_it_is_that_of_pycocotools(scene: Scene) -> None:
    assume(scene.annotations.counts())
    evaluation = evaluate(*scene)
    for place, matches in enumerate(evaluation.matches):
        expected = evaluation.precision[:, :, place].mean(axis=1)
        np.testing.assert_allclose(
            np.nan_to_num(average_precision(matches, once(scene))[0], nan=-1), expected, atol=1e-9
        )
    (mean,) = mean_average_precision(evaluation.matches, once(scene))
    np.testing.assert_allclose([mean.mean(), mean[0], mean[5]], evaluation.stats[:3], atol=1e-9)


@given(scenes, st.data())
def test_a_picture_that_is_drawn_several_times_counts_like_as_many_pictures(scene: Scene, data: st.DataObject) -> None:
    annotations, found = scene
    drawn = data.draw(st.lists(st.integers(0, 3), min_size=len(found), max_size=len(found)))
    copies = [(key, 100 * number + key) for key in found for number in range(1, drawn[key] + 1)]
    boxes = [
        replace(box, picture_id=copy) for key, copy in copies for box in annotations.boxes if box.picture_id == key
    ]
    several = Annotations({copy: "" for _, copy in copies}, annotations.categories, tuple(boxes))
    assume(several.counts())

    expected = evaluate(several, {copy: found[key] for key, copy in copies}).stats[:2]
    (mean,) = mean_average_precision(evaluate(*scene).matches, np.array([drawn], np.int32))

    np.testing.assert_allclose([mean.mean(), mean[0]], expected, atol=1e-9)


@given(scenes)
def test_it_is_one_where_everything_is_found_and_nothing_else(scene: Scene) -> None:
    assume(scene.annotations.counts())
    evaluation = evaluate(scene.annotations, perfect(scene.annotations))
    assert evaluation.stats[0] == pytest.approx(1, abs=1e-9)
    weights = draw_pictures(len(scene.annotations.pictures), 50, 0)
    resampled = mean_average_precision(evaluation.matches, weights)
    assert set(resampled[~np.isnan(resampled)]) <= {1.0}


@given(scenes)
def test_it_is_zero_where_nothing_is_found(scene: Scene) -> None:
    assume(scene.annotations.counts())
    nothing = {key: each.take(np.array([], np.intp)) for key, each in scene.found.items()}
    assert mean_average_precision(evaluate(scene.annotations, nothing).matches, once(scene)).max() == 0


@given(scenes, st.randoms(use_true_random=False))
def test_the_order_of_the_pictures_does_not_matter(scene: Scene, random: st.Random) -> None:
    assume(scene.annotations.counts())
    keys = list(scene.annotations.pictures)
    random.shuffle(keys)
    shuffled = replace(scene.annotations, pictures=dict.fromkeys(keys, ""))
    np.testing.assert_allclose(evaluate(shuffled, scene.found).stats, evaluate(*scene).stats, atol=1e-12)


@given(large_scenes)
def test_an_interval_covers_the_value_itself(scene: Scene) -> None:
    matches = evaluate(*scene).matches
    resampled = mean_average_precision(matches, draw_pictures(len(scene.found), 300, 0)).mean(axis=1)
    interval = Interval.of(resampled)
    assert interval.low <= mean_average_precision(matches, once(scene)).mean() <= interval.high


@given(st.integers(1, 50), st.integers(0, 2**32))
def test_drawings_are_of_as_many_pictures_and_the_same_for_the_same_seed(pictures: int, seed: int) -> None:
    drawn = draw_pictures(pictures, 20, seed)
    assert (drawn.sum(axis=1) == pictures).all()
    assert (drawn == draw_pictures(pictures, 20, seed)).all()
    assert pictures < 20 or (drawn != draw_pictures(pictures, 20, seed + 1)).any()
