"""Whatever is sent, the answer says what was wrong with it, and nothing of the inside of the server."""

from __future__ import annotations

import asyncio
import signal
import threading
from contextlib import asynccontextmanager
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2
from support import files
from support.calls import DETECT, NOT_SERVING, SERVING, connected, encoded_request, failure
from support.onnx_files import tiny_onnx
from support.pictures import jpeg, jpeg_that_says, noise, png, png_that_says, qr_picture
from support.rich_errors import DETAILS_KEY, info_of, leak_in, reason_of, retry_after_s, violations_of
from support.servers import BUNDLED_MODELS, server_process

from detector_grpc._gen.detector.v1 import detector_service_pb2_grpc
from detector_grpc._gen.detector.v1.detection_pb2 import DetectOptions
from detector_grpc._gen.detector.v1.detector_service_pb2 import DetectRequest
from detector_grpc._gen.detector.v1.image_pb2 import (
    PIXEL_FORMAT_GRAY8,
    PIXEL_FORMAT_RGB24,
    PIXEL_FORMAT_UNSPECIFIED,
    Image,
    ImageSize,
    RawImage,
)
from detector_grpc._gen.detector.v1.model_service_pb2 import GetModelRequest
from detector_grpc.interceptors.calls import CallsInterceptor
from detector_grpc.interceptors.errors import ErrorsInterceptor
from detector_grpc.interceptors.later import Later
from detector_grpc.interceptors.logging import AccessLog
from detector_grpc.rpc.detector_service import DetectorService
from detector_grpc.rpc.server import DetectorServer
from detector_grpc.rpc.status import rich_status
from detector_grpc.rpc.stream_frames import Served, StreamLimits
from detector_grpc.serving.budget import Shares
from detector_grpc.serving.loader import Loader
from detector_grpc.serving.outcome import Observers
from detector_grpc.serving.registry import Registry
from detector_grpc.serving.repository import Sources, scan
from detector_grpc.serving.resume import ResumeTokens
from detector_grpc.serving.scheduler import Scheduler
from detector_grpc.serving.session import OnnxFile, OnnxSession
from detector_grpc.vision.tags import Tag

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from pathlib import Path

    from support.calls import Client
    from support.servers import ServerProcess

MIB = 1024 * 1024

GOOD = png(qr_picture().image)
INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
PRECONDITION, EXHAUSTED = grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.fixture(scope="module")
def small() -> Iterator[Client]:
    """A server that takes messages of at most 1 MiB."""
    with (
        server_process(repository=BUNDLED_MODELS, limits_max_message_bytes=MIB) as server,
        connected(server.address) as client,
    ):
        client.wait_for_status(SERVING)
        yield client


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerProcess, Client]]:
    """A server whose v1 is good and whose v2 is no ONNX file."""
    repository = tmp_path_factory.mktemp("repository")
    tiny_onnx(repository / "tiny" / "v1" / "model.onnx")
    broken = repository / "tiny" / "v2" / "model.onnx"
    broken.parent.mkdir()
    broken.write_bytes(b"not an ONNX file")
    with server_process(repository=repository) as server, connected(server.address) as client:
        client.wait_for_status(SERVING)
        yield server, client


class Case(NamedTuple):
    """A request, and what must be said of it.

    Attributes:
        name: What is wrong.
        request: The request.
        code: Canonical code.
        reason: Stable name.
        said: What the message must hold: where there are any, the limit and the actual value.
        metadata: What ErrorInfo tells programs.
        field: The field that BadRequest names.
    """

    name: str
    request: DetectRequest
    code: grpc.StatusCode
    reason: str
    said: tuple[str, ...]
    metadata: Mapping[str, str] = MappingProxyType({})
    field: str = ""


def raw(data: bytes, width: int, height: int, pixel_format: Any = PIXEL_FORMAT_RGB24) -> DetectRequest:
    size = ImageSize(width=width, height=height)
    return DetectRequest(image=Image(raw=RawImage(data=data, size=size, format=pixel_format)))


def with_options(**options: object) -> DetectRequest:
    return encoded_request(GOOD, options=DetectOptions(**options))


def picture_cases() -> Iterator[Case]:
    whole_jpeg, whole_png = jpeg(noise(320, 240)), png(noise(320, 240))
    undecodable = "IMAGE_UNDECODABLE"
    pictures = {
        "jpeg cut in its header": (whole_jpeg[:100], ("JPEG",)),
        "jpeg of a signature only": (whole_jpeg[:3], ("JPEG",)),
        "jpeg cut in its middle": (whole_jpeg[: len(whole_jpeg) // 2], ("JPEG", f"{len(whole_jpeg) // 2} bytes")),
        "png cut in its header": (whole_png[:20], ("PNG", "header")),
        "png cut in its middle": (whole_png[: len(whole_png) // 2], ("PNG", f"{len(whole_png) // 2} bytes")),
        "png damaged": (whole_png[:300] + bytes(200) + whole_png[500:], ("PNG", "damaged")),
        **{
            f"{name} cut in its middle": (whole[: len(whole) // 2], (name, f"{len(whole) // 2} bytes"))
            for name, whole in ((kind, files.encoded(f".{kind}", noise(320, 240))) for kind in ("WebP", "BMP", "TIFF"))
        },
        "tiff in jpeg compression": (
            files.tiff(noise(32, 32), {Tag.COMPRESSION: [7]}),
            ("TIFF", "compression 7", "LZW"),
        ),
        "tiff of floating point": (
            files.tiff(noise(32, 32), {Tag.BITS_PER_SAMPLE: [32] * 3, Tag.SAMPLE_FORMAT: [3] * 3}),
            ("TIFF", "32 bits"),
        ),
        "text": (b"GET / HTTP/1.1", ("JPEG, PNG, WebP, BMP or TIFF",)),
        "gif": (b"GIF89a" + bytes(100), ("GIF", "JPEG, PNG, WebP, BMP or TIFF")),
        "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', ("JPEG, PNG, WebP, BMP or TIFF",)),
        "png of no width": (png_that_says(0, 8), ("0 x 8",)),
        "jpeg of no height": (jpeg_that_says(8, 0), ("8 x 0",)),
    }
    for name, (data, said) in pictures.items():
        yield Case(name, encoded_request(data), INVALID, undecodable, said, field="image")
    yield Case("empty file", encoded_request(b""), INVALID, "IMAGE_EMPTY", ("empty",), field="image")
    huge = {
        "png": png_that_says(60_000, 60_000),
        "jpeg": jpeg_that_says(60_000, 60_000),
        "bmp": files.bmp(60_000, 60_000, 24, bytes(100)),
        "tiff": files.tiff(noise(8, 8), {Tag.WIDTH: [60_000], Tag.HEIGHT: [60_000]}),
    }
    for name, data in huge.items():
        yield Case(
            f"{name} that says 60000 x 60000",
            encoded_request(data),
            INVALID,
            "IMAGE_TOO_LARGE",
            ("60000 x 60000", "3600000000", "limit is 50000000"),
            {"width": "60000", "height": "60000", "maxPixels": "50000000"},
            field="image",
        )
    too_many = raw(b"", 60_000, 60_000, PIXEL_FORMAT_GRAY8)
    yield Case("raw of 60000 x 60000", too_many, INVALID, "IMAGE_TOO_LARGE", ("3600000000", "50000000"), field="image")


def raw_cases() -> Iterator[Case]:
    bad = "RAW_IMAGE_INVALID"
    yield Case("raw without size", raw(b"", 0, 0), INVALID, bad, ("0 x 0",), {"width": "0", "height": "0"}, "image")
    yield Case("raw of no height", raw(bytes(12), 4, 0), INVALID, bad, ("4 x 0",), field="image")
    yield Case("raw of negative size", raw(bytes(12), -2, -2), INVALID, bad, ("-2 x -2",), field="image")
    for name, given in (("too few", 47), ("too many", 49), ("no", 0)):
        said = ("4 x 4", "RGB24", "take 48", f"got {given}")
        metadata = {"expectedBytes": "48", "actualBytes": str(given)}
        yield Case(f"raw with {name} bytes", raw(bytes(given), 4, 4), INVALID, bad, said, metadata, "image")
    grey = raw(bytes(48), 4, 4, PIXEL_FORMAT_GRAY8)
    yield Case("grey with bytes of colour", grey, INVALID, bad, ("GRAY8 take 16", "got 48"), field="image")
    for name, number in (("unspecified", PIXEL_FORMAT_UNSPECIFIED), ("unknown", 77)):
        said = ("RGB24, BGR24, GRAY8", f"got {int(number)}")
        request = raw(bytes(48), 4, 4, number)
        yield Case(f"raw of {name} format", request, INVALID, "INVALID_REQUEST", said, field="image.raw.format")


def option_cases() -> Iterator[Case]:
    bad = "INVALID_REQUEST"
    for option in ("confidence_threshold", "iou_threshold"):
        for value, seen in ((float("nan"), "nan"), (-1.0, "-1"), (2.0, "2"), (float("inf"), "inf")):
            said = (option, "[0, 1]", f"got {seen}")
            yield Case(f"{option} {seen}", with_options(**{option: value}), INVALID, bad, said, {}, f"options.{option}")
    for value, seen in ((-0.5, "-0.5"), (1.5, "1.5"), (float("nan"), "nan")):
        field = 'options.class_confidence_thresholds["aztec"]'
        request = with_options(class_confidence_thresholds={"aztec": value})
        yield Case(f"class threshold {seen}", request, INVALID, bad, ("aztec", "[0, 1]", f"got {seen}"), {}, field)
    for most in (0, -1, 1001):
        said = ("max_detections", "[1, 1000]", f"got {most}")
        request = with_options(max_detections=most)
        yield Case(f"max_detections {most}", request, INVALID, bad, said, {}, "options.max_detections")
    said = ('no class "cat"', "qr_code", "linear_barcode")
    yield Case("unknown class", with_options(classes=["cat"]), INVALID, bad, said, {}, "options.classes")
    request = with_options(class_confidence_thresholds={"cat": 0.5})
    field = "options.class_confidence_thresholds"
    yield Case("threshold of unknown class", request, INVALID, bad, said, {}, field)


def size_cases() -> Iterator[Case]:
    bad = "INVALID_REQUEST"
    for width, height, said, field in (
        (480, 480, ("480 x 480", "480 x 360", "aspect"), "source_size"),
        (360, 480, ("360 x 480", "480 x 360", "aspect"), "source_size"),
        (0, 360, ("[1, 65535]", "got 0"), "source_size.width"),
        (480, -1, ("[1, 65535]", "got -1"), "source_size.height"),
        (65_536, 360, ("[1, 65535]", "got 65536"), "source_size.width"),
    ):
        request = encoded_request(GOOD, source_size=ImageSize(width=width, height=height))
        yield Case(f"source size {width} x {height}", request, INVALID, bad, said, {}, field)


def name_cases() -> Iterator[Case]:
    yield Case("no image", DetectRequest(), INVALID, "INVALID_REQUEST", ("image", "required"), {}, "image")
    yield Case(
        "unknown model",
        encoded_request(GOOD, model="cats"),
        NOT_FOUND,
        "MODEL_NOT_FOUND",
        ('"cats"',),
        {"model": "cats"},
    )
    yield Case(
        "unknown version",
        encoded_request(GOOD, version="v9"),
        PRECONDITION,
        "MODEL_VERSION_NOT_HELD",
        ('"v9"', '"codes"'),
        {"model": "codes", "version": "v9"},
    )


CASES = [*picture_cases(), *raw_cases(), *option_cases(), *size_cases(), *name_cases()]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_bad_request_is_refused_with_what_was_wrong(codes: Client, case: Case) -> None:
    error = failure(lambda: codes.detect(case.request))

    info = info_of(error)
    assert (error.code(), info.reason, info.domain) == (case.code, case.reason, "detector.v1")
    assert [part for part in case.said if part not in error.details()] == [], error.details()
    assert case.metadata.items() <= dict(info.metadata).items()
    assert not leak_in(error), error.details()
    if case.field:
        assert violations_of(error).keys() == {case.field}


def test_all_faults_of_a_request_are_named_at_once(codes: Client) -> None:
    options = DetectOptions(confidence_threshold=2, iou_threshold=-1, max_detections=0)
    request = DetectRequest(options=options, source_size=ImageSize(width=0, height=1))

    error = failure(lambda: codes.detect(request))

    assert violations_of(error).keys() == {
        "image",
        "source_size.width",
        "options.confidence_threshold",
        "options.iou_threshold",
        "options.max_detections",
    }


@pytest.mark.parametrize("length", [100, 3_000, 20_000, 100_000])
def test_names_of_any_length_come_back_in_an_error_that_fits_into_its_headers(codes: Client, length: int) -> None:
    name = "n" * length
    cases = [
        (encoded_request(GOOD, model=name), NOT_FOUND, "MODEL_NOT_FOUND"),
        (encoded_request(GOOD, version=name), PRECONDITION, "MODEL_VERSION_NOT_HELD"),
        (with_options(classes=[name]), INVALID, "INVALID_REQUEST"),
        (with_options(classes=[f"class {index}" for index in range(length // 20)]), INVALID, "INVALID_REQUEST"),
        (with_options(class_confidence_thresholds={name: 2.0}), INVALID, "INVALID_REQUEST"),
        (with_options(classes=["\N{PILE OF POO}" * (length // 4)]), INVALID, "INVALID_REQUEST"),
    ]
    for request, code, reason in cases:
        error = failure(lambda request=request: codes.detect(request))

        assert error.code() is code, error.details()
        assert reason_of(error) == reason


def test_a_server_that_refused_all_of_them_still_answers(codes: Client) -> None:
    for case in CASES:
        failure(lambda case=case: codes.detect(case.request))

    assert codes.detect(encoded_request(GOOD)).detections


@pytest.mark.parametrize("make", [png_that_says, jpeg_that_says])
def test_a_picture_that_promises_too_many_pixels_costs_no_memory(make: Any) -> None:
    with server_process(repository=BUNDLED_MODELS) as server, connected(server.address) as client:
        client.wait_for_status(SERVING)
        client.detect(encoded_request(GOOD))
        before = server.peak_memory_bytes()

        for _ in range(10):
            failure(lambda: client.detect(encoded_request(make(60_000, 60_000))))

        assert server.peak_memory_bytes() - before < 8 * MIB  # its pixels would take 10 GB


def test_pictures_that_are_broken_leave_nothing_behind() -> None:
    damaged = png(noise(1600, 1600))[:-1000]
    with server_process(repository=BUNDLED_MODELS) as server, connected(server.address) as client:
        client.wait_for_status(SERVING)
        failure(lambda: client.detect(encoded_request(damaged)))
        before = server.peak_memory_bytes()

        for _ in range(30):
            failure(lambda: client.detect(encoded_request(damaged)))

        assert server.peak_memory_bytes() - before < 3 * len(damaged)


def test_damaged_strips_of_a_tiff_do_not_fill_the_log(tmp_path: Path) -> None:
    tiny_onnx(tmp_path / "tiny" / "v1" / "model.onnx")
    damaged = files.tiff(noise(64, 200), {Tag.COMPRESSION: [8]}, rows=1)
    with server_process(repository=tmp_path) as server, connected(server.address) as client:
        client.wait_for_status(SERVING)
        assert client.detect(encoded_request(damaged)).image_size == ImageSize(width=64, height=200)
        server.send(signal.SIGTERM)
        server.wait()
        assert [line for line in server.lines if not line.startswith("{")] == []


class TestMessage:
    def test_of_the_largest_size_is_taken(self, small: Client) -> None:
        padding = MIB - encoded_request(GOOD + bytes(MIB // 2)).ByteSize() + MIB // 2
        request = encoded_request(GOOD + bytes(padding))  # decoders do not look behind the end of a picture
        assert request.ByteSize() == MIB

        assert small.detect(request).detections

    @pytest.mark.parametrize("over", [1, MIB // 2])
    def test_above_the_limit_is_refused_with_both_sizes(self, small: Client, over: int) -> None:
        error = failure(lambda: small.send_bytes(bytes(MIB + over)))

        info = info_of(error)
        assert (error.code(), info.reason, info.domain) == (EXHAUSTED, "MESSAGE_TOO_LARGE", "detector.v1")
        assert f"{MIB + over} bytes" in error.details()
        assert f"limit is {MIB}" in error.details()
        assert dict(info.metadata) == {"sizeBytes": str(MIB + over), "maxBytes": str(MIB)}
        assert not leak_in(error)

    def test_far_above_the_limit_is_refused_by_grpc_itself_with_both_sizes(self, small: Client) -> None:
        error = failure(lambda: small.send_bytes(bytes(4 * MIB)))

        assert error.code() is EXHAUSTED
        assert str(4 * MIB) in error.details()
        assert str(2 * MIB) in error.details()
        assert not leak_in(error)

    def test_of_too_large_a_size_leaves_the_connection_usable(self, small: Client) -> None:
        for size in (2 * MIB - 1, 4 * MIB):
            failure(lambda size=size: small.send_bytes(bytes(size)))

        assert small.detect(encoded_request(GOOD)).detections

    @pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x0a\x7fshort", b"<html></html>"])
    def test_that_is_no_protobuf_is_an_invalid_request(self, small: Client, data: bytes) -> None:
        error = failure(lambda: small.send_bytes(data))

        assert (error.code(), reason_of(error)) == (INVALID, "INVALID_REQUEST")
        assert f"{len(data)} bytes are no message" in error.details()
        assert not leak_in(error)

    def test_that_is_missing_is_an_invalid_request(self, small: Client) -> None:
        error = failure(lambda: small.channel.stream_unary(DETECT)(iter([]), timeout=30))

        assert (error.code(), reason_of(error)) == (INVALID, "INVALID_REQUEST")
        assert "no request message" in error.details()

    def test_of_unknown_fields_only_is_read_as_an_empty_one(self, small: Client) -> None:
        unknown = b"\xfa\x7f\x03abc"  # field 2047, which a newer contract may have

        assert "image" in violations_of(failure(lambda: small.send_bytes(unknown)))


class TestVersionThatFailed:
    def test_is_a_failed_precondition(self, half: tuple[ServerProcess, Client]) -> None:
        error = failure(lambda: half[1].detect(encoded_request(GOOD, version="v2")))

        info = info_of(error)
        assert (error.code(), info.reason, info.domain) == (PRECONDITION, "MODEL_VERSION_FAILED", "detector.v1")
        assert '"v2"' in error.details()
        assert dict(info.metadata) == {"model": "tiny", "version": "v2"}
        assert not leak_in(error)

    def test_is_described_without_the_cause_which_only_the_log_tells(self, half: tuple[ServerProcess, Client]) -> None:
        server, client = half

        described = client.models.GetModel(GetModelRequest(version="v2")).version

        assert "could not be loaded" in described.state_message
        assert str(server.log("version failed")[0]["cause"]).split(":")[0] not in described.state_message

    def test_does_not_touch_the_other(self, half: tuple[ServerProcess, Client]) -> None:
        answer = half[1].detect(encoded_request(png(np.zeros((64, 64, 3), np.uint8))))

        assert answer.version == "v1"
        assert len(answer.detections) == 1


async def test_a_version_that_is_being_loaded_is_unavailable_for_now_and_answers_later(tmp_path: Path) -> None:
    may_open = threading.Event()

    def open_slowly(path: Path) -> OnnxFile:
        assert may_open.wait(60)
        return OnnxFile(path)

    tiny_onnx(tmp_path / "tiny" / "v1" / "model.onnx")
    async with (
        in_process(tmp_path, open_slowly) as (registry, port, load),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        stub = detector_service_pb2_grpc.DetectorServiceStub(channel)
        health = channel.unary_unary("/grpc.health.v1.Health/Check")
        try:
            loading = load()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Detect(encoded_request(GOOD), timeout=30)
            during = health_pb2.HealthCheckResponse.FromString(await health(b"", timeout=30)).status
        finally:
            may_open.set()
        await loading
        answer = await stub.Detect(encoded_request(GOOD), timeout=30)
        after = health_pb2.HealthCheckResponse.FromString(await health(b"", timeout=30)).status

    error = caught.value
    assert (error.code(), reason_of(error)) == (grpc.StatusCode.UNAVAILABLE, "MODEL_VERSION_LOADING")
    assert '"v1" of model "tiny"' in error.details()
    assert retry_after_s(error) > 0
    assert not leak_in(error)
    assert during == NOT_SERVING
    assert registry.serving
    assert (answer.version, after) == ("v1", SERVING)


async def test_an_unexpected_failure_tells_the_caller_nothing_but_the_id_of_its_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Leaky(OnnxSession):
        def run(self, feeds: Any, outputs: Any) -> Any:
            if any(tensor.any() for tensor in feeds.values()):
                raise ZeroDivisionError("/etc/secret.py")
            return super().run(feeds, outputs)

    tiny_onnx(tmp_path / "tiny" / "v1" / "model.onnx")
    async with in_process(tmp_path, partial(OnnxFile, open_session=Leaky)) as (_, port, load):
        await load()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = detector_service_pb2_grpc.DetectorServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Detect(encoded_request(GOOD), timeout=30, metadata=(("x-request-id", "find-me"),))

    error = caught.value
    assert (error.code(), reason_of(error)) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "find-me" in error.details()
    assert "secret" not in str(dict(error.trailing_metadata())[DETAILS_KEY])
    assert not leak_in(error)
    logged = [record for record in caplog.records if getattr(record, "request_id", "") == "find-me"]
    assert any(record.exc_info and record.exc_info[0] is ZeroDivisionError for record in logged)


@asynccontextmanager
async def in_process(repository: Path, open_session: Any) -> AsyncIterator[tuple[Registry, int, Any]]:
    """A server in this very process, for what cannot be brought about from outside.

    Yields:
        Its registry, its port, and a function that begins to load.
    """
    scheduler = Scheduler(1, 4)

    async def on_change() -> None:
        await server.update_health()

    registry = Registry(scan(repository), "tiny", "v1")
    limits = StreamLimits(max_frames_in_flight=1, max_frame_bytes=MIB, config_timeout_s=30, write_timeout_s=30)
    served = Served(scheduler, Shares.of(MIB, MIB), limits, Observers([]))
    detector = DetectorService(registry, served, ResumeTokens(b"key"))
    loader = Loader(registry, Sources([repository]), open_session, 1_000_000, 1, detector.until_unused, on_change)
    server = DetectorServer(
        registry,
        detector,
        [CallsInterceptor(Later(), [AccessLog()]), ErrorsInterceptor(rich_status)],
        MIB,
        100,
        reflection=False,
    )
    port = server.bind("127.0.0.1:0", None)
    await server.start()
    try:
        yield registry, port, lambda: asyncio.ensure_future(loader.load_all())
    finally:
        await server.stop(0)
        await scheduler.close()
