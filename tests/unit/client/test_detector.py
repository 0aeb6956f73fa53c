"""The detector, blocking and asyncio, over a real wire."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2
from support import files

from detector_grpc._gen.detector.v1 import detection_pb2, detector_service_pb2, model_service_pb2
from detector_grpc.client import AsyncDetector, CallFailed, Detector, TlsFiles
from detector_grpc.client.admin import ModelAdmin
from detector_grpc.client.drift import Drift
from detector_grpc.errors import SetupInvalid
from detector_grpc.vision.header import FORMATS
from detector_grpc.vision.tags import Tag

if TYPE_CHECKING:
    from conftest import Connect, Scene, Server
    from numpy.typing import NDArray

    from detector_grpc.client import DetectionResult

DetectRequest = detector_service_pb2.DetectRequest
GetModelRequest = model_service_pb2.GetModelRequest

SUFFIXES = [each.suffixes[0] for each in FORMATS]

# Lossy compression blurs the rectangle's edge by up to this many pixels of the picture that was sent.
JPEG_EDGE_PX = 1.5


def assert_found(result: DetectionResult, box: tuple[float, float, float, float], tolerance_px: float = 0.0) -> None:
    assert len(result) == 1
    np.testing.assert_allclose(result.xyxy, [box], atol=tolerance_px)


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, float("nan")])
async def test_a_time_in_which_no_call_can_be_made_is_refused(timeout_s: float) -> None:
    for make in (Detector, AsyncDetector, ModelAdmin, Drift):
        with pytest.raises(ValueError, match=r"timeout_s is more than 0 seconds, or None for no limit"):
            make("localhost:1", timeout_s=timeout_s)


@pytest.mark.parametrize("timeout_s", [None, float("inf"), 1e10, 1e9, 30.0])
async def test_a_call_may_take_as_long_as_one_likes(server: Server, timeout_s: float | None) -> None:
    async with AsyncDetector(server.address, timeout_s=timeout_s) as detector:
        assert await detector.health() == "SERVING"
    with Detector(server.address, timeout_s=timeout_s) as blocking:
        assert await asyncio.to_thread(blocking.health) == "SERVING"


@pytest.mark.parametrize("kind", [str, Path])
@pytest.mark.parametrize("suffix", SUFFIXES)
async def test_a_file_is_sent_as_it_is(
    connect: Connect, server: Server, scene: Scene, tmp_path: Path, kind: type[str | Path], suffix: str
) -> None:
    path = tmp_path / f"scene{suffix}"
    path.write_bytes(scene.encoded(suffix))
    async with connect() as detector:
        assert_found(await detector.detect(kind(path)), scene.box, JPEG_EDGE_PX)
    (request,) = server.red.asked(DetectRequest)
    assert request.image.encoded == path.read_bytes()


async def test_bytes_are_sent_as_they_are(connect: Connect, server: Server, scene: Scene) -> None:
    async with connect() as detector:
        assert_found(await detector.detect(scene.encoded(".png")), scene.box)
    (request,) = server.red.asked(DetectRequest)
    assert request.image.encoded == scene.encoded(".png")
    assert not request.HasField("source_size")


async def test_rgb_pixels_are_sent_raw(connect: Connect, server: Server, scene: Scene) -> None:
    async with connect() as detector:
        assert_found(await detector.detect(scene.rgb), scene.box)
    (request,) = server.red.asked(DetectRequest)
    assert request.image.WhichOneof("source") == "raw"
    assert (request.image.raw.size.width, request.image.raw.size.height) == (160, 120)


async def test_bgr_pixels_are_sent_as_bgr(connect: Connect, scene: Scene) -> None:
    async with connect() as detector:
        assert_found(await detector.detect(scene.rgb[:, :, ::-1], color="BGR"), scene.box)


async def test_grey_pixels_are_sent_with_one_byte_each(connect: Connect, server: Server, scene: Scene) -> None:
    async with connect() as detector:
        assert_found(await detector.detect(scene.rgb[:, :, 0]), scene.box)
    (request,) = server.red.asked(DetectRequest)
    assert len(request.image.raw.data) == 160 * 120


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros((4, 4, 3), np.float32), "uint8, not float32"),
        (np.zeros((4, 4, 4), np.uint8), r"not \(4, 4, 4\)"),
        (np.zeros(4, np.uint8), r"not \(4,\)"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
    ],
)
async def test_pixels_of_another_type_or_shape_are_refused_before_anything_is_sent(
    connect: Connect, server: Server, pixels: NDArray[np.generic], message: str
) -> None:
    async with connect() as detector:
        with pytest.raises(ValueError, match=message):
            await detector.detect(pixels)
    assert not server.red.requests


async def test_what_is_no_picture_at_all_is_refused(connect: Connect) -> None:
    async with connect() as detector:
        with pytest.raises(TypeError, match="not list"):
            await detector.detect([[1, 2], [3, 4]])


async def test_an_unknown_colour_order_is_refused(connect: Connect, scene: Scene) -> None:
    async with connect() as detector:
        with pytest.raises(ValueError, match='not "HSV"'):
            await detector.detect(scene.rgb, color="HSV")


async def test_an_unknown_option_is_refused(connect: Connect, scene: Scene) -> None:
    async with connect() as detector:
        with pytest.raises(ValueError, match="confidense"):
            await detector.detect(scene.rgb, confidense=0.5)


async def test_a_file_that_is_not_there_raises_what_python_raises(connect: Connect) -> None:
    async with connect() as detector:
        with pytest.raises(FileNotFoundError):
            await detector.detect("/no/such/picture.jpg")


@pytest.mark.parametrize("form", ["rgb", "bgr", "grey", *SUFFIXES])
@pytest.mark.parametrize("input_wh", [(64, 48), (64, 64), (32, 200)])
async def test_boxes_of_a_downscaled_picture_are_in_source_pixels(
    connect: Connect, server: Server, scene: Scene, form: str, input_wh: tuple[int, int]
) -> None:
    server.red.input_size.width, server.red.input_size.height = input_wh
    picture, color = {
        "rgb": (scene.rgb, "RGB"),
        "bgr": (scene.rgb[:, :, ::-1], "BGR"),
        "grey": (scene.rgb[:, :, 0], "RGB"),
        **{suffix: (scene.encoded(suffix), "RGB") for suffix in SUFFIXES},
    }[form]
    async with connect() as detector:
        result = await detector.detect(picture, downscale=True, color=color)
    shrunk_by = max(160 / input_wh[0], 120 / input_wh[1])
    assert_found(result, scene.box, JPEG_EDGE_PX * shrunk_by)
    assert result.image_wh == (160, 120)


async def test_a_downscaled_picture_just_fits_into_the_input(connect: Connect, server: Server, scene: Scene) -> None:
    async with connect() as detector:
        await detector.detect(scene.rgb, downscale=True)
    (request,) = server.red.asked(DetectRequest)
    sent = cv2.imdecode(np.frombuffer(request.image.encoded, np.uint8), cv2.IMREAD_COLOR)
    assert request.image.encoded.startswith(b"\xff\xd8\xff")
    assert sent.shape == (48, 64, 3)
    assert (request.source_size.width, request.source_size.height) == (160, 120)


async def test_a_picture_that_fits_is_not_touched_by_downscale(connect: Connect, server: Server, scene: Scene) -> None:
    server.red.input_size.width, server.red.input_size.height = 160, 120
    async with connect() as detector:
        await detector.detect(scene.encoded(".png"), downscale=True)
        await detector.detect(scene.rgb, downscale=True)
    of_bytes, of_pixels = server.red.asked(DetectRequest)
    assert of_bytes.image.encoded == scene.encoded(".png")
    assert of_pixels.image.raw.data == scene.rgb.tobytes()
    assert not of_bytes.HasField("source_size")
    assert not of_pixels.HasField("source_size")


async def test_a_picture_that_opencv_alone_gets_wrong_is_shrunk_as_the_server_reads_it(
    connect: Connect, server: Server, scene: Scene
) -> None:
    see_through = np.dstack([scene.rgb, np.full(scene.rgb.shape[:2], 1, np.uint8)])
    async with connect() as detector:
        await detector.detect(files.tiff(see_through, {Tag.EXTRA_SAMPLES: [2]}), downscale=True)
        await detector.detect(scene.rgb, downscale=True)
    of_file, of_pixels = server.red.asked(DetectRequest)
    assert of_file.image.encoded == of_pixels.image.encoded


async def test_source_size_is_that_of_the_upright_picture(connect: Connect, server: Server, scene: Scene) -> None:
    async with connect() as detector:
        result = await detector.detect(
            files.jpeg_with(scene.encoded(".jpg"), b"Exif\0\0" + files.exif(6)), downscale=True
        )
    (request,) = server.red.asked(DetectRequest)
    assert (request.source_size.width, request.source_size.height) == (120, 160)
    x_min, y_min, x_max, y_max = scene.box
    assert_found(result, (120 - y_max, x_min, 120 - y_min, x_max), JPEG_EDGE_PX * 160 / 48)


@pytest.mark.parametrize("data", [b"", b"no picture"])
async def test_bytes_that_cannot_be_downscaled_are_left_to_the_server_to_refuse(
    connect: Connect, server: Server, data: bytes
) -> None:
    async with connect() as detector:
        with pytest.raises(CallFailed, match="the bytes are no picture"):
            await detector.detect(data, downscale=True)
    (request,) = server.red.asked(DetectRequest)
    assert request.image.encoded == data


async def test_the_input_size_is_asked_for_once(connect: Connect, server: Server, scene: Scene) -> None:
    async with connect(server.address, "red", "v1") as detector:
        await asyncio.gather(*(detector.detect(scene.rgb, downscale=True) for _ in range(6)))
    (request,) = server.red.asked(GetModelRequest)
    assert (request.model, request.version) == ("red", "v1")


async def test_an_input_size_that_the_server_does_not_know_yet_is_asked_for_again(
    connect: Connect, server: Server, scene: Scene
) -> None:
    size, server.red.input_size = server.red.input_size, None
    async with connect() as detector:
        await detector.detect(scene.rgb, downscale=True)
        server.red.input_size = size
        await detector.detect(scene.rgb, downscale=True)
    before, after = server.red.asked(DetectRequest)
    assert not before.HasField("source_size")
    assert after.HasField("source_size")


async def test_options_reach_the_server_and_what_is_left_out_stays_unset(
    connect: Connect, server: Server, scene: Scene
) -> None:
    async with connect() as detector:
        await detector.detect(
            scene.rgb,
            confidence_threshold=0.0,
            class_confidence_thresholds={"a": 0.5},
            classes=("a", "b"),
            class_agnostic_nms=False,
            max_detections=7,
            iou_threshold=None,
        )
    (request,) = server.red.asked(DetectRequest)
    assert request.options == detection_pb2.DetectOptions(
        confidence_threshold=0.0,
        class_confidence_thresholds={"a": 0.5},
        classes=["a", "b"],
        class_agnostic_nms=False,
        max_detections=7,
    )
    assert not request.options.HasField("iou_threshold")
    assert not request.options.HasField("multi_label")


async def test_model_and_version_are_in_the_request_and_the_version_in_the_metadata_too(
    connect: Connect, server: Server, scene: Scene
) -> None:
    async with connect(server.address, "red", "v2") as detector:
        result = await detector.detect(scene.rgb)
    (request,) = server.red.asked(DetectRequest)
    assert (request.model, request.version) == ("red", "v2")
    assert server.red.metadata["x-model-version"] == "v2"
    assert (result.model, result.version) == ("red", "v2")


async def test_token_and_request_id_are_in_the_metadata(connect: Connect, server: Server, scene: Scene) -> None:
    async with connect(token="t0ken") as detector:  # noqa: S106
        result = await detector.detect(scene.rgb, request_id="my-id")
    assert server.red.metadata["authorization"] == "Bearer t0ken"
    assert server.red.metadata["x-request-id"] == "my-id"
    assert result.request_id == "my-id"


async def test_a_picture_can_be_said_to_be_of_a_camera(connect: Connect, server: Server, scene: Scene) -> None:
    async with connect() as detector:
        await detector.detect(scene.rgb, stream_id="hall, left")
        assert server.red.metadata["x-stream-id"] == "hall, left"
        for none in ("h\u00f6f", "two\nlines", "x" * 129):
            with pytest.raises(ValueError, match="at most 128 printable ASCII characters"):
                await detector.detect(scene.rgb, stream_id=none)


async def test_metadata_that_has_nothing_to_say_is_not_sent(connect: Connect, server: Server, scene: Scene) -> None:
    async with connect() as detector:
        await detector.detect(scene.rgb)
    assert not {"x-model-version", "authorization", "x-request-id", "x-stream-id"} & set(server.red.metadata)


async def test_models_are_listed_with_state_and_default(connect: Connect) -> None:
    async with connect() as detector:
        ready, loading = await detector.models()
    assert (ready.model, ready.version, ready.state, ready.is_default) == ("red", "v1", "READY", True)
    assert (ready.input_wh, ready.class_names) == ((64, 48), ("a", "b", "red [thing]"))
    assert ready.default_options["iou_threshold"] == 0.7
    assert (loading.state, loading.is_default, loading.input_wh) == ("LOADING", False, None)
    assert json.loads(json.dumps(ready.to_dict()))["input_wh"] == [64, 48]


async def test_health_is_the_word_of_the_health_protocol(connect: Connect, server: Server) -> None:
    server.health.set("models/red/versions/v1", health_pb2.HealthCheckResponse.NOT_SERVING)
    async with connect() as detector:
        assert await detector.health() == "SERVING"
        assert await detector.health("models/red/versions/v1") == "NOT_SERVING"
        with pytest.raises(CallFailed) as failure:
            await detector.health("unheard of")
    assert failure.value.code == "NOT_FOUND"


def test_a_watch_says_every_change_until_the_server_ends_it(server: Server) -> None:
    with Detector(server.address) as detector:
        statuses = detector.watch_health()
        assert next(statuses) == "SERVING"
        server.health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
        assert next(statuses) == "NOT_SERVING"
        server.stop()
        with pytest.raises(CallFailed):
            next(statuses)


async def test_an_asyncio_watch_says_every_change_until_the_server_ends_it(server: Server) -> None:
    async with AsyncDetector(server.address) as detector:
        statuses = detector.watch_health()
        assert await anext(statuses) == "SERVING"
        server.health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
        assert await anext(statuses) == "NOT_SERVING"
        await asyncio.to_thread(server.stop)
        with pytest.raises(CallFailed):
            await anext(statuses)


async def test_a_watch_of_an_unknown_service_says_so(server: Server) -> None:
    async with AsyncDetector(server.address) as detector:
        statuses = detector.watch_health("unheard of")
        assert await anext(statuses) == "SERVICE_UNKNOWN"
        await statuses.aclose()


async def test_a_call_ends_when_its_time_is_up(connect: Connect, server: Server, scene: Scene) -> None:
    server.red.failure = lambda _: time.sleep(0.5)
    async with connect(timeout_s=0.1) as detector:
        with pytest.raises(CallFailed) as failure:
            await detector.detect(scene.rgb)
    assert (failure.value.code, failure.value.reason) == ("DEADLINE_EXCEEDED", "")


async def test_a_failed_call_is_not_tried_again(connect: Connect, server: Server, scene: Scene) -> None:
    server.fail(grpc.StatusCode.UNAVAILABLE, "being loaded")
    async with connect() as detector:
        with pytest.raises(CallFailed):
            await detector.detect(scene.rgb)
    assert len(server.red.requests) == 1


async def test_a_tls_file_that_cannot_be_read_is_a_fault_of_the_setup(connect: Connect) -> None:
    with pytest.raises(SetupInvalid, match="/no/such/authority"):
        async with connect("localhost:1", tls=TlsFiles(authority=Path("/no/such/authority"))):
            pass
