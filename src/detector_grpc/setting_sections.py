"""The sections of the settings: every setting that has one, with its unit, range and default."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_settings import NoDecode

from detector_grpc.errors import SetupInvalid

LOOPBACK = "127.0.0.1"

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(ge=0, le=3600)]

# In the environment and in flags separated by commas, in the file a list.
_SEPARATED = BeforeValidator(
    lambda value: [each.strip() for each in value.split(",")] if isinstance(value, str) else value
)
Words = Annotated[tuple[str, ...], NoDecode, _SEPARATED]
Numbers = Annotated[tuple[Annotated[int, Field(ge=0)], ...], NoDecode, _SEPARATED]

MIB = 1024 * 1024


def _state_folder(setting: str) -> Path:
    """Where the user's programs keep their state; what sets another place is named in the error."""
    try:
        home = Path.home()
    except RuntimeError:
        raise SetupInvalid([f"{setting} must be set where there is no home folder"]) from None
    state = os.environ.get("XDG_STATE_HOME") or home / ".local" / "state"  # noqa: TID251  these are settings
    return Path(state) / "detector-grpc"


class Section(BaseModel):
    """Settings that belong together."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerSettings(Section):
    """Where the process listens, and how it stops."""

    host: str = Field(LOOPBACK, description="Address to listen on. Anything but loopback needs callers to be known.")
    port: Port = Field(50051, description="gRPC port; 0 lets the system choose.")
    metrics_port: Port = Field(9464, description="Prometheus port (HTTP); 0 lets the system choose.")
    admin_host: str = Field(
        LOOPBACK, description="Address to listen on for orders to load and unload models; as for `host`."
    )
    admin_port: Port = Field(50101, description="gRPC port for such orders; 0 lets the system choose.")
    reflection: bool = Field(default=True, description="Whether gRPC reflection tells the contract to tools.")
    drain_wait_s: Seconds = Field(
        5.0,
        description="Seconds between NOT_SERVING and the refusal of new calls after SIGTERM; at least three times the "
        "interval of the load balancer's health checks. Not waited for after Ctrl-C.",
    )
    grace_s: Seconds = Field(20.0, description="Seconds that calls in progress may take to end when the server stops.")


class ModelsSettings(Section):
    """Which models there are."""

    repository: Path | None = Field(
        None, description="Folder with `<model>/<version>/model.onnx`. Unset: no repository."
    )
    default_model: str | None = Field(
        None, description="Model that answers where a call names none. Unset: the only one there is, else `yolov9`."
    )
    default_version: str = Field("v1", description="Version that answers where nothing else chose one.")
    poll_s: Seconds = Field(
        0.0,
        description="Seconds between two looks at the repository, to load what is new or has changed, and to unload "
        "what is gone. 0: nobody looks.",
    )

    @model_validator(mode="after")
    def _there_is_something_to_look_at(self) -> ModelsSettings:
        if self.poll_s and self.repository is None:
            raise ValueError("poll_s needs a repository")
        return self


class RuntimeSettings(Section):
    """What models run on."""

    provider: str = Field(
        "CPUExecutionProvider", min_length=1, description="ONNX Runtime execution provider that must run the models."
    )
    workers: int = Field(
        0,
        ge=0,
        le=1024,
        description="Pictures looked at at once. 0: one per processor that this process may use, and on GPUs as many "
        "more as are in their batches.",
    )
    intra_op_threads: int = Field(
        0,
        ge=0,
        le=1024,
        description="Threads of the model for one picture on the CPU, while no more than half of the workers have one; "
        "else each gets one thread. 0: one per processor that this process may use. 1: one, always.",
    )
    engine: Path | None = Field(
        None,
        description="Socket of an engine process, which runs the models for all servers of this machine. Unset: this "
        "process runs them itself.",
    )


class GpuSettings(Section):
    """How NVIDIA GPUs are used, where `runtime.provider` is one of theirs."""

    devices: Numbers = Field((0,), min_length=1, description="Numbers of the GPUs, as CUDA counts them.")
    engines: int = Field(
        2,
        ge=1,
        le=16,
        description="Batches of one model that each GPU has in work at once, so that one is copied while another is "
        "run. Each holds the weights.",
    )
    max_batch: int = Field(16, ge=1, le=1024, description="Most pictures in a batch.")
    max_delay_s: Seconds = Field(
        0.0,
        description="Seconds that a picture waits for others to make a batch with, while the GPU has nothing to do.",
    )
    graphs: bool = Field(
        default=False,
        description="Whether CUDA records what the GPU does as a graph, for every size of batch. Takes a model every "
        "step of which can be done on the GPU.",
    )
    fp16: bool = Field(
        default=False,
        description="Whether TensorRT may compute in half precision. For CUDA, that is a matter of the model file.",
    )
    cache: Path | None = Field(
        None, description="Folder in which TensorRT keeps what it has built, which takes minutes. Unset: nowhere."
    )


class LimitsSettings(Section):
    """What the process takes on at most. docs/limits.md says what follows for its memory."""

    max_message_bytes: int = Field(16 * MIB, ge=1024, le=1024 * MIB, description="Largest request, in bytes.")
    max_pixels: int = Field(50_000_000, ge=1, le=2**30, description="Largest width * height of a picture.")
    max_queue: int = Field(256, ge=0, le=100_000, description="Pictures of one caller that may wait for a worker.")
    max_wait_s: Seconds = Field(
        5.0,
        ge=0,
        description="Seconds that a picture may be expected to wait for a worker, however late its deadline is.",
    )
    max_requests: int = Field(
        512, ge=1, le=100_000, description="Detection calls at once, in whatever state, without streams."
    )
    max_bytes_in_flight: int = Field(
        256 * MIB,
        ge=4 * MIB,
        description="Bytes of requests held at once; more wait at their senders. At least twice the largest request.",
    )
    receive_timeout_s: Seconds = Field(
        30.0,
        gt=0,
        description="Seconds that a request, or the config of a stream, may take to arrive, and that an answer of a "
        "stream may stay unread.",
    )
    max_streams: int = Field(32, ge=0, le=100_000, description="StreamDetect calls at once.")
    max_stream_frames: int = Field(
        8, ge=1, le=1000, description="Frames of one LOSSLESS stream that may be unanswered at once."
    )
    max_connection_streams: int = Field(1024, ge=1, le=2**31 - 1, description="Calls at once on one connection.")

    @model_validator(mode="after")
    def _largest_request_fits(self) -> LimitsSettings:
        if self.max_bytes_in_flight < 2 * self.max_message_bytes:
            raise ValueError(
                f"max_bytes_in_flight must be at least twice max_message_bytes, got {self.max_bytes_in_flight} and "
                f"{self.max_message_bytes}"
            )
        return self


class StreamsSettings(Section):
    """How streams move between servers."""

    resume_key_file: Path | None = Field(
        None,
        description="File with the secret that servers share between which streams move, and by which they know copies "
        "of calls, at least 16 bytes. Unset: a secret of this process alone, so that clients begin a new stream at "
        "another server, and copies count as calls.",
    )


class GatewaySettings(Section):
    """Envoy in front of the servers."""

    host: str = Field(LOOPBACK, description="Address to listen on for all clients; as for `server.host`.")
    port: Port = Field(8000, description="Port of all of them; 0 lets the system choose.")
    tls_certificate: Path | None = Field(
        None, description="PEM file of the certificate chain that clients are shown. Unset: no encryption."
    )
    tls_private_key: Path | None = Field(None, description="PEM file of its private key.")
    plain_port: Port = Field(
        8002,
        description="Port without encryption, on loopback, for what runs on this machine; listened on only where there "
        "is a certificate. 0 lets the system choose.",
    )
    admin_port: Port = Field(9901, description="Port of Envoy's own interface, on loopback; 0 lets the system choose.")
    http_port: Port = Field(8001, description="Port of `gateway serve`, on loopback: the page, docs, health, metrics.")
    servers: Words = Field(
        (), description="`host:port` of each server process, separated by commas. Unset: the one of this machine."
    )
    servers_authority: Path | None = Field(
        None,
        description="PEM file of certificates that sign those of the servers, which are called with TLS then. Unset: "
        "no encryption.",
    )
    server_metrics: Words = Field((), description="`host:port` of their Prometheus ports; as `servers`.")
    token_file: Path | None = Field(
        None,
        description="File with the bearer token with which `gateway serve` asks servers that know their callers which "
        "versions they hold; of the class `read`.",
    )
    versions: Words = Field(
        (),
        description="Versions of the default model among which traffic can be shared. Unset: those that there are when "
        "the gateway starts.",
    )
    failover: bool = Field(
        default=False,
        description="Whether other versions answer in place of the one that the weights chose, where no server has it "
        "ready. Pins are never answered by another version.",
    )
    cors_origins: Words = Field(
        ("http://localhost:*", f"http://{LOOPBACK}:*"),
        description="Origins whose pages may call; `:*` at the end is any port, `*` alone any origin.",
    )
    request_timeout_s: Seconds = Field(
        60.0, gt=0, description="Seconds that a call without a deadline of its own may take; streams have no limit."
    )
    max_memory_bytes: int = Field(
        1024 * MIB, ge=128 * MIB, description="Memory of Envoy; near it requests are refused, and large ones ended."
    )
    state: Path | None = Field(
        None,
        description="Folder of the gateway's files. Unset: one for its port in the user's folder for state.",
    )

    @model_validator(mode="after")
    def _certificate_has_its_key(self) -> GatewaySettings:
        if (self.tls_certificate is None) != (self.tls_private_key is None):
            raise ValueError("tls_certificate and tls_private_key must be set together")
        return self

    @property
    def folder(self) -> Path:
        """The folder of the gateway's files.

        Raises:
            SetupInvalid: It is not set, and the user has no folders.
        """
        return self.state or _state_folder("DETECTOR_GATEWAY_STATE") / f"gateway-{self.port}"


class ShadowSettings(Section):
    """Copies of calls to another version, which the gateway asks for; see `detector-grpc traffic shadow`."""

    target: str = Field("", description="`host:port` that copies are sent to. Empty: the gateway of this machine.")
    max_bytes: int = Field(64 * MIB, ge=1, description="Bytes of pictures whose copies are on their way at once.")
    max_calls: int = Field(2, ge=1, le=1000, description="Copies that are being answered at once; others wait.")
    max_per_s: float = Field(50.0, gt=0, le=100_000, description="Copies a second; those beyond are dropped.")
    timeout_s: Seconds = Field(30.0, gt=0, description="Seconds that the answer to a copy may take.")
    token_file: Path | None = Field(
        None, description="File with the bearer token of copies, where callers must be known; of the class `infer`."
    )


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
        return self.state or _state_folder("DETECTOR_DRIFT_STATE") / f"drift-{self.port}"


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
        return self.state or _state_folder("DETECTOR_CAPTURE_STATE") / "capture"


class TlsSettings(Section):
    """PEM files for encrypted connections. Unset: no encryption."""

    certificate: Path | None = Field(None, description="The server's certificate chain.")
    private_key: Path | None = Field(None, description="Its private key.")
    client_authority: Path | None = Field(
        None, description="Certificates that sign those of clients; set it to demand one of every client (mTLS)."
    )

    @model_validator(mode="after")
    def _complete(self) -> TlsSettings:
        if (self.certificate is None) != (self.private_key is None):
            raise ValueError("certificate and private_key must be set together")
        if self.client_authority is not None and self.certificate is None:
            raise ValueError("client_authority needs certificate and private_key")
        return self


class AuthSettings(Section):
    """Who may call."""

    callers_file: Path | None = Field(None, description="YAML file of callers; docs/security.md has its format.")
    mode: Literal["auto", "open"] = Field(
        "auto",
        description="`auto`: without a file of callers only loopback is listened on. `open`: anybody who reaches the "
        "port may make every call.",
    )
