"""A captured picture and its sidecar: what is kept, brought to a sink, labelled by people and exported.

In a sink a sample is two objects, the picture as it was sent and the sidecar, which is there last and so says that the
sample is whole:

    <date>/<model>/<version>/<first 32 digits of the picture's SHA-256>.jpg
    <date>/<model>/<version>/<first 32 digits of the picture's SHA-256>.json

A spool keeps both in one file, so that one rename makes it whole: the sidecar as a line, then the picture.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal, NamedTuple
from urllib.parse import quote

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from detector_grpc.vision.header import FORMATS

# Of pictures that are kept, the suffix of their files.
SUFFIXES = {f"image/{each.name.lower()}": each.suffixes[0] for each in FORMATS}
SIDECAR_SUFFIX = ".json"
SIDECAR_MEDIA_TYPE = "application/json"

_NAME_DIGITS = 32

# Farther out nobody has seen anything.
MAX_EDGE = 2.0**30
Edge = Annotated[float, Field(ge=-MAX_EDGE, le=MAX_EDGE)]
Bbox = tuple[Edge, Edge, Edge, Edge]
Share = Annotated[float, Field(ge=0, le=1)]


class SampleInvalid(ValueError):
    """Bytes that should be a sample are none, or not as they were written."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, serialize_by_alias=True)


class Box(_Part):
    """A box that the model saw.

    Attributes:
        class_id: As the model numbers it.
        class_name: Its name.
        confidence: The model's figure. Range [0, 1].
        bbox: x_min, y_min, x_max, y_max, in pixels of the upright picture as it is kept.
    """

    class_id: int
    class_name: str
    confidence: Share
    bbox: Bbox


class Label(_Part):
    """A box that a person saw.

    Attributes:
        class_name: Its name.
        bbox: As that of Box.
    """

    class_name: str
    bbox: Bbox


class Doubt(_Part):
    """How unsure the model was.

    Attributes:
        score: 0 sure, 1 unsure. Range [0, 1].
        driver: The measure that drove it.
        measures: Every measure that was taken, and what was found beside them, by name.
    """

    score: Share
    driver: str
    measures: Mapping[str, float] = Field(default_factory=dict)


class Options(_Part):
    """How the detections were chosen, as serving.options.DetectOptions."""

    confidence_threshold: float
    iou_threshold: float
    multi_label: bool
    class_agnostic_nms: bool
    max_detections: int
    class_confidence_thresholds: Mapping[str, float] = Field(default_factory=dict)
    classes: tuple[str, ...] = ()


class Sidecar(_Part):
    """All that is known of a captured picture.

    Attributes:
        schema_number: Of this format.
        sha256: Digest of the picture as it is kept, 64 hexadecimal digits.
        media_type: Of the picture as it is kept, one of SUFFIXES.
        width: Of the upright picture as it is kept, pixels.
        height: Of the upright picture as it is kept, pixels.
        captured_at: When it was chosen, UTC.
        request_id: Of the call that brought it.
        stream_id: Of the stream that it is a frame of; empty for none.
        frame_id: The caller's number of the frame; None for a picture of its own.
        caller: Who sent it.
        model: Name of the model that answered.
        version: The version that answered.
        model_digest: Digest of its file.
        class_names: Names by class_id.
        uncertainty: How unsure it was.
        reasons: Why the picture was chosen: "uncertain", and what else made it worth a label.
        options: How the detections were chosen.
        detections: What was answered, most confident first.
        redacted: Names of the classes that were made unrecognisable in it.
        labels: What a person saw in it; None where nobody has looked yet.
    """

    schema_number: Literal[1] = Field(1, alias="schema")
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    media_type: Literal["image/jpeg", "image/png", "image/webp", "image/bmp", "image/tiff"]
    width: Annotated[int, Field(gt=0)]
    height: Annotated[int, Field(gt=0)]
    captured_at: AwareDatetime
    request_id: str
    stream_id: str
    frame_id: int | None
    caller: str
    model: str
    version: str
    model_digest: str
    class_names: tuple[str, ...]
    uncertainty: Doubt
    reasons: tuple[str, ...]
    options: Options
    detections: tuple[Box, ...]
    redacted: tuple[str, ...] = ()
    labels: tuple[Label, ...] | None = None

    @property
    def keys(self) -> Keys:
        """Where it lies in a sink."""
        names = (f"{self.captured_at:%Y-%m-%d}", quote(self.model, ""), quote(self.version, ""))
        place = "/".join((*names, self.sha256[:_NAME_DIGITS]))
        return Keys(place + SUFFIXES[self.media_type], place + SIDECAR_SUFFIX)

    def to_json(self, indent: int | None = None) -> bytes:
        """As UTF-8; on one line without `indent`."""
        return self.model_dump_json(indent=indent).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Sidecar:
        """Reads what `to_json` wrote.

        Raises:
            SampleInvalid: It is no sidecar, or one of another schema.
        """
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise SampleInvalid(
                f"no sidecar: {error.error_count()} faults, first {error.errors()[0]['msg']}"
            ) from error


class Keys(NamedTuple):
    """Of the two objects of a sample, below the prefix of its sink.

    Attributes:
        picture: The picture.
        sidecar: The sidecar.
    """

    picture: str
    sidecar: str


@dataclass(frozen=True)
class Sample:
    """A picture as it is kept, and its sidecar.

    Attributes:
        picture: A file of the sidecar's media type.
        sidecar: What is known of it.
    """

    picture: bytes = field(repr=False)
    sidecar: Sidecar

    def to_bytes(self) -> bytes:
        """As one file."""
        return self.sidecar.to_json() + b"\n" + self.picture

    @classmethod
    def from_bytes(cls, data: bytes) -> Sample:
        """Reads what `to_bytes` wrote.

        Raises:
            SampleInvalid: It is not whole, or not as it was written.
        """
        line, _, picture = data.partition(b"\n")
        sidecar = Sidecar.from_json(line)
        if digest(picture) != sidecar.sha256:
            raise SampleInvalid("the picture is not the one of its sidecar")
        return cls(picture, sidecar)


def digest(picture: bytes) -> str:
    """SHA-256, 64 hexadecimal digits."""
    return hashlib.sha256(picture).hexdigest()
