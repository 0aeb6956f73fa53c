"""The one table from errors to statuses, and what a caller gets to see."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from google.rpc import error_details_pb2 as details
from google.rpc.status_pb2 import Status

from detector_grpc import errors
from detector_grpc.errors import DetectorError, Violation
from detector_grpc.rpc.status import CODES, DETAILS_KEY, INTERNAL_REASON, UNIMPLEMENTED_REASON, code_of, rich_status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.message import Message

    from detector_grpc.rpc.status import RichStatus

ABSTRACT = {errors.ImageError, errors.RetryLater, errors.Overloaded}
FOR_OPERATORS = {errors.ModelInvalid, errors.ModelTooLarge, errors.SetupInvalid}
ERRORS_PAGE = Path(__file__).parents[3] / "docs" / "errors.md"

SAMPLES: list[DetectorError] = [
    errors.InvalidRequest([Violation("image", "is required"), Violation("options.iou_threshold", "must be in [0, 1]")]),
    errors.ImageEmpty(),
    errors.ImageUndecodable("GIF pictures are not taken"),
    errors.ImageTooLarge("PNG", 10, 20, 100),
    errors.RawImageInvalid("1 x 1 pixels of RGB24 take 3 bytes, got 4", {"expectedBytes": 3, "actualBytes": 4}),
    errors.MessageTooLarge(200, 100),
    errors.ModelNotFound("yolo"),
    errors.VersionNotHeld("yolo", "v3"),
    errors.VersionLoading("yolo", "v1"),
    errors.VersionNotFound("yolo", "v3", []),
    errors.VersionFailed("yolo", "v1"),
    errors.QueueFull(64, 0.25),
    errors.TooManyRequests(128),
    errors.TooManyStreams(32),
    errors.ShuttingDown(),
    errors.EngineGone(),
    errors.DeadlineExpired(0.5),
    errors.WouldBeLate(2.0, 0.5),
    errors.ReceiveTimeout(30),
    errors.AnswersNotRead(30),
    errors.TrackingNotInstalled(),
    errors.ResumeTokenInvalid(),
    errors.ResumeTokenExpired(700, 600),
    errors.NotWatched("yolo", "v3", ["yolo/v1"]),
    errors.ReferenceInvalid("a reference needs 800 observations, there are 3"),
    errors.ReportMissing("there is no report yet"),
    errors.Unauthenticated("the bearer token is not known"),
    errors.PermissionDenied("ann", "admin"),
    errors.InferenceFailed(),
]
samples = pytest.mark.parametrize("error", SAMPLES, ids=lambda error: type(error).__name__)


def tree(base: type[DetectorError]) -> Iterator[type[DetectorError]]:
    for child in base.__subclasses__():
        yield child
        yield from tree(child)


def unpacked(status: RichStatus) -> tuple[Status, dict[str, Message]]:
    packed = dict(status.trailing_metadata)[DETAILS_KEY]
    assert isinstance(packed, bytes)
    message = Status.FromString(packed)
    found: dict[str, Message] = {}
    for each in message.details:
        name = each.TypeName().removeprefix("google.rpc.")
        assert name not in found
        found[name] = getattr(details, name)()
        assert each.Unpack(found[name])
    return message, found


def test_every_error_that_can_reach_a_caller_has_a_code_and_no_other_has() -> None:
    concrete = {each for each in tree(DetectorError) if each.__module__ == errors.__name__} - ABSTRACT
    assert set(CODES) == concrete - FOR_OPERATORS


def test_every_code_is_tried_here() -> None:
    assert {type(error) for error in SAMPLES} == set(CODES)


@pytest.mark.skipif(not ERRORS_PAGE.exists(), reason="docs/errors.md is not written yet")
def test_every_reason_is_in_the_documentation_with_its_code() -> None:
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| ([A-Z_]+) \|", ERRORS_PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    expected = {error.reason: code.name for error, code in CODES.items()}
    expected |= {INTERNAL_REASON: "INTERNAL", UNIMPLEMENTED_REASON: "UNIMPLEMENTED"}
    assert rows == expected


@pytest.mark.parametrize(("retry_after_s", "told"), [(0.0, "1"), (1.0, "1"), (1.5, "2")])
def test_http_is_told_in_whole_seconds_when_to_try_again(retry_after_s: float, told: str) -> None:
    assert dict(rich_status(errors.QueueFull(64, retry_after_s), "id-1").trailing_metadata)["retry-after"] == told


@samples
def test_only_what_may_succeed_later_says_when(error: DetectorError) -> None:
    assert ("retry-after" in dict(rich_status(error, "id-1").trailing_metadata)) is isinstance(error, errors.RetryLater)


@samples
def test_a_status_says_code_reason_and_request(error: DetectorError) -> None:
    status = rich_status(error, "id-1")
    message, found = unpacked(status)
    info, request = found["ErrorInfo"], found["RequestInfo"]
    assert status.code is CODES[type(error)]
    assert message.code == status.code.value[0]
    assert message.message == status.message == error.message
    assert isinstance(info, details.ErrorInfo)
    assert (info.reason, info.domain, dict(info.metadata)) == (error.reason, "detector.v1", error.metadata)
    assert isinstance(request, details.RequestInfo)
    assert request.request_id == "id-1"


@samples
def test_no_message_holds_a_path_or_the_name_of_a_class(error: DetectorError) -> None:
    text = " ".join([error.message, *error.metadata.values()])
    assert not re.search(r"(^|[\s\"'(])[/~][\w.]|\.py\b|\.onnx\b|[A-Za-z]:\\|<class |Traceback|Error\(", text)


@samples
def test_only_what_may_pass_is_to_be_tried_again(error: DetectorError) -> None:
    _, found = unpacked(rich_status(error, "id-1"))
    assert ("RetryInfo" in found) == isinstance(error, errors.RetryLater)


@pytest.mark.parametrize(("seconds", "milliseconds"), [(0.25, 250), (1.0, 1000), (0.0, 1), (0.0001, 1), (90.5, 90_500)])
def test_the_time_to_wait_is_told_and_never_nothing(seconds: float, milliseconds: int) -> None:
    _, found = unpacked(rich_status(errors.QueueFull(1, seconds), "id-1"))
    retry = found["RetryInfo"]
    assert isinstance(retry, details.RetryInfo)
    assert retry.retry_delay.ToMilliseconds() == milliseconds


def test_overload_is_not_unavailable_which_gateways_retry_at_once() -> None:
    for error in tree(errors.Overloaded):
        assert CODES[error] is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_every_violation_is_told() -> None:
    _, found = unpacked(rich_status(SAMPLES[0], "id-1"))
    bad = found["BadRequest"]
    assert isinstance(bad, details.BadRequest)
    assert [(v.field, v.description) for v in bad.field_violations] == [
        ("image", "is required"),
        ("options.iou_threshold", "must be in [0, 1]"),
    ]


@pytest.mark.parametrize("error", [e for e in SAMPLES if isinstance(e, errors.ImageError)], ids=lambda e: e.reason)
def test_a_bad_picture_is_a_violation_of_its_field(error: DetectorError) -> None:
    _, found = unpacked(rich_status(error, "id-1"))
    bad = found["BadRequest"]
    assert isinstance(bad, details.BadRequest)
    assert [(v.field, v.description) for v in bad.field_violations] == [("image", error.message)]


@pytest.mark.parametrize(
    ("error", "resource"),
    [
        (errors.ModelNotFound("yolo"), "models/yolo"),
        (errors.VersionNotHeld("yolo", "v3"), "models/yolo/versions/v3"),
        (errors.VersionNotFound("yolo", "v3", []), "models/yolo/versions/v3"),
        (errors.VersionFailed("yolo", "v1"), "models/yolo/versions/v1"),
    ],
)
def test_what_is_missing_is_named_as_a_resource(error: DetectorError, resource: str) -> None:
    _, found = unpacked(rich_status(error, "id-1"))
    info = found["ResourceInfo"]
    assert isinstance(info, details.ResourceInfo)
    assert (info.resource_type, info.resource_name) == ("detector.v1.ModelVersion", resource)


class Unforeseen(DetectorError):
    reason = "UNFORESEEN"


@pytest.mark.parametrize(
    "error",
    [
        KeyError("secret /path/of/a/file"),
        Unforeseen("secret"),
        errors.ModelInvalid("/secret/model.onnx: broken"),
        errors.SetupInvalid(["/secret"]),
        TimeoutError("secret"),
        MemoryError("secret"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_of_an_unexpected_error_nothing_is_told_but_the_requests_id(error: BaseException) -> None:
    status = rich_status(error, "id-1")
    message, found = unpacked(status)
    assert status.code is grpc.StatusCode.INTERNAL
    assert status.message == message.message == "internal error; the server's log has it under id-1"
    assert set(found) == {"ErrorInfo", "RequestInfo"}
    info = found["ErrorInfo"]
    assert isinstance(info, details.ErrorInfo)
    assert (info.reason, dict(info.metadata)) == ("INTERNAL", {})
    assert b"secret" not in message.SerializeToString()


def test_the_cause_of_a_failed_inference_is_not_told() -> None:
    error = errors.InferenceFailed()
    error.__cause__ = RuntimeError("secret /path")
    message, _ = unpacked(rich_status(error, "id-1"))
    assert b"secret" not in message.SerializeToString()


def test_a_method_that_nobody_wrote_is_unimplemented() -> None:
    status = rich_status(NotImplementedError("Method not implemented!"), "id-1")
    _, found = unpacked(status)
    assert status.code is grpc.StatusCode.UNIMPLEMENTED
    info = found["ErrorInfo"]
    assert isinstance(info, details.ErrorInfo)
    assert info.reason == "METHOD_NOT_IMPLEMENTED"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (None, grpc.StatusCode.OK),
        (asyncio.CancelledError(), grpc.StatusCode.CANCELLED),
        (NotImplementedError(), grpc.StatusCode.UNIMPLEMENTED),
        (ValueError(), grpc.StatusCode.INTERNAL),
        (Unforeseen("x"), grpc.StatusCode.INTERNAL),
        *((error, CODES[type(error)]) for error in SAMPLES),
    ],
    ids=lambda value: type(value).__name__,
)
def test_code_of(error: BaseException | None, code: grpc.StatusCode) -> None:
    assert code_of(error) is code
