"""What is watched of the world and of the model."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from detector_grpc.setting_sections.base import LOOPBACK, MIB, Port, Seconds, Section, Words, state_folder


class DriftSettings(Section):
    """Whether the world has changed; see `detector-grpc drift`."""

    host: str = Field(LOOPBACK, description="Address that `drift serve` listens on; as for `server.host`.")
    port: Port = Field(50040, description="gRPC port of `drift serve`; 0 lets the system choose.")
    metrics_port: Port = Field(9463, description="Its Prometheus port (HTTP); 0 lets the system choose.")
    target: str = Field(
        "",
        description="`host:port` of the `drift serve` that a server tells what it observes, and that the gateway asks. "
        "Empty: nobody observes; `up` starts one and sets this.",
    )
    target_authority: Path | None = Field(
        None,
        description="PEM file of certificates that sign its own; servers then tell it by TLS, and show the certificate "
        "that they have. Unset: no encryption.",
    )
    token_file: Path | None = Field(
        None, description="File with the bearer token for it, where callers must be known; of the class `infer`."
    )
    sample_rate: float = Field(0.1, ge=0, le=1, description="Share of pictures and frames that are observed. 0: none.")
    max_per_s: float = Field(
        10.0, gt=0, le=1000, description="Most observations a second of each version in each server process."
    )
    first_observations: int = Field(
        2000,
        ge=800,
        le=10_000,
        description="Observations of a version that become its first reference. With fewer, what is rare may be "
        "missing, and be called drift.",
    )
    learn_days: float = Field(
        2.0,
        ge=0,
        le=60,
        description="Days after which a reference of all hours takes the place of the first one, so that dusk is no "
        "drift. 0: never; then every time of day is compared with the first one.",
    )
    report_every_s: float = Field(
        600.0,
        ge=1,
        le=86400,
        description="Seconds between two reports of Evidently on a version, where it is installed.",
    )
    report_timeout_s: float = Field(
        120.0,
        ge=1,
        le=3600,
        description="Seconds that such a report may take; then the process that makes it is killed.",
    )
    state: Path | None = Field(
        None,
        description="Folder of what `drift serve` remembers. Unset: one for its port in the user's folder for state.",
    )

    @property
    def folder(self) -> Path:
        """The folder of what is remembered.

        Raises:
            SetupInvalid: It is not set, and the user has no folders.
        """
        return self.state or state_folder("DETECTOR_DRIFT_STATE") / f"drift-{self.port}"


class UncertaintySettings(Section):
    """How unsure a model is said to be of a picture; docs/active-learning.md has the measures."""

    measures: Words = Field(
        ("expected_error",),
        min_length=1,
        description="Measures, separated by commas, each with a weight in (0, 1] if it is to count less than 1, as in "
        "`expected_error,margin:0.5`. The largest of them, times its weight, is the uncertainty.",
    )


class CaptureSettings(Section):
    """Which pictures are kept for people to label, and where; see `detector-grpc samples`."""

    sink: Literal["folder", "s3", "off"] = Field(
        "folder",
        description="Where pictures go that the model is unsure of: a `folder` of this machine, a bucket of `s3`, or "
        "`off`: nowhere, none is kept.",
    )
    folder_path: Path | None = Field(
        None, description="The folder, with `folder`. Unset: `samples` in that of `capture.state`."
    )
    folder_max_bytes: int = Field(
        10 * 1024 * MIB,
        ge=MIB,
        description="Bytes of all files in the folder. What would be beyond waits, until somebody makes room.",
    )
    state: Path | None = Field(
        None,
        description="Folder in which samples wait for their sink, and of what all servers of a machine know of those "
        "that were kept. Unset: one in the user's folder for state.",
    )
    max_per_hour: int = Field(
        60, ge=1, le=1_000_000, description="Most pictures that all servers of a machine keep in an hour."
    )
    max_per_stream: int = Field(12, ge=1, le=1_000_000, description="Most of those of one stream, in an hour.")
    cooldown_s: Seconds = Field(10.0, description="Seconds between two pictures of one stream that are considered.")
    redact: Words = Field(
        (), description="Classes whose boxes are made unrecognisable in what is kept, separated by commas."
    )
    max_picture_bytes: int = Field(16 * MIB, ge=1024, le=1024 * MIB, description="Largest picture that is kept.")
    max_bytes: int = Field(
        1024 * MIB,
        ge=MIB,
        description="Bytes of samples of one server that may wait. At least twice the largest picture.",
    )
    max_age_days: float = Field(7.0, gt=0, le=3650, description="Days that a sample may wait; then it is erased.")
    first_to_go: Literal["oldest", "surest"] = Field(
        "oldest",
        description="Which of those that wait are erased first where there are too many bytes: the `oldest`, or the "
        "`surest`, of which the model was least unsure.",
    )
    s3_endpoint: str = Field("", description="URL of what speaks the language of S3. Empty: S3 itself.")
    s3_region: str = Field(
        "", description="Region of the bucket. Empty: AWS_DEFAULT_REGION or that of the profile, else `us-west-2`."
    )
    s3_prefix: str = Field("", description="What the keys of all samples begin with.")
    s3_bucket_owner: str = Field(
        "", description="Id of the account that must own the bucket. Empty: whoever owns it gets the samples."
    )
    s3_encryption: Literal["", "AES256", "aws:kms", "aws:kms:dsse"] = Field(
        "", description="What encrypts samples in the bucket. Empty: what the bucket itself says."
    )
    s3_kms_key: str = Field("", description="Id of the key, with `aws:kms`.")

    @model_validator(mode="after")
    def _largest_picture_fits(self) -> CaptureSettings:
        if self.max_bytes < 2 * self.max_picture_bytes:
            raise ValueError(
                f"max_bytes must be at least twice max_picture_bytes, got {self.max_bytes} and {self.max_picture_bytes}"
            )
        return self

    @property
    def state_folder(self) -> Path:
        """The folder of what waits.

        Raises:
            SetupInvalid: It is not set, and the user has no folders.
        """
        return self.state or state_folder("DETECTOR_CAPTURE_STATE") / "capture"
