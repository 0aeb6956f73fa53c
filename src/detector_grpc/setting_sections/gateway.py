"""Envoy in front of servers, and the copies of calls that it asks for."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from detector_grpc.setting_sections.base import LOOPBACK, MIB, Port, Seconds, Section, Words, state_folder


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
    metrics_port: Port = Field(
        9462, description="Prometheus port (HTTP) of Envoy, at `host`; 0 lets the system choose."
    )
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
    traffic_file: Path | None = Field(
        None,
        description="File of weights and shadow, as `traffic.yaml` of the gateway's folder, that others write and that "
        "`up` and `gateway up` follow within seconds. Unset: `detector-grpc traffic` says.",
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
        return self.state or state_folder("DETECTOR_GATEWAY_STATE") / f"gateway-{self.port}"


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
