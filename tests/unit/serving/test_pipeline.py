"""One picture through a model that answers what the test wants."""

from __future__ import annotations

import numpy as np
import pytest
from support.sessions import FakeSession

from detector_grpc.errors import ImageTooLarge, InferenceFailed, InvalidRequest
from detector_grpc.serving.inputs import PICTURES, ImageInput
from detector_grpc.serving.layouts import Layout
from detector_grpc.serving.options import DetectOptions, RequestedOptions
from detector_grpc.serving.pipeline import Pipeline, RawImage
from detector_grpc.serving.session import TensorInfo
from detector_grpc.serving.spec import ModelSpec
from detector_grpc.vision.uncertainty import Measures

WIDTH, HEIGHT = 128, 64
CORNERS = Layout("xyxy", ("output0",))


def seeing(*columns: tuple[float, ...]) -> FakeSession:
    """A model that says that the given boxes, model px, are there."""
    output = np.zeros((1, 6, 21), np.float32)
    for index, column in enumerate(columns):
        output[0, :, index] = column
    return FakeSession({"output0": output})


def pipeline(
    session: FakeSession,
    options: DetectOptions | None = None,
    max_pixels: int = 10_000,
    layout: Layout = CORNERS,
    **image_input: object,
) -> Pipeline:
    spec = ModelSpec(("car", "bus"), ImageInput("images", (64, 64), **image_input), layout, options or DetectOptions())
    return Pipeline(spec, session, max_pixels)


PICTURE = RawImage(bytes([255, 0, 51]) * (WIDTH * HEIGHT), WIDTH, HEIGHT, "RGB24")


def test_boxes_come_back_in_pixels_of_the_picture() -> None:
    # 128 x 64 lies in 64 x 64 at half its size, from y = 16 to y = 48.
    session = seeing((10, 20, 30, 40, 0.9, 0.1), (0, 0, 64, 64, 0.0, 0.6))
    result = pipeline(session).detect(PICTURE, RequestedOptions())
    np.testing.assert_allclose(result.detections.xyxy, [[20, 8, 60, 48], [0, 0, 128, 64]])
    np.testing.assert_allclose(result.detections.confidence, [0.9, 0.6])
    assert result.detections.class_id.tolist() == [0, 1]
    assert result.image_wh == (WIDTH, HEIGHT)


def test_what_lies_in_the_padding_is_not_there() -> None:
    # The picture begins at y = 16: of the first box nothing is in it, of the second one model px.
    session = seeing((10, 2, 30, 14, 0.9, 0.1), (30, 2, 50, 17, 0.8, 0.1))
    result = pipeline(session).detect(PICTURE, RequestedOptions())
    np.testing.assert_allclose(result.detections.xyxy, [[60, 0, 100, 2]])
    np.testing.assert_allclose(result.detections.confidence, [0.8])


def test_the_model_sees_rgb_with_grey_padding() -> None:
    session = seeing()
    pipeline(session).detect(PICTURE, RequestedOptions())
    (pictures,) = session.fed[0].values()
    assert pictures.dtype == np.uint8
    assert pictures.shape == (1, 64, 64, 3)
    np.testing.assert_array_equal(pictures[0, 32, 32], [255, 0, 51])
    np.testing.assert_array_equal(pictures[0, 15, 32], [114] * 3)


def test_boxes_come_back_in_pixels_of_the_source_when_the_caller_shrank_it() -> None:
    session = seeing((10, 20, 30, 40, 0.9, 0.1))
    result = pipeline(session).detect(PICTURE, RequestedOptions(), source_wh=(1280, 640))
    np.testing.assert_allclose(result.detections.xyxy, [[200, 80, 600, 480]])
    assert result.image_wh == (1280, 640)


@pytest.mark.parametrize("source_wh", [(1281, 640), (1280, 641), (1285, 640), (1270, 640)])
def test_a_source_size_may_differ_by_the_rounding_of_a_side(source_wh: tuple[int, int]) -> None:
    assert pipeline(seeing()).detect(PICTURE, RequestedOptions(), source_wh).image_wh == source_wh


@pytest.mark.parametrize("source_wh", [(640, 1280), (1320, 640), (1280, 660), (64, 64)])
def test_a_source_size_of_another_shape_is_refused(source_wh: tuple[int, int]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        pipeline(seeing()).detect(PICTURE, RequestedOptions(), source_wh)
    assert [violation.field for violation in caught.value.violations] == ["source_size"]


def test_the_options_that_were_used_are_told_and_used() -> None:
    columns = [(i * 10, 20, i * 10 + 5, 25, 0.9 - i / 10, 0.0) for i in range(4)]
    version = DetectOptions(confidence_threshold=0.65, max_detections=2)
    result = pipeline(seeing(*columns), version).detect(PICTURE, RequestedOptions())
    assert result.options == version
    np.testing.assert_allclose(result.detections.confidence, [0.9, 0.8])
    asked = RequestedOptions(confidence_threshold=0.55, max_detections=10)
    result = pipeline(seeing(*columns), version).detect(PICTURE, asked)
    np.testing.assert_allclose(result.detections.confidence, [0.9, 0.8, 0.7, 0.6])


def test_unknown_classes_are_refused_before_any_pixel_is_touched() -> None:
    with pytest.raises(InvalidRequest, match="cat"):
        pipeline(seeing(), max_pixels=1).detect(PICTURE, RequestedOptions(classes=("cat",)))


def test_the_limit_of_pixels_applies_to_raw_pictures() -> None:
    session = seeing()
    with pytest.raises(ImageTooLarge):
        pipeline(session, max_pixels=WIDTH * HEIGHT - 1).detect(PICTURE, RequestedOptions())
    assert session.fed == []


def test_a_runtime_that_refuses_is_an_error_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    session = seeing()

    def refuse(*_: object) -> list[np.ndarray]:
        raise InferenceFailed

    monkeypatch.setattr(session, "run", refuse)
    with pytest.raises(InferenceFailed):
        pipeline(session).detect(PICTURE, RequestedOptions())


def test_the_time_in_the_queue_is_passed_on_and_every_part_takes_some() -> None:
    timing = pipeline(seeing()).detect(PICTURE, RequestedOptions(), queue_s=1.25).timing
    assert timing.queue_s == 1.25
    assert all(seconds > 0 for seconds in timing)


def test_a_model_that_wants_the_size_of_the_picture_is_told_that_of_its_input() -> None:
    session = seeing()
    size = TensorInfo("orig_target_sizes", "int64", (1, 2))
    pipeline(session, size=size).detect(PICTURE, RequestedOptions())
    np.testing.assert_array_equal(session.fed[0]["orig_target_sizes"], [[64, 64]])
    assert session.fed[0]["orig_target_sizes"].dtype == np.int64


def test_a_stretched_picture_fills_the_input_and_its_boxes_map_back() -> None:
    session = seeing((16, 16, 32, 32, 0.9, 0.1))
    result = pipeline(session, resize="stretch").detect(PICTURE, RequestedOptions())
    np.testing.assert_allclose(result.detections.xyxy, [[32, 16, 64, 32]])
    np.testing.assert_array_equal(session.fed[0][PICTURES][0, :, :, 0], np.full((64, 64), 255))


def test_half_precision_outputs_are_read() -> None:
    output = np.zeros((1, 6, 21), np.float16)
    output[0, :, 0] = 10, 20, 30, 40, 0.9, 0.1
    result = pipeline(FakeSession({"output0": output})).detect(PICTURE, RequestedOptions())
    np.testing.assert_allclose(result.detections.xyxy, [[20, 8, 60, 48]])
    assert result.detections.confidence.dtype == np.float32


def test_what_the_model_has_suppressed_itself_is_not_suppressed_again() -> None:
    rows = [(10, 20, 30, 40, 0.5, 0), (10, 20, 30, 40, 0.9, 0), (10, 20, 30, 40, 0.7, 0)]
    session = FakeSession({"output0": np.array([rows], np.float32)})
    layout = Layout("end_to_end", ("output0",), rows_last=True)
    result = pipeline(session, layout=layout).detect(PICTURE, RequestedOptions(max_detections=2))
    np.testing.assert_allclose(result.detections.confidence, [0.9, 0.7])
    assert len(pipeline(seeing(*rows)).detect(PICTURE, RequestedOptions()).detections) == 1


SURE, DOUBTFUL = (0, 20, 20, 40, 0.95, 0.0), (40, 20, 60, 40, 0.2, 0.1)


def test_what_is_not_answered_makes_a_version_less_sure() -> None:
    def uncertainty(*columns: tuple[float, ...]) -> float:
        result = pipeline(seeing(*columns)).detect(PICTURE, RequestedOptions())
        assert all(result.detections.confidence >= 0.25)
        return result.uncertainty.score

    assert uncertainty() == 0.0
    assert uncertainty(DOUBTFUL) == pytest.approx(0.2)
    assert uncertainty(SURE) == pytest.approx(0.05)
    assert uncertainty(SURE, DOUBTFUL) == pytest.approx(1 - 0.95 / 1.2)


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.25, 0.5, 0.99])
def test_a_version_is_as_unsure_whatever_confidence_its_caller_asks_for(threshold: float) -> None:
    version = pipeline(seeing(SURE, DOUBTFUL))
    asked = version.detect(PICTURE, RequestedOptions(confidence_threshold=threshold))
    assert asked.uncertainty == version.detect(PICTURE, RequestedOptions()).uncertainty


def test_a_version_is_not_unsure_of_what_its_caller_does_not_want() -> None:
    bus = (40, 20, 60, 40, 0.0, 0.3)
    version = pipeline(seeing(SURE, bus))
    cars = version.detect(PICTURE, RequestedOptions(classes=("car",)))
    assert cars.uncertainty == pipeline(seeing(SURE)).detect(PICTURE, RequestedOptions()).uncertainty
    assert version.detect(PICTURE, RequestedOptions(classes=("car", "bus"))).uncertainty.score > cars.uncertainty.score


def test_how_unsure_a_version_is_is_a_matter_of_choice() -> None:
    session = seeing((0, 20, 20, 40, 0.9, 0.45))
    spec = ModelSpec(("car", "bus"), ImageInput("images", (64, 64)), CORNERS, DetectOptions())
    chosen = Pipeline(spec, session, 10_000, Measures.of(["least_confidence", "margin"]))
    uncertainty = chosen.detect(PICTURE, RequestedOptions()).uncertainty
    assert (uncertainty.driver, uncertainty.score) == ("margin", pytest.approx(0.5))
    assert uncertainty.measures == pytest.approx({"least_confidence": 0.1, "margin": 0.5})
