"""All settings, and where they come from. Only this module and its sections read the environment.

A setting comes from a flag, else from the environment, else from the configuration file, else from its default. The
environment variable of the field `port` of the section `server` is `DETECTOR_SERVER_PORT`, its flag `--server-port`,
its place in the file `port:` below `server:`. A few have names of their own, which are older than this scheme.
"""

from __future__ import annotations

import ipaddress
from contextvars import ContextVar
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, InitSettingsSource, SettingsConfigDict

from detector_grpc.errors import SetupInvalid
from detector_grpc.setting_sections.base import LOOPBACK, Section
from detector_grpc.setting_sections.gateway import GatewaySettings, ShadowSettings
from detector_grpc.setting_sections.models import ConversionSettings, GpuSettings, ModelsSettings, RuntimeSettings
from detector_grpc.setting_sections.observers import CaptureSettings, DriftSettings, UncertaintySettings
from detector_grpc.setting_sections.server import (
    AuthSettings,
    LimitsSettings,
    ServerSettings,
    StreamsSettings,
    TlsSettings,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails
    from pydantic_settings import PydanticBaseSettingsSource

# What means every address of the machine, and is none to connect to.
ANY_ADDRESS = frozenset({"0.0.0.0", "::"})  # noqa: S104  nothing is bound here

ENVIRONMENT_PREFIX = "DETECTOR_"

# Names the file where no flag does.
FILE_VARIABLE = "DETECTOR_CONFIG"


# How `load` hands the file to Settings, whose constructor takes settings only.
_FILE: ContextVar[dict[str, Any]] = ContextVar("_FILE")


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
    reference_data_path: Path = Field(
        Path("/app/data/reference_features.json"),
        validation_alias="REFERENCE_DATA_PATH",
        description="File of the references that drift is measured by, read at start and written when one changes. The "
        "default is used if its folder exists, else one in the folder of `drift.state`.",
    )
    uncertainty_threshold: float = Field(
        0.7,
        ge=0,
        le=1,
        validation_alias="UNCERTAINTY_THRESHOLD",
        description="Confidence below which a picture is uncertain, and kept for people to label: where 1 less its "
        "`uncertainty` is below this. 0: none is.",
    )
    s3_bucket_name: str = Field(
        "ml-active-learning",
        validation_alias="S3_BUCKET_NAME",
        description="Bucket for such pictures; of no meaning unless `capture.sink` is `s3`.",
    )
    hf_endpoint: str = Field(
        "https://huggingface.co",
        validation_alias="HF_ENDPOINT",
        description="URL that `hf://` stands for in `models pull`.",
    )
    demo: bool = Field(default=False, description="Serve the bundled detector of codes as well.")
    server: ServerSettings = ServerSettings()
    models: ModelsSettings = ModelsSettings()
    conversion: ConversionSettings = ConversionSettings()
    runtime: RuntimeSettings = RuntimeSettings()
    gpu: GpuSettings = GpuSettings()
    limits: LimitsSettings = LimitsSettings()
    streams: StreamsSettings = StreamsSettings()
    gateway: GatewaySettings = GatewaySettings()
    shadow: ShadowSettings = ShadowSettings()
    drift: DriftSettings = DriftSettings()
    uncertainty: UncertaintySettings = UncertaintySettings()
    capture: CaptureSettings = CaptureSettings()
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
    def drift_metrics(self) -> tuple[str, ...]:
        """`host:port` of the Prometheus port of the process that watches for drift, if anybody does."""
        host, _, _ = self.drift.target.rpartition(":")
        return (f"{host}:{self.drift.metrics_port}",) if host else ()

    @property
    def gateway_address(self) -> str:
        """`host:port` of the gateway, from this machine and without encryption."""
        own = self.gateway
        return address(LOOPBACK, own.plain_port) if own.tls_certificate else address(reachable(own.host), own.port)

    @property
    def gateway_url(self) -> str:
        """Root of the gateway for clients."""
        own = self.gateway
        return f"http{'s' if own.tls_certificate else ''}://{address(reachable(own.host), own.port)}"

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
            "DETECTOR_DRIFT_HOST": self.drift.host,
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


def defaults() -> Settings:
    """The settings where nothing is set, whatever the environment."""
    return Settings.model_construct(**{name: field.default for name, field in Settings.model_fields.items()})


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
        # A list with a value that is wrong is told to be too short, too.
        lists = {each["loc"][:-1] for each in error.errors() if each["loc"] and isinstance(each["loc"][-1], int)}
        raise SetupInvalid([_fault(each) for each in error.errors() if each["loc"] not in lists]) from error
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
    """The environment variables by which another process gets the same settings, as far as they were set.

    It reads no file: what ours said is among them.
    """
    said = {FILE_VARIABLE: ""}
    for path, variable, _ in variables():
        section, _, name = path.rpartition(".")
        holder: BaseModel = getattr(settings, section) if section else settings
        if name in holder.model_fields_set:
            value = getattr(holder, name)
            said[variable] = (
                ",".join(map(str, value)) if isinstance(value, tuple) else "" if value is None else str(value)
            )
    return said


def variables() -> Iterator[tuple[str, str, FieldInfo]]:
    """Dotted path, environment variable and description of every setting."""
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, Section):
            for inner, inner_field in section.model_fields.items():
                yield f"{name}.{inner}", f"{ENVIRONMENT_PREFIX}{name}_{inner}".upper(), inner_field
        else:
            yield name, _variable((name,)), field


def default_text(field: FieldInfo) -> str:
    """The default of a setting as one would write it; empty where it is unset."""
    if isinstance(field.default, tuple):
        return ",".join(map(str, field.default))
    return "" if field.default is None else str(field.default)


def _variable(location: tuple[str | int, ...]) -> str:
    """The environment variable of a setting by its place."""
    location = tuple(takewhile(lambda part: isinstance(part, str), location))  # the list, for one of its values
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
