"""Where settings come from, and that all that is wrong with them is said at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from detector_grpc import settings
from detector_grpc.errors import SetupInvalid
from detector_grpc.rpc.transport import TRANSPORT_MARGIN_BYTES
from detector_grpc.setting_sections.base import MIB
from detector_grpc.settings import defaults, environment, load, variables

if TYPE_CHECKING:
    from collections.abc import Callable

    from detector_grpc.settings import Settings

    Write = Callable[[str], Path]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for _, variable, _ in variables():
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        path = tmp_path / "settings.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def faults(flags: dict[str, Any] | None = None, file: Path | None = None) -> list[str]:
    with pytest.raises(SetupInvalid) as caught:
        load(flags, file)
    return list(caught.value.faults)


def at(loaded: Settings, path: str) -> object:
    value: Any = loaded
    for name in path.split("."):
        value = getattr(value, name)
    return value


# One setting of a section, one with a name of its own, one at the top.
SOURCES = [
    ("server.port", "DETECTOR_SERVER_PORT", "server: {port: 1}", 1, "2", 2, 3, 50051),
    ("log_level", "LOG_LEVEL", "log_level: error", "error", "warning", "warning", "debug", "info"),
    ("demo", "DETECTOR_DEMO", "demo: true", True, "true", True, True, False),
    (
        "model_v1_path",
        "MODEL_V1_PATH",
        "model_v1_path: /file",
        Path("/file"),
        "/env",
        Path("/env"),
        Path("/flag"),
        Path("/app/models/yolov9_v1.onnx"),
    ),
]


@pytest.mark.parametrize(
    ("path", "variable", "file", "in_file", "text", "in_environment", "in_flag", "default"),
    SOURCES,
    ids=[source[0] for source in SOURCES],
)
def test_a_flag_comes_before_the_environment_before_the_file_before_the_default(
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    variable: str,
    file: str,
    in_file: object,
    text: str,
    in_environment: object,
    in_flag: object,
    default: object,
) -> None:
    assert at(load(), path) == default
    assert at(load(None, write(file)), path) == in_file
    monkeypatch.setenv(variable, text)
    assert at(load(None, write(file)), path) == in_environment
    assert at(load({path: in_flag}, write(file)), path) == in_flag
    monkeypatch.delenv(variable)
    assert at(load({path: in_flag}, write(file)), path) == in_flag


def test_the_sources_mix_within_a_section(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETECTOR_SERVER_METRICS_PORT", "2")
    server = load({"server.grace_s": 3}, write("server: {port: 1}")).server
    assert (server.port, server.metrics_port, server.grace_s, server.drain_wait_s) == (1, 2, 3.0, 5.0)


@pytest.mark.parametrize("path", [path for path, _, _ in variables()])
def test_every_setting_can_be_set_by_the_variable_that_is_told(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ((variable, field),) = [(variable, field) for each, variable, field in variables() if each == path]
    values = {"log_level": "debug", "auth.mode": "open", "drift.sample_rate": "1", "drift.first_observations": "900"}
    values |= {"uncertainty_threshold": "0.5", "capture.sink": "s3", "capture.first_to_go": "surest"}
    values |= {"capture.s3_encryption": "AES256", "capture.max_picture_bytes": "2048", "capture.max_age_days": "3"}
    large = (
        "limits.max_bytes_in_flight",
        "conversion.memory_bytes",
        "gateway.max_memory_bytes",
        "capture.max_bytes",
        "capture.folder_max_bytes",
    )
    values |= dict.fromkeys(large, str(512 * MIB))
    text = values.get(path, "7")
    text = "2048" if path == "limits.max_message_bytes" else text
    text = "no" if field.default is True else "yes" if field.default is False else text
    monkeypatch.setenv(variable, text)
    if path.startswith("tls."):
        for other in ("DETECTOR_TLS_CERTIFICATE", "DETECTOR_TLS_PRIVATE_KEY"):
            monkeypatch.setenv(other, "7")
    if path.startswith("gateway.tls_"):
        for other in ("DETECTOR_GATEWAY_TLS_CERTIFICATE", "DETECTOR_GATEWAY_TLS_PRIVATE_KEY"):
            monkeypatch.setenv(other, "7")
    if path in {"server.host", "server.admin_host", "gateway.host", "drift.host"}:
        monkeypatch.setenv("DETECTOR_AUTH_MODE", "open")
    if path == "models.poll_s":
        monkeypatch.setenv("DETECTOR_MODELS_REPOSITORY", "/models")
    assert at(load(), path) != field.default
    assert at(load(), path) is not None


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("DETECTOR_SERVER_PORT", "DETECTOR_MODELS_REPOSITORY", "LOG_LEVEL", "MODEL_V1_PATH"):
        monkeypatch.setenv(variable, "")
    assert load() == defaults()
    assert load().model_fields_set == set()


def test_a_list_is_written_with_commas_or_in_the_file_as_a_list(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    servers = ("a:1", "b:2")
    assert load({"gateway.servers": "a:1, b:2"}).gateway.servers == servers
    assert load(None, write("gateway: {servers: ['a:1', 'b:2']}")).gateway.servers == servers
    monkeypatch.setenv("DETECTOR_GATEWAY_SERVERS", "a:1,b:2")
    assert load().gateway.servers == servers


def test_another_process_gets_the_same_settings_from_the_environment_that_tells_them(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_V2_PATH", "/app/models/yolov9_v2.onnx")  # the default, but set
    flags = {"demo": "true", "server.reflection": "no", "server.grace_s": "2.5", "models.default_model": "a b"}
    told = load(flags, write("workers: 3\ngateway: {servers: ['a:1', 'b:2'], host: '::1'}\nmodels: {repository: null}"))

    monkeypatch.delenv("MODEL_V2_PATH")
    for variable, value in environment(told).items():
        monkeypatch.setenv(variable, value)

    assert load() == told
    assert load().model_fields_set == told.model_fields_set
    assert load().server.model_fields_set == told.server.model_fields_set


def test_what_was_not_set_is_not_told() -> None:
    said = environment(load({"server.port": 1, "workers": 2}))
    assert said == {"DETECTOR_SERVER_PORT": "1", "WORKERS": "2", "DETECTOR_CONFIG": ""}


def test_a_default_path_can_be_told_from_one_that_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_V2_PATH", "/app/models/yolov9_v2.onnx")
    assert load().model_fields_set == {"model_v2_path"}


def test_every_fault_of_every_source_is_named_at_once(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETECTOR_SERVER_PORT", "many")
    monkeypatch.setenv("LOG_LEVEL", "loud")
    monkeypatch.setenv("DETECTOR_TLS_CERTIFICATE", "/a")
    found = faults(
        {"server.grace_s": -1, "runtime.workers": 5000}, write("limits: {max_pixels: 0, max_pixel: 5}\nx: 1")
    )
    assert sorted(fault.split(":")[0] for fault in found) == [
        "DETECTOR_LIMITS_MAX_PIXEL",
        "DETECTOR_LIMITS_MAX_PIXELS",
        "DETECTOR_RUNTIME_WORKERS",
        "DETECTOR_SERVER_GRACE_S",
        "DETECTOR_SERVER_PORT",
        "DETECTOR_TLS",
        "DETECTOR_X",
        "LOG_LEVEL",
    ]


def test_a_message_says_what_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETECTOR_SERVER_PORT", "65536")
    assert faults() == ["DETECTOR_SERVER_PORT: Input should be less than or equal to 65535, got '65536'"]


@pytest.mark.parametrize("given", ["x", "0,x"])
def test_a_wrong_value_of_a_list_is_one_fault_of_the_list(given: str) -> None:
    (fault,) = faults({"gpu.devices": given})
    assert fault.startswith("DETECTOR_GPU_DEVICES: Input should be a valid integer")
    assert fault.endswith("got 'x'")


def test_an_execution_provider_has_a_name() -> None:
    (fault,) = faults({"runtime.provider": ""})
    assert fault.startswith("DETECTOR_RUNTIME_PROVIDER: ")


@pytest.mark.parametrize("name", ["DETECTOR_SERVER_PROT", "DETECTOR_LIMITS_MAX_PIXEL"])
def test_a_misspelt_variable_of_a_section_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    assert faults() == [f"{name}: there is no such setting"]


@pytest.mark.parametrize(
    ("text", "variable"),
    [
        ("prot: 1", "DETECTOR_PROT"),
        ("server: {prot: 1}", "DETECTOR_SERVER_PROT"),
    ],
)
def test_an_unknown_key_of_the_file_is_refused(write: Write, text: str, variable: str) -> None:
    assert faults(None, write(text)) == [f"{variable}: there is no such setting"]


@pytest.mark.parametrize(
    "content",
    [b"", b"[1]", b"text", b"1: 2", b"a: [", b"\xff\xfe\xfa", b"a: 2024-13-45"],
    ids=["empty", "a list", "text", "a number for a key", "broken", "no UTF-8", "no date"],
)
def test_a_file_that_is_no_mapping_of_sections_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "settings.yaml"
    path.write_bytes(content)
    (fault,) = faults(None, path)
    assert str(path) in fault


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    (fault,) = faults(None, tmp_path / "none.yaml")
    assert fault.startswith(f"cannot read the configuration file {tmp_path / 'none.yaml'}")


def test_the_file_of_one_load_is_not_seen_by_the_next(write: Write) -> None:
    assert load(None, write("server: {port: 1}")).server.port == 1
    assert load().server.port == 50051
    faults(None, write("server: {port: -1}"))
    assert load().server.port == 50051


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_needs_no_callers(host: str) -> None:
    assert load({"server.host": host}).server.host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.com", "localhost.example.com"])  # noqa: S104
@pytest.mark.parametrize("setting", ["host", "admin_host"])
def test_any_other_address_needs_known_callers(setting: str, host: str) -> None:
    (fault,) = faults({f"server.{setting}": host})
    for variable in (
        f"DETECTOR_SERVER_{setting.upper()} {host} ",
        "DETECTOR_AUTH_CALLERS_FILE",
        "DETECTOR_TLS_CLIENT_AUTHORITY",
        "DETECTOR_AUTH_MODE=open",
    ):
        assert variable in fault


def test_every_address_that_needs_known_callers_is_named() -> None:
    (fault,) = faults({"server.host": "10.0.0.1", "server.admin_host": "10.0.0.2"})
    assert fault.startswith("DETECTOR_SERVER_HOST 10.0.0.1 is not loopback, nor is DETECTOR_SERVER_ADMIN_HOST 10.0.0.2")


@pytest.mark.parametrize(
    "known",
    [
        {"auth.mode": "open"},
        {"auth.callers_file": "/callers.yaml"},
        {"tls.client_authority": "/ca", "tls.certificate": "/c", "tls.private_key": "/k"},
    ],
)
def test_callers_are_known_by_file_or_certificate_or_not_at_all_on_purpose(known: dict[str, str]) -> None:
    server = load({"server.host": "0.0.0.0", "server.admin_host": "::", **known}).server  # noqa: S104
    assert (server.host, server.admin_host) == ("0.0.0.0", "::")  # noqa: S104


def test_encryption_alone_does_not_make_callers_known() -> None:
    (fault,) = faults({"server.host": "10.0.0.1", "tls.certificate": "/c", "tls.private_key": "/k"})
    assert "callers must be known" in fault


def test_looking_at_the_repository_needs_one() -> None:
    assert faults({"models.poll_s": 1}) == ["DETECTOR_MODELS: poll_s needs a repository"]
    assert load({"models.poll_s": 1, "models.repository": "/models"}).models.poll_s == 1


@pytest.mark.parametrize("alone", ["certificate", "private_key"])
def test_certificate_and_key_come_together(alone: str) -> None:
    assert faults({f"tls.{alone}": "/x"}) == ["DETECTOR_TLS: certificate and private_key must be set together"]
    of_gateway = "DETECTOR_GATEWAY: tls_certificate and tls_private_key must be set together"
    assert faults({f"gateway.tls_{alone}": "/x"}) == [of_gateway]


def test_the_authority_of_clients_needs_a_certificate() -> None:
    assert faults({"tls.client_authority": "/x"}) == [
        "DETECTOR_TLS: client_authority needs certificate and private_key"
    ]


@pytest.mark.parametrize("message_bytes", [1024, MIB, 2 * MIB, 16 * MIB, 1024 * MIB])
def test_the_largest_message_fits_into_what_may_be_in_flight(message_bytes: int) -> None:
    # Room for it, and for gRPC's margin, is reserved before a call is read: one that never fits would wait for ever.
    least = max(4 * MIB, 2 * message_bytes)
    assert least >= message_bytes + TRANSPORT_MARGIN_BYTES
    flags = {"limits.max_message_bytes": message_bytes, "limits.max_bytes_in_flight": least}
    assert load(flags).limits.max_bytes_in_flight == least
    (fault,) = faults({**flags, "limits.max_bytes_in_flight": least - 1})
    assert fault.startswith("DETECTOR_LIMITS")


def test_every_setting_is_listed_once_with_a_description() -> None:
    listed = {path: (variable, field) for path, variable, field in variables()}
    assert len(listed) == len(list(variables()))
    expected = set()
    for name, value in load():
        inner = type(value).model_fields if isinstance(value, settings.Section) else None
        expected |= {name} if inner is None else {f"{name}.{each}" for each in inner}
    assert set(listed) == expected
    for path, (variable, field) in listed.items():
        assert field.description, path
        assert field.description.endswith("."), path
        assert variable.isupper()
    assert len({variable for variable, _ in listed.values()}) == len(listed)


def test_settings_with_names_of_their_own_keep_them() -> None:
    names = {path: variable for path, variable, _ in variables()}
    assert names["log_level"] == "LOG_LEVEL"
    assert names["workers"] == "WORKERS"
    assert names["model_v1_path"] == "MODEL_V1_PATH"
    assert names["model_v2_path"] == "MODEL_V2_PATH"
    assert names["server.port"] == "DETECTOR_SERVER_PORT"
    assert names["demo"] == "DETECTOR_DEMO"


def test_settings_cannot_be_changed() -> None:
    loaded = load()
    with pytest.raises(ValueError, match="frozen"):
        loaded.server.port = 1
    with pytest.raises(ValueError, match="frozen"):
        loaded.demo = True
