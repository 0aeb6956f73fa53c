"""Every setting, with its unit, range and default. The only module that reads the environment.

A setting comes from a flag, else from the environment, else from the configuration file, else from its default. The
environment variable of the field `port` of the section `server` is `DETECTOR_SERVER_PORT`, its flag `--server-port`,
its place in the file `port:` below `server:`. A few have names of their own, which are older than this scheme.
"""

from __future__ import annotations

import ipaddress
import os
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, InitSettingsSource, NoDecode, SettingsConfigDict

from detector_grpc.errors import SetupInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails
    from pydantic_settings import PydanticBaseSettingsSource

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(ge=0, le=3600)]

# In the environment and in flags separated by commas, in the file a list.
Words = Annotated[
    tuple[str, ...],
    NoDecode,
    BeforeValidator(lambda value: [each.strip() for each in value.split(",")] if isinstance(value, str) else value),
]

MIB = 1024 * 1024

LOOPBACK = "127.0.0.1"

# What means every address of the machine, and is none to connect to.
ANY_ADDRESS = frozenset({"0.0.0.0", "::"})  # noqa: S104  nothing is bound here

ENVIRONMENT_PREFIX = "DETECTOR_"


# How `load` hands the file to Settings, whose constructor takes settings only.
_FILE: ContextVar[dict[str, Any]] = ContextVar("_FILE")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerSettings(_Section):
    """Where the process listens, and how it stops."""

    host: str = Field("127.0.0.1", description="Address to listen on. Anything but loopback needs callers to be known.")
    port: Port = Field(50051, description="gRPC port; 0 lets the system choose.")
    metrics_port: Port = Field(9464, description="Prometheus port (HTTP); 0 lets the system choose.")
    admin_host: str = Field(
        "127.0.0.1", description="Address to listen on for orders to load and unload models; as for `host`."
    )
    admin_port: Port = Field(50101, description="gRPC port for such orders; 0 lets the system choose.")
    reflection: bool = Field(default=True, description="Whether gRPC reflection tells the contract to tools.")
    drain_wait_s: Seconds = Field(
        5.0,
        description="Seconds between NOT_SERVING and the refusal of new calls after SIGTERM; at least three times the "
        "interval of the load balancer's health checks. Not waited for after Ctrl-C.",
    )
    grace_s: Seconds = Field(20.0, description="Seconds that calls in progress may take to end when the server stops.")


class ModelsSettings(_Section):
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


class RuntimeSettings(_Section):
    """What models run on."""

    provider: str = Field(
        "CPUExecutionProvider", description="ONNX Runtime execution provider that must run the models."
    )
    workers: int = Field(
        0, ge=0, le=1024, description="Pictures looked at at once. 0: one per processor that this process may use."
    )


class LimitsSettings(_Section):
    """What the process takes on at most. docs/limits.md says what follows for its memory."""

    max_message_bytes: int = Field(16 * MIB, ge=1024, le=1024 * MIB, description="Largest request, in bytes.")
    max_pixels: int = Field(50_000_000, ge=1, le=2**30, description="Largest width * height of a picture.")
    max_queue: int = Field(64, ge=0, le=100_000, description="Pictures of one caller that may wait for a worker.")
    max_requests: int = Field(
        128, ge=1, le=100_000, description="Detection calls at once, in whatever state, without streams."
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


class StreamsSettings(_Section):
    """How streams move between servers."""

    resume_key_file: Path | None = Field(
        None,
        description="File with the secret that servers share between which streams move, and by which they know copies "
        "of calls, at least 16 bytes. Unset: a secret of this process alone, so that clients begin a new stream at "
        "another server, and copies count as calls.",
    )


class GatewaySettings(_Section):
    """Envoy in front of the servers."""

    host: str = Field("127.0.0.1", description="Address to listen on for all clients; as for `server.host`.")
    port: Port = Field(8000, description="Port of all of them; 0 lets the system choose.")
    admin_port: Port = Field(9901, description="Port of Envoy's own interface, on loopback; 0 lets the system choose.")
    http_port: Port = Field(8001, description="Port of `gateway serve`, on loopback: the page, docs, health, metrics.")
    servers: Words = Field(
        (), description="`host:port` of each server process, separated by commas. Unset: the one of this machine."
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
        ("http://localhost:*", "http://127.0.0.1:*"),
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

    @property
    def folder(self) -> Path:
        """The folder of the gateway's files.

        Raises:
            SetupInvalid: It is not set, and the user has no folders.
        """
        if self.state is not None:
            return self.state
        try:
            home = Path.home()
        except RuntimeError:
            raise SetupInvalid(["DETECTOR_GATEWAY_STATE must be set where there is no home folder"]) from None
        state = os.environ.get("XDG_STATE_HOME") or home / ".local" / "state"  # noqa: TID251  this is settings.py
        return Path(state) / "detector-grpc" / f"gateway-{self.port}"


class ShadowSettings(_Section):
    """Copies of calls to another version, which the gateway asks for; see `detector-grpc traffic shadow`."""

    target: str = Field("", description="`host:port` that copies are sent to. Empty: the gateway of this machine.")
    max_bytes: int = Field(64 * MIB, ge=1, description="Bytes of pictures whose copies are on their way at once.")
    max_calls: int = Field(2, ge=1, le=1000, description="Copies that are being answered at once; others wait.")
    max_per_s: float = Field(50.0, gt=0, le=100_000, description="Copies a second; those beyond are dropped.")
    timeout_s: Seconds = Field(30.0, gt=0, description="Seconds that the answer to a copy may take.")
    token_file: Path | None = Field(
        None, description="File with the bearer token of copies, where callers must be known; of the class `infer`."
    )


class TlsSettings(_Section):
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


class AuthSettings(_Section):
    """Who may call."""

    callers_file: Path | None = Field(None, description="YAML file of callers; docs/security.md has its format.")
    mode: Literal["auto", "open"] = Field(
        "auto",
        description="`auto`: without a file of callers only loopback is listened on. `open`: anybody who reaches the "
        "port may make every call.",
    )


class Settings(BaseSettings):
    """All of them."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter="_",
        env_nested_max_split=1,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        populate_by_name=True,
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", validation_alias="LOG_LEVEL", description="Least important messages that are logged."
    )
    workers: int = Field(
        1,
        ge=1,
        le=256,
        validation_alias="WORKERS",
        description="Server processes that `up` starts, on ports one above the other; they share the processors.",
    )
    model_v1_path: Path = Field(
        Path("/app/models/yolov9_v1.onnx"),
        validation_alias="MODEL_V1_PATH",
        description="Model file to serve as version `v1` of the default model. The default is used if it exists.",
    )
    model_v2_path: Path = Field(
        Path("/app/models/yolov9_v2.onnx"),
        validation_alias="MODEL_V2_PATH",
        description="Model file to serve as version `v2` of the default model. The default is used if it exists.",
    )
    demo: bool = Field(default=False, description="Serve the bundled detector of codes as well.")
    server: ServerSettings = ServerSettings()
    models: ModelsSettings = ModelsSettings()
    runtime: RuntimeSettings = RuntimeSettings()
    limits: LimitsSettings = LimitsSettings()
    streams: StreamsSettings = StreamsSettings()
    gateway: GatewaySettings = GatewaySettings()
    shadow: ShadowSettings = ShadowSettings()
    tls: TlsSettings = TlsSettings()
    auth: AuthSettings = AuthSettings()

    @property
    def server_addresses(self) -> tuple[str, ...]:
        """`host:port` of every server process behind the gateway."""
        return self.gateway.servers or (self._own(self.server.port),)

    @property
    def metrics_addresses(self) -> tuple[str, ...]:
        """`host:port` of their Prometheus ports."""
        return self.gateway.server_metrics or (self._own(self.server.metrics_port),)

    @property
    def gateway_address(self) -> str:
        """`host:port` of the gateway, from this machine."""
        return address(reachable(self.gateway.host), self.gateway.port)

    def _own(self, port: int) -> str:
        """A port of the server of these settings, from this machine."""
        return address(reachable(self.server.host), port)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - not read
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - not read
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags before the environment before the file, which `load` hands over as one of the flags."""
        return init_settings, env_settings, InitSettingsSource(settings_cls, _FILE.get())

    @model_validator(mode="after")
    def _callers_are_known(self) -> Settings:
        known = self.auth.mode == "open" or self.auth.callers_file or self.tls.client_authority
        hosts = {
            "DETECTOR_SERVER_HOST": self.server.host,
            "DETECTOR_SERVER_ADMIN_HOST": self.server.admin_host,
            "DETECTOR_GATEWAY_HOST": self.gateway.host,
        }
        exposed = [f"{variable} {host}" for variable, host in hosts.items() if not _is_loopback(host)]
        if exposed and not known:
            raise ValueError(
                f"{exposed[0]} is not loopback{''.join(f', nor is {other}' for other in exposed[1:])}, so callers must "
                "be known: set DETECTOR_AUTH_CALLERS_FILE or DETECTOR_TLS_CLIENT_AUTHORITY, or DETECTOR_AUTH_MODE=open "
                "to let anybody in"
            )
        return self


def reachable(host: str) -> str:
    """Where callers on this machine reach who listens on `host`."""
    return LOOPBACK if host in ANY_ADDRESS else host


def address(host: str, port: int) -> str:
    """`host:port`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def load(flags: Mapping[str, Any] | None = None, file: Path | None = None) -> Settings:
    """Reads the settings.

    Args:
        flags: Values by dotted path as `variables` gives them.
        file: A YAML file with a mapping per section.

    Raises:
        SetupInvalid: Settings are wrong; all of them are named.
    """
    token = _FILE.set(_read(file) if file else {})
    try:
        return Settings(**_nested(flags or {}))
    except ValidationError as error:
        raise SetupInvalid([_fault(each) for each in error.errors()]) from error
    finally:
        _FILE.reset(token)


def read_token(file: Path | None) -> str | None:
    """The bearer token in a file; None where there is no file.

    Raises:
        SetupInvalid: It cannot be read.
    """
    try:
        return None if file is None else file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SetupInvalid([f"cannot read the token in {file}: {error}"]) from error


def environment(settings: Settings) -> dict[str, str]:
    """The environment variables by which another process gets the same settings, as far as they were set."""
    said: dict[str, str] = {}
    for path, variable, _ in variables():
        section, _, name = path.rpartition(".")
        holder: BaseModel = getattr(settings, section) if section else settings
        if name in holder.model_fields_set:
            value = getattr(holder, name)
            said[variable] = ",".join(value) if isinstance(value, tuple) else "" if value is None else str(value)
    return said


def variables() -> Iterator[tuple[str, str, FieldInfo]]:
    """Dotted path, environment variable and description of every setting."""
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, _Section):
            for inner, inner_field in section.model_fields.items():
                yield f"{name}.{inner}", f"{ENVIRONMENT_PREFIX}{name}_{inner}".upper(), inner_field
        else:
            yield name, _variable((name,)), field


def default_text(field: FieldInfo) -> str:
    """The default of a setting as one would write it; empty where it is unset."""
    if isinstance(field.default, tuple):
        return ",".join(field.default)
    return "" if field.default is None else str(field.default)


def _variable(location: tuple[str | int, ...]) -> str:
    """The environment variable of a setting by its place."""
    if len(location) == 1:
        field = Settings.model_fields.get(str(location[0]))
        alias = field.validation_alias if field is not None else location[0]
        if isinstance(alias, str) and alias.isupper():
            return alias
    return (ENVIRONMENT_PREFIX + "_".join(map(str, location))).upper()


def _fault(error: ErrorDetails) -> str:
    message = error["msg"].removeprefix("Value error, ")
    if not error["loc"]:
        return message
    if error["type"] == "extra_forbidden":
        return f"{_variable(error['loc'])}: there is no such setting"
    if error["type"] == "value_error":
        return f"{_variable(error['loc'])}: {message}"
    return f"{_variable(error['loc'])}: {message}, got {error['input']!r}"


def _nested(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Values by dotted path as one mapping per section."""
    nested: dict[str, Any] = {}
    for path, value in flags.items():
        *sections, name = path.split(".")
        place = nested
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = value
    return nested


def _read(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:  # ValueError: no UTF-8, or a date that does not exist
        raise SetupInvalid([f"cannot read the configuration file {file}: {error}"]) from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise SetupInvalid([f"the configuration file {file} is no mapping of sections"])
    return content


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
