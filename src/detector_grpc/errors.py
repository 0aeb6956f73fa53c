"""Everything that can go wrong and is expected to, as one tree.

    DetectorError
    ├── InvalidRequest          the caller's fault: fields that are missing, out of range or contradict each other
    ├── ImageError              the caller's fault: ImageEmpty, ImageUndecodable, ImageTooLarge, RawImageInvalid
    ├── MessageTooLarge         the caller's fault: more bytes than the server takes
    ├── ModelNotFound           the caller's fault: no such model here
    ├── VersionNotHeld          the caller's fault, or the gateway's: no such version here
    ├── VersionNotFound         the operator's fault: a version was to be loaded that is in no repository
    ├── RetryLater              nobody's fault: VersionLoading, EngineGone, ShuttingDown and Overloaded (WouldBeLate,
    │                           QueueFull, TooManyRequests, TooManyStreams)
    ├── VersionFailed           the operator's fault: the version was to be here and could not be loaded
    ├── DeadlineExpired         the caller's deadline left too little time when the work could begin
    ├── ReceiveTimeout          the caller's fault: sent its request too slowly
    ├── AnswersNotRead          the caller's fault: does not read what a stream answers
    ├── TrackingNotInstalled    the operator's fault, or the caller's: a stream asks for identities that nobody can give
    ├── ResumeTokenInvalid      the caller's fault: a stream cannot go on with this token
    ├── ResumeTokenExpired      the caller's fault: a stream cannot go on that late
    ├── NotWatched              the caller's fault: drift of this version is not watched
    ├── ReferenceInvalid        the caller's fault: this cannot be a reference for drift
    ├── ReportMissing           nobody's fault: there is no report of drift yet, or cannot be one here
    ├── Unauthenticated         the caller's fault: no valid credentials
    ├── PermissionDenied        the caller's fault: credentials that do not allow this
    ├── InferenceFailed         our fault, or the model's: unexpected; the cause is in the log only
    ├── ModelInvalid            the operator's fault: a model file or manifest that cannot be served, such as
    │                           ModelTooLarge for the memory that there is
    └── SetupInvalid            the operator's fault: settings, ports, folders, certificates; ends the process

Each class has a `reason`, a stable name for programs. Messages are for people: they say what was wrong, the limit and
the actual value, and never hold a path or the text of a foreign exception unless only the operator gets to see them
(ModelInvalid, SetupInvalid, and on the admin port VersionNotFound and VersionFailed). Status codes are the business of
`rpc.status`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


# Whose reasons they are, where others have some, too.
DOMAIN = "detector.v1"


class DetectorError(Exception):
    """Base of all expected errors.

    Attributes:
        reason: Stable name in upper case, for programs.
        message: One sentence for people.
        metadata: Limits and actual values, for programs; the unit is part of the key.
    """

    reason: ClassVar[str]

    def __init__(self, message: str, metadata: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.metadata = {key: str(value) for key, value in (metadata or {}).items()}


class Violation(NamedTuple):
    """One thing that is wrong with a request: the field's dotted path in the contract, and a sentence."""

    field: str
    description: str

    def __str__(self) -> str:
        """In a message; of the whole request there is no field to name."""
        return f"{self.field}: {self.description}" if self.field else self.description


def listed(names: Iterable[object], most: int = 10) -> str:
    """Names for a message; of many only the first, and how many more there are."""
    shown = [str(name) for name in names]
    text = ", ".join(shown[:most])
    return text if len(shown) <= most else f"{text} and {len(shown) - most} more"


def let_go(error: BaseException) -> None:
    """Has an error that was dealt with keep nothing but its own words.

    Its traceback holds all that was at hand where it was raised, such as the picture, and in circles, so that this
    would stay until garbage is collected.
    """
    error.__traceback__ = error.__cause__ = error.__context__ = None


class InvalidRequest(DetectorError):
    """Expected. Fields of the request are wrong; all of them are named."""

    reason = "INVALID_REQUEST"

    def __init__(self, violations: Sequence[Violation]) -> None:
        super().__init__("; ".join(map(str, violations)))
        self.violations = tuple(violations)

    @classmethod
    def of_no_message(cls, size_bytes: int) -> InvalidRequest:
        """What came is no message of the method: there are no fields to name."""
        return cls([Violation("", f"the {size_bytes} bytes are no message of this method")])


class ImageError(DetectorError):
    """Expected. The picture cannot be used."""


class ImageEmpty(ImageError):
    """Expected. There are no bytes."""

    reason = "IMAGE_EMPTY"

    def __init__(self) -> None:
        super().__init__("the picture is empty")


class ImageUndecodable(ImageError):
    """Expected. The bytes are no picture that we read, or a broken one."""

    reason = "IMAGE_UNDECODABLE"


class ImageTooLarge(ImageError):
    """Expected. The picture has more pixels than we take; found out before anything is allocated."""

    reason = "IMAGE_TOO_LARGE"

    def __init__(self, kind: str, width: int, height: int, max_pixels: int) -> None:
        super().__init__(
            f"the {kind} picture has {width} x {height} = {width * height} pixels, the limit is {max_pixels}",
            {"width": width, "height": height, "maxPixels": max_pixels},
        )


class RawImageInvalid(ImageError):
    """Expected. Size, format and number of bytes of a raw picture do not fit together."""

    reason = "RAW_IMAGE_INVALID"


class MessageTooLarge(DetectorError):
    """Expected. The request has more bytes than the server takes."""

    reason = "MESSAGE_TOO_LARGE"

    def __init__(self, size_bytes: int, max_bytes: int) -> None:
        super().__init__(
            f"the request has {size_bytes} bytes, the limit is {max_bytes}",
            {"sizeBytes": size_bytes, "maxBytes": max_bytes},
        )


class ModelNotFound(DetectorError):
    """Expected. This server holds no model of that name."""

    reason = "MODEL_NOT_FOUND"

    def __init__(self, model: str, held: Sequence[str] = ()) -> None:
        there_are = f"it holds {listed(held)}" if held else "it holds none"
        super().__init__(f'this server does not hold model "{model}"; {there_are}', {"model": model})
        self.resource = f"models/{model}"


class VersionNotHeld(DetectorError):
    """Expected. This server holds the model, but not that version of it."""

    reason = "MODEL_VERSION_NOT_HELD"

    def __init__(self, model: str, version: str, held: Sequence[str] = ()) -> None:
        there_are = f"it holds {listed(held)}" if held else "it holds none"
        super().__init__(
            f'this server does not hold version "{version}" of model "{model}"; {there_are}',
            {"model": model, "version": version},
        )
        self.resource = f"models/{model}/versions/{version}"


class VersionNotFound(DetectorError):
    """Expected. There is no such version to load, neither in the model repository nor mounted."""

    reason = "MODEL_VERSION_NOT_FOUND"

    def __init__(self, model: str, version: str, looked_for: Sequence[str]) -> None:
        places = f"looked for {', '.join(looked_for)}" if looked_for else "no model repository is configured"
        super().__init__(
            f'there is no version "{version}" of model "{model}" to load: {places}',
            {"model": model, "version": version},
        )
        self.resource = f"models/{model}/versions/{version}"


class RetryLater(DetectorError):
    """Expected. The same request may be answered later.

    Attributes:
        retry_after_s: Seconds to wait before trying again.
    """

    def __init__(self, message: str, retry_after_s: float, metadata: Mapping[str, object] | None = None) -> None:
        super().__init__(message, metadata)
        self.retry_after_s = retry_after_s


class VersionLoading(RetryLater):
    """Expected. The version is being loaded."""

    reason = "MODEL_VERSION_LOADING"

    def __init__(self, model: str, version: str) -> None:
        super().__init__(
            f'version "{version}" of model "{model}" is being loaded', 1.0, {"model": model, "version": version}
        )


class VersionFailed(DetectorError):
    """Expected. The version could not be loaded; the log says why, and on the admin port the error itself."""

    reason = "MODEL_VERSION_FAILED"

    def __init__(self, model: str, version: str, cause: str = "") -> None:
        super().__init__(
            f'version "{version}" of model "{model}" could not be loaded{cause and f": {cause}"}',
            {"model": model, "version": version},
        )
        self.resource = f"models/{model}/versions/{version}"


class Overloaded(RetryLater):
    """Expected. There is more to do than the server takes on."""


class QueueFull(Overloaded):
    """Expected. Too many requests wait for a worker."""

    reason = "QUEUE_FULL"

    def __init__(self, max_queue: int, retry_after_s: float) -> None:
        super().__init__(
            f"{max_queue} requests wait already, which is the limit", retry_after_s, {"maxQueue": max_queue}
        )


class WouldBeLate(Overloaded):
    """Expected. So many requests wait that the answer would come too late; nothing was done."""

    reason = "WOULD_BE_LATE"

    def __init__(self, wait_s: float, most_s: float) -> None:
        wait_ms, most_ms = f"{wait_s * 1e3:.0f}", f"{max(0, most_s) * 1e3:.0f}"
        super().__init__(
            f"a worker is free in about {wait_ms} ms, and the request can wait {most_ms} ms",
            wait_s - most_s,
            {"waitMs": wait_ms, "maxWaitMs": most_ms},
        )


class TooManyRequests(Overloaded):
    """Expected. Too many calls are being received or answered at once."""

    reason = "TOO_MANY_REQUESTS"

    def __init__(self, max_requests: int) -> None:
        super().__init__(
            f"{max_requests} calls are in progress already, which is the limit", 0.1, {"maxRequests": max_requests}
        )


class TooManyStreams(Overloaded):
    """Expected. Too many streams are open at once."""

    reason = "TOO_MANY_STREAMS"

    def __init__(self, max_streams: int) -> None:
        super().__init__(
            f"{max_streams} streams are open already, which is the limit", 1.0, {"maxStreams": max_streams}
        )


# Reasons of all of these.
OVERLOAD = frozenset(each.reason for each in Overloaded.__subclasses__())


class ShuttingDown(RetryLater):
    """Expected. The server stops and takes nothing new."""

    reason = "SHUTTING_DOWN"

    def __init__(self) -> None:
        super().__init__("the server is shutting down", 1.0)


class EngineGone(RetryLater):
    """Expected. The process that runs the models for this one is not there; it is started again."""

    reason = "ENGINE_GONE"

    def __init__(self) -> None:
        super().__init__("what runs the models is not there, and is being started again", 1.0)


class DeadlineExpired(DetectorError):
    """Expected. When a worker was free, too little of the caller's deadline was left; the work was not done."""

    reason = "DEADLINE_EXPIRED"

    def __init__(self, waited_s: float) -> None:
        super().__init__(
            f"too little of the deadline is left after {waited_s * 1e3:.0f} ms of waiting for a worker",
            {"waitedMs": f"{waited_s * 1e3:.0f}"},
        )


class ReceiveTimeout(DetectorError):
    """Expected. The caller took too long to send its request."""

    reason = "RECEIVE_TIMEOUT"

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"the request did not arrive within {timeout_s:g} s", {"timeoutMs": f"{timeout_s * 1e3:.0f}"})


class AnswersNotRead(DetectorError):
    """Expected. The caller did not read the answers of a stream for too long."""

    reason = "ANSWERS_NOT_READ"

    def __init__(self, timeout_s: float) -> None:
        super().__init__(
            f"the answers of the stream were not read for {timeout_s:g} s", {"timeoutMs": f"{timeout_s * 1e3:.0f}"}
        )


class TrackingNotInstalled(DetectorError):
    """Expected. The stream asks for identities of objects, and this server was installed without `tracking`."""

    reason = "TRACKING_NOT_INSTALLED"

    def __init__(self) -> None:
        super().__init__(
            "this server was installed without tracking; whoever runs it adds it by "
            "`pip install 'detector-grpc[tracking]'`"
        )


class ResumeTokenInvalid(DetectorError):
    """Expected. The resume token was not made by this server or one that shares its key, or was changed."""

    reason = "RESUME_TOKEN_INVALID"

    def __init__(self) -> None:
        super().__init__("the resume token was not made by this server or one that shares its key, or was changed")


class ResumeTokenExpired(DetectorError):
    """Expected. The resume token is too old; begin a new stream."""

    reason = "RESUME_TOKEN_EXPIRED"

    def __init__(self, age_s: float, max_age_s: float) -> None:
        super().__init__(
            f"the resume token is {age_s:.0f} s old, the limit is {max_age_s:.0f} s",
            {"ageMs": f"{age_s * 1e3:.0f}", "maxAgeMs": f"{max_age_s * 1e3:.0f}"},
        )


class Unauthenticated(DetectorError):
    """Expected. The caller shows no valid credentials."""

    reason = "UNAUTHENTICATED"


class PermissionDenied(DetectorError):
    """Expected. The caller is known and may not do this."""

    reason = "PERMISSION_DENIED"

    def __init__(self, caller: str, rpc_class: str) -> None:
        super().__init__(
            f'"{caller}" may not make calls of class "{rpc_class}"', {"caller": caller, "rpcClass": rpc_class}
        )


class InferenceFailed(DetectorError):
    """Unexpected: the model runtime refused a tensor that it should take. The cause is chained, and logged only."""

    reason = "INFERENCE_FAILED"

    def __init__(self) -> None:
        super().__init__("the model could not be run on this picture")


class NotWatched(DetectorError):
    """Expected. No server has told of pictures of this version, so nothing is known of their drift."""

    reason = "NOT_WATCHED"

    def __init__(self, model: str, version: str, watched: Iterable[str]) -> None:
        asked = f"version {version!r} of model {model!r}" if model or version else "one version among several"
        others = f"of {asked}; it is of: {names}" if (names := listed(watched)) else "of any version yet"
        super().__init__(f"drift is not watched {others}")
        self.resource = f"models/{model}/versions/{version}"


class ReferenceInvalid(DetectorError):
    """Expected. This cannot be a reference for drift; the old one stays."""

    reason = "REFERENCE_INVALID"


class ReportMissing(DetectorError):
    """Expected. There is no report of drift."""

    reason = "REPORT_MISSING"


class ModelInvalid(DetectorError):
    """Expected, the operator's fault: a model file or a manifest that cannot be served."""

    reason = "MODEL_INVALID"


class ModelTooLarge(ModelInvalid):
    """Expected, the operator's fault: there is less memory than a model takes."""

    reason = "MODEL_TOO_LARGE"

    def __init__(self, purpose: str, needed_bytes: int, left_bytes: int, limit_bytes: int) -> None:
        needed, left, limit = (size // 1024**2 for size in (needed_bytes, left_bytes, limit_bytes))
        super().__init__(
            f"{purpose} takes at least {needed} MiB of memory, of the limit of {limit} MiB there are {left} left",
            {"neededBytes": needed_bytes, "leftBytes": left_bytes, "limitBytes": limit_bytes},
        )


class SetupInvalid(DetectorError):
    """Expected, the operator's fault: the process cannot start; all that is wrong is named, a line each."""

    reason = "SETUP_INVALID"

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)
