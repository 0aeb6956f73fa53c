"""What a server listens on, what it takes on, and from whom."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from detector_grpc.setting_sections.base import LOOPBACK, MIB, Port, Seconds, Section


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
    max_age_s: float = Field(
        0.0,
        ge=0,
        le=7 * 86_400,
        description="Seconds after which a stream is handed over as by a server that stops, a tenth more or less, so "
        "that streams come to servers that were added. 0: never.",
    )


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
