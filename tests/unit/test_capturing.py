"""What the settings say of the pictures that are kept: nobody's leave the machine by accident."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import CollectorRegistry
from support.s3 import use_credentials

from detector_grpc.capture.sinks.folder import FolderSink
from detector_grpc.capture.sinks.s3 import S3Sink
from detector_grpc.capturing import capture_of, sample_sink
from detector_grpc.errors import SetupInvalid
from detector_grpc.interceptors.later import Later
from detector_grpc.settings import load

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    use_credentials(monkeypatch)


def sink_of(state: Path, **flags: Any) -> Any:
    return sample_sink(load({"capture.state": state} | {name.replace("__", "."): flags[name] for name in flags}))


def test_a_bucket_and_credentials_alone_send_nothing_anywhere(tmp_path: Path) -> None:
    sink = sink_of(tmp_path, s3_bucket_name="mine", capture__s3_endpoint="http://127.0.0.1:1")

    assert isinstance(sink, FolderSink)
    assert sink.place == str(tmp_path / "samples")
    assert sink_of(tmp_path, capture__folder_path=tmp_path / "else").place == str(tmp_path / "else")


def test_off_is_off(tmp_path: Path) -> None:
    assert sink_of(tmp_path, capture__sink="off") is None


def test_a_bucket_that_is_asked_for_has_the_name_and_the_region_that_are_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = sink_of(tmp_path, capture__sink="s3", capture__s3_prefix="cameras")
    assert isinstance(sink, S3Sink)
    assert sink.place == "s3://ml-active-learning/cameras/"
    assert sink._client.meta.region_name == "us-west-2"

    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
    assert sink_of(tmp_path, capture__sink="s3")._client.meta.region_name == "eu-north-1"
    of_ours = sink_of(tmp_path, capture__sink="s3", capture__s3_region="eu-west-3")
    assert of_ours._client.meta.region_name == "eu-west-3"


def test_who_has_no_home_keeps_nothing_unless_he_asks_for_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def nowhere() -> Path:
        raise RuntimeError("no home")

    monkeypatch.setattr("pathlib.Path.home", nowhere)

    assert capture_of(load(), CollectorRegistry(), Later()) == []
    assert "DETECTOR_CAPTURE_STATE must be set where there is no home folder" in caplog.text
    with pytest.raises(SetupInvalid, match="DETECTOR_CAPTURE_STATE"):
        capture_of(load({"capture.sink": "s3"}), CollectorRegistry(), Later())
