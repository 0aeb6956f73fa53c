from __future__ import annotations

import re
from typing import TYPE_CHECKING

import cv2
import grpc
import numpy as np
import pytest
from support import files
from support.calls import SERVING, connected, encoded_request, failure, raw_request
from support.onnx_files import Box, tiny_onnx
from support.pictures import jpeg, png, qr_picture
from support.rich_errors import reason_of
from support.servers import BUNDLED_MODELS, server_process
from support.streams import Stream, config

from detector_grpc._gen.detector.v1.detection_pb2 import DetectOptions
from detector_grpc._gen.detector.v1.image_pb2 import (
    PIXEL_FORMAT_BGR24,
    PIXEL_FORMAT_GRAY8,
    PIXEL_FORMAT_RGB24,
    ImageSize,
)
from detector_grpc._gen.detector.v1.model_service_pb2 import MODEL_STATE_READY, GetModelRequest, ListModelsRequest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.calls import Client
    from support.pictures import QrPicture

    from detector_grpc._gen.detector.v1 import detector_service_pb2
    from detector_grpc._gen.detector.v1.detection_pb2 import Detection

PICTURES = sorted(path for path in BUNDLED_MODELS.with_name("pictures").glob("*") if path.suffix in (".jpg", ".png"))

# The picture that the tiny models get is exactly their input, so that model px are image px.
BLANK = np.full((64, 64, 3), 114, np.uint8)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Versions v1 to v4 of a model, each with one class that is named after the version."""
    repository = tmp_path_factory.mktemp("repository")
    for version in ("v1", "v2", "v3", "v4"):
        tiny_onnx(repository / "tiny" / version / "model.onnx", classes=1, names=f'["only {version}"]')
    boxes = (
        Box((16, 8, 48, 40), 0, 0.9),
        Box((17, 8, 48, 40), 0, 0.8),  # nearly the same place and the same class
        Box((16, 9, 48, 40), 1, 0.7),  # nearly the same place, another class
        Box((0, 50, 10, 60), 2, 0.3),
        Box((-20, 50, 10, 90), 2, 0.6),  # reaches beyond the picture
    )
    tiny_onnx(repository / "boxes" / "corners" / "model.onnx", boxes=boxes, classes=3, layout="xyxy")
    tiny_onnx(repository / "boxes" / "centers" / "model.onnx", boxes=boxes, classes=3, names="{0: 'a', 1: 'b', 2: 'c'}")
    with server_process(repository=repository, models_default_model="tiny") as server, connected(server.address) as it:
        it.wait_for_status(SERVING)
        yield it


class TestBundledModels:
    @pytest.mark.parametrize("version", ["v1", "v2"])
    @pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".tif"])
    def test_finds_the_drawn_code_where_it_is(self, codes: Client, qr: QrPicture, version: str, suffix: str) -> None:
        answer = codes.detect(encoded_request(files.encoded(suffix, qr.image), version=version))

        assert (answer.model, answer.version) == ("codes", version)
        assert [found.class_name for found in answer.detections] == ["qr_code"]
        assert iou(xyxy(answer.detections[0]), qr.xyxy) > 0.8
        assert answer.image_size == ImageSize(width=480, height=360)

    @pytest.mark.parametrize("factor", [2, 4, 8])
    def test_a_large_jpeg_is_answered_in_its_own_pixels(self, codes: Client, qr: QrPicture, factor: int) -> None:
        odd = (480 * factor - 1, 360 * factor + 1)
        large = cv2.resize(qr.image, odd, interpolation=cv2.INTER_CUBIC)

        answer = codes.detect(encoded_request(jpeg(large)))

        scale = np.tile(np.divide(odd, (480, 360)), 2)
        assert iou(xyxy(answer.detections[0]), tuple(qr.xyxy * scale)) > 0.8
        assert answer.image_size == ImageSize(width=odd[0], height=odd[1])

    @pytest.mark.parametrize("version", ["v1", "v2"])
    @pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.name)
    def test_finds_codes_in_all_bundled_pictures_but_the_empty_one(
        self, codes: Client, picture: Path, version: str
    ) -> None:
        found = codes.detect(encoded_request(picture.read_bytes(), version=version)).detections

        assert bool(found) == (picture.stem != "empty")

    def test_says_what_answered_and_how_long_each_part_took(self, codes: Client, qr: QrPicture) -> None:
        answer = codes.detect(encoded_request(png(qr.image)))
        held = codes.models.GetModel(GetModelRequest()).version

        assert answer.model_digest == held.digest
        assert re.fullmatch("sha256:[0-9a-f]{64}", answer.model_digest)
        timing = answer.timing
        assert min(timing.decode_ms, timing.preprocess_ms, timing.inference_ms, timing.postprocess_ms) > 0
        assert timing.queue_ms >= 0

    def test_are_described_by_the_model_service(self, codes: Client) -> None:
        listed = codes.models.ListModels(ListModelsRequest())

        assert (listed.default_model, listed.default_version) == ("codes", "v1")
        assert [(each.model, each.version, each.state) for each in listed.versions] == [
            ("codes", "v1", MODEL_STATE_READY),
            ("codes", "v2", MODEL_STATE_READY),
        ]
        first, second = listed.versions
        assert list(first.class_names) == ["qr_code", "data_matrix", "aztec", "pdf417", "linear_barcode"]
        assert (first.input_size, second.input_size) == (
            ImageSize(width=256, height=256),
            ImageSize(width=320, height=320),
        )
        assert first.execution_provider == "CPUExecutionProvider"
        assert first.digest != second.digest


class TestPicture:
    def test_of_one_content_has_one_answer_however_it_is_sent(self, codes: Client, qr: QrPicture) -> None:
        bgr = np.ascontiguousarray(qr.image[:, :, ::-1])

        answers = [
            codes.detect(encoded_request(png(qr.image))),
            codes.detect(raw_request(qr.image, PIXEL_FORMAT_RGB24)),
            codes.detect(raw_request(bgr, PIXEL_FORMAT_BGR24)),
        ]

        assert answers[0].detections
        assert answers[0].detections == answers[1].detections == answers[2].detections

    def test_with_swapped_colours_is_another_picture(self, codes: Client) -> None:
        # The rule above would hold, too, if the format were ignored and the model colour-blind.
        blue = qr_picture().image.copy()
        blue[:, :, 2] //= 4
        options = DetectOptions(confidence_threshold=0.001)

        right, wrong = (
            codes.detect(raw_request(blue, pixel_format, options=options))
            for pixel_format in (PIXEL_FORMAT_RGB24, PIXEL_FORMAT_BGR24)
        )

        assert right.detections != wrong.detections

    def test_in_grey_is_the_same_raw_and_encoded(self, codes: Client, qr: QrPicture) -> None:
        grey = np.ascontiguousarray(qr.image[:, :, 1])

        raw = codes.detect(raw_request(grey, PIXEL_FORMAT_GRAY8))
        encoded = codes.detect(encoded_request(png(grey)))

        assert raw.detections
        assert raw.detections == encoded.detections

    def test_is_turned_upright_before_anything_else(self, codes: Client, qr: QrPicture) -> None:
        # Orientation 6: to be turned clockwise by a quarter. The stored picture is the upright one turned back.
        stored = np.ascontiguousarray(np.rot90(qr.image))

        answer = codes.detect(encoded_request(files.jpeg_with(jpeg(stored), b"Exif\0\0" + files.exif(6))))

        assert answer.image_size == ImageSize(width=480, height=360)
        assert iou(xyxy(answer.detections[0]), qr.xyxy) > 0.8

    def test_that_was_shrunk_gets_its_boxes_in_source_pixels(self, codes: Client, qr: QrPicture) -> None:
        shrunk = cv2.resize(qr.image, (240, 180), interpolation=cv2.INTER_AREA)
        source = ImageSize(width=480, height=360)

        plain = codes.detect(encoded_request(png(shrunk)))
        scaled = codes.detect(encoded_request(png(shrunk), source_size=source))

        assert plain.image_size == ImageSize(width=240, height=180)
        assert scaled.image_size == source
        assert iou(xyxy(scaled.detections[0]), qr.xyxy) > 0.8
        assert [2 * side for side in xyxy(plain.detections[0])] == pytest.approx(xyxy(scaled.detections[0]), abs=1e-3)

    @pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 400), (400, 1), (3, 2000)])
    def test_of_any_shape_is_answered(self, codes: Client, width: int, height: int) -> None:
        image = np.full((height, width, 3), 90, np.uint8)

        answer = codes.detect(encoded_request(png(image)))

        assert answer.image_size == ImageSize(width=width, height=height)


class TestOptions:
    def test_that_are_unset_are_those_of_the_manifest(self, codes: Client, qr: QrPicture) -> None:
        used = codes.detect(encoded_request(png(qr.image))).options

        assert used == DetectOptions(
            confidence_threshold=0.5,
            iou_threshold=0.5,
            multi_label=False,
            class_agnostic_nms=True,
            max_detections=300,
        )

    def test_that_are_set_come_back_as_used(self, codes: Client, qr: QrPicture) -> None:
        asked = DetectOptions(
            confidence_threshold=0.125,
            class_confidence_thresholds={"aztec": 0.75},
            iou_threshold=0.25,
            classes=["qr_code", "aztec"],
            multi_label=True,
            class_agnostic_nms=False,
            max_detections=7,
        )

        assert codes.detect(encoded_request(png(qr.image), options=asked)).options == asked

    def test_of_zero_are_set_not_unset(self, codes: Client, qr: QrPicture) -> None:
        asked = DetectOptions(confidence_threshold=0.0, iou_threshold=0.0, max_detections=1)

        answer = codes.detect(encoded_request(png(qr.image), options=asked))

        assert (answer.options.confidence_threshold, answer.options.iou_threshold) == (0, 0)
        assert len(answer.detections) == 1

    @pytest.mark.parametrize("version", ["corners", "centers"])
    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({}, [(0, 0.9), (1, 0.7), (2, 0.6), (2, 0.3)]),
            ({"class_agnostic_nms": True}, [(0, 0.9), (2, 0.6), (2, 0.3)]),
            ({"iou_threshold": 1.0}, [(0, 0.9), (0, 0.8), (1, 0.7), (2, 0.6), (2, 0.3)]),
            ({"confidence_threshold": 0.65}, [(0, 0.9), (1, 0.7)]),
            ({"class_confidence_thresholds": {"c": 0.5}}, [(0, 0.9), (1, 0.7), (2, 0.6)]),
            ({"confidence_threshold": 0.95, "class_confidence_thresholds": {"b": 0.5}}, [(1, 0.7)]),
            ({"classes": ["b"]}, [(1, 0.7)]),
            ({"max_detections": 2}, [(0, 0.9), (1, 0.7)]),
        ],
    )
    def test_choose_the_detections(
        self, tiny: Client, version: str, options: dict[str, object], expected: list[tuple[int, float]]
    ) -> None:
        if version == "corners":
            options = renamed(options)

        found = boxes_model(tiny, version, **options)

        assert [(each.class_id, round(each.confidence, 3)) for each in found] == expected

    @pytest.mark.parametrize("version", ["corners", "centers"])
    def test_boxes_are_those_of_the_model_clipped_to_the_picture(self, tiny: Client, version: str) -> None:
        found = boxes_model(tiny, version)

        expected = [(16, 8, 48, 40), (16, 9, 48, 40), (0, 50, 10, 64), (0, 50, 10, 60)]
        assert [xyxy(each) for each in found] == [pytest.approx(box, abs=1e-4) for box in expected]


class TestVersion:
    @pytest.mark.parametrize(
        ("field", "metadata", "expected"),
        [
            ("v2", {"x-model-version": "v3", "x-detector-arm": "v4"}, "v2"),
            ("", {"x-model-version": "v3", "x-detector-arm": "v4"}, "v3"),
            ("", {"x-detector-arm": "v4"}, "v4"),
            ("", {}, "v1"),
            ("v4", {}, "v4"),
            ("", {"x-model-version": "", "x-detector-arm": "v4"}, "v4"),
        ],
        ids=["field", "pin", "arm", "default", "field alone", "empty pin"],
    )
    def test_is_chosen_by_field_then_pin_then_arm_then_default(
        self, tiny: Client, field: str, metadata: dict[str, str], expected: str
    ) -> None:
        answer = tiny.detect(encoded_request(png(BLANK), version=field), tuple(metadata.items()))

        assert answer.version == expected
        assert [found.class_name for found in answer.detections] == [f"only {expected}"]

    @pytest.mark.parametrize(("model", "expected"), [("other", "v1"), ("tiny", "v2"), ("", "v2")])
    def test_of_another_model_than_the_default_is_not_chosen_by_the_arm(
        self, tmp_path: Path, model: str, expected: str
    ) -> None:
        for version in ("v1", "v2"):
            for each in ("tiny", "other"):
                tiny_onnx(tmp_path / each / version / "model.onnx")
        request = encoded_request(png(BLANK), model=model)
        with (
            server_process(repository=tmp_path, models_default_model="tiny") as server,
            connected(server.address) as two,
        ):
            two.wait_for_status(SERVING)

            assert two.detect(request, (("x-detector-arm", "v2"),)).version == expected
            with Stream(two, (("x-detector-arm", "v2"),)) as stream:
                stream.send(config(model=model))
                assert stream.ready().version == expected

    @pytest.mark.parametrize("key", ["x-model-version", "x-detector-arm"])
    def test_that_is_not_held_is_never_replaced_by_another(self, tiny: Client, key: str) -> None:
        error = failure(lambda: tiny.detect(encoded_request(png(BLANK)), ((key, "v9"),)))

        assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert reason_of(error) == "MODEL_VERSION_NOT_HELD"


class TestRequestId:
    @pytest.mark.parametrize("sent", ["a", "7f3c-42/=~!", "x" * 128])
    def test_of_the_caller_is_kept(self, codes: Client, qr: QrPicture, sent: str) -> None:
        answer, trailing = with_trailing(codes, encoded_request(png(qr.image)), sent)

        assert answer.request_id == sent
        assert trailing["x-request-id"] == sent

    @pytest.mark.parametrize("sent", [None, "", "two words", "x" * 129])
    def test_is_made_where_the_caller_sends_none_that_can_be_used(
        self, codes: Client, qr: QrPicture, sent: str | None
    ) -> None:
        answer, trailing = with_trailing(codes, encoded_request(png(qr.image)), sent)

        assert re.fullmatch("[0-9a-f]{32}", answer.request_id)
        assert trailing["x-request-id"] == answer.request_id

    def test_is_made_anew_for_every_call(self, codes: Client, qr: QrPicture) -> None:
        ids = {codes.detect(encoded_request(png(qr.image))).request_id for _ in range(5)}

        assert len(ids) == 5

    @pytest.mark.parametrize(("sent", "expected"), [("mine", "mine"), (None, "[0-9a-f]{32}")])
    def test_comes_back_with_errors(self, codes: Client, sent: str | None, expected: str) -> None:
        metadata = (("x-request-id", sent),) if sent else ()

        error = failure(lambda: codes.detect(encoded_request(b"no picture"), metadata))

        trailing = dict(error.trailing_metadata())
        assert re.fullmatch(expected, trailing["x-request-id"])


def test_a_method_that_nobody_knows_is_unimplemented(codes: Client) -> None:
    call = codes.channel.unary_unary("/detector.v1.DetectorService/Detekt")

    error = failure(lambda: call(b"", timeout=10))

    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


def boxes_model(tiny: Client, version: str, **options: object) -> list[Detection]:
    request = encoded_request(png(BLANK), model="boxes", version=version, options=DetectOptions(**options))
    return list(tiny.detect(request).detections)


def renamed(options: dict[str, object]) -> dict[str, object]:
    """Options with the made-up names of classes that are not named, instead of a, b, c."""
    made_up = {"a": "class_0", "b": "class_1", "c": "class_2"}
    renamed = dict(options)
    if "classes" in options:
        renamed["classes"] = [made_up[name] for name in options["classes"]]
    if "class_confidence_thresholds" in options:
        renamed["class_confidence_thresholds"] = {
            made_up[name]: value for name, value in options["class_confidence_thresholds"].items()
        }
    return renamed


def with_trailing(
    client: Client, request: detector_service_pb2.DetectRequest, request_id: str | None
) -> tuple[detector_service_pb2.DetectResponse, dict[str, str]]:
    metadata = () if request_id is None else (("x-request-id", request_id),)
    answer, call = client.detector.Detect.with_call(request, timeout=30, metadata=metadata)
    return answer, dict(call.trailing_metadata())


def xyxy(detection: Detection) -> tuple[float, float, float, float]:
    box = detection.bbox
    return box.x_min, box.y_min, box.x_max, box.y_max


def iou(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return shared / (areas - shared)
