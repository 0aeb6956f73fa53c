"""Every row of docs/migrating.md is true, or says that something was not carried over."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING

import boto3
import pytest
from support.calls import wait_until
from support.pages import PROJECT, alerts, check_command, commands, page, rows, spans
from support.rest import Rest
from support.s3 import use_credentials
from support.servers import BUNDLED_MODELS, SOURCES
from support.ups import up_process

from detector_grpc.capture.sinks.s3 import DEFAULT_REGION
from detector_grpc.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.ups import UpProcess

NOT_CARRIED_OVER = "not carried over"
SAME = "the same"
ROWS: dict[str, list[tuple[str, str, str]]] = {}
for heading, (before, now, why) in rows(page("migrating.md")):
    ROWS.setdefault(heading, []).append((before, now, why))

PICTURE = SOURCES / "detector_grpc" / "bundled" / "pictures" / "parcel.jpg"


def named(heading: str, *, but: tuple[str, ...] = ()) -> pytest.MarkDecorator:
    """The rows below a heading, without those that have a test of their own."""
    kept = [row for row in ROWS[heading] if NOT_CARRIED_OVER not in row[1] and not row[0].startswith(but)]
    return pytest.mark.parametrize("row", kept, ids=[row[0] for row in kept])


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UpProcess]:
    """All that `up` starts, with the bundled models."""
    folder = tmp_path_factory.mktemp("up")
    settings = {"drift_sample_rate": 1, "drift_state": folder / "drift", "capture_sink": "folder"}
    with up_process(folder, repository=BUNDLED_MODELS, capture_state=folder / "capture", **settings) as up:
        yield up


@pytest.fixture(scope="module")
def rest(up: UpProcess) -> Iterator[Rest]:
    connection = Rest(up.gateway)
    yield connection
    connection.close()


def test_what_was_not_carried_over_has_a_reason() -> None:
    left = [row for each in ROWS.values() for row in each if NOT_CARRIED_OVER in row[1]]
    assert left
    assert all(len(why) > 20 for _, _, why in left)


@named("Paths")
def test_path_is_there(row: tuple[str, str, str], rest: Rest) -> None:
    assert row[1] == SAME
    method, path = spans(row[0])[0].split()
    answer = rest(method, path, b"{}" if method == "POST" else None, "application/json" if method == "POST" else "")
    if method == "GET":
        assert answer.status == 200
        assert answer.body
    else:  # the path is there, and what was sent is at fault
        assert answer.status == 400
        assert json.loads(answer.body)["details"][0]["reason"] == "INVALID_REQUEST"


def predict(up: UpProcess, *form: str) -> tuple[int, dict[str, object]]:
    """What the lines for curl of that service get, by the words of its README."""
    command = ["curl", "-s", "-w", "\n%{http_code}", "-X", "POST", f"http://{up.gateway}/v1/predict"]
    command += ["-H", "Content-Type: multipart/form-data", "-F", f"file=@{PICTURE}"]
    done = subprocess.run([*command, *form], capture_output=True, check=True, text=True)
    body, _, status = done.stdout.rpartition("\n")
    return int(status), json.loads(body)


def test_answer_has_the_members_that_it_had_and_no_others(up: UpProcess) -> None:
    status, answer = predict(up, "-F", "conf_threshold=0.5")
    stated = {spans(before)[0] for before, now, _ in ROWS["Answers"] if now == SAME}
    assert status == 200
    assert answer.keys() == stated
    assert answer["version"] == "v1"
    assert answer["confidence_threshold"] == 0.5
    assert answer["image_shape"] == [768, 1024, 3]
    (why,) = (why for before, _, why in ROWS["Answers"] if before == "`detections`")
    assert answer["detections"][0].keys() == set(spans(why))
    assert len(answer["detections"][0]["bbox"]) == 4


@pytest.mark.parametrize("form", ["conf_threshold=high", "conf_treshold=0.5"], ids=["wrong value", "wrong name"])
def test_errors_are_as_said(form: str, up: UpProcess) -> None:
    (shape,) = (now for before, now, _ in ROWS["Answers"] if before.startswith("errors"))
    status, answer = predict(up, "-F", form)
    assert status == 400
    assert [f'"{name}"' for name in answer] == re.findall(r'"\w+"', shape)
    assert form.partition("=")[0] in answer["message"]


OWN_VARIABLES = ("`AWS_",)


@named("Variables", but=OWN_VARIABLES)
def test_variable_has_the_name_and_the_default_that_it_had(row: tuple[str, str, str]) -> None:
    assert row[1].startswith(SAME)
    name, _, default = spans(row[0])[0].partition("=")
    (field,) = (field for field in Settings.model_fields.values() if field.validation_alias == name)
    assert str(field.default) == default


def test_variables_of_s3_are_those_of_its_own_library(monkeypatch: pytest.MonkeyPatch) -> None:
    stated = [spans(before)[0] for before, now, _ in ROWS["Variables"] if before.startswith(OWN_VARIABLES)]
    assert stated == ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", f"AWS_DEFAULT_REGION={DEFAULT_REGION}"]
    use_credentials(monkeypatch, AWS_DEFAULT_REGION="eu-north-1")
    session = boto3.Session()
    assert session.region_name == "eu-north-1"
    assert session.get_credentials() is not None


@named("Metrics and alerts", but=("`DataDriftDetected`",))
def test_metric_is_there_with_its_labels(row: tuple[str, str, str], up: UpProcess, rest: Rest) -> None:
    predict(up)
    name, _, labels = spans(row[1])[0].rstrip("}").partition("{")

    def series_told() -> list[str]:
        told = rest("GET", "/metrics").body.decode()
        return re.findall(rf"^{name}(?:_count)?\{{(.*)\}} ", told, re.MULTILINE)

    wait_until(lambda: bool(series_told()), f"a series of {name}")  # what is observed is told a moment later
    series = series_told()
    assert {frozenset(re.findall(r'(\w+)="', each)) for each in series} == {frozenset(labels.split(", "))}


def test_alerts_are_there() -> None:
    assert {spans(before)[0] for before, now, _ in ROWS["Metrics and alerts"] if now == SAME} <= alerts()


@named("Commands", but=("`curl", "`requests"))  # as sent above
def test_command_is_there(row: tuple[str, str, str]) -> None:
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    targets = [span.split()[1] for span in spans(row[1]) if span.startswith("make ")]
    ours = commands(row[1])
    assert targets or ours
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
    for command in ours:
        check_command(command)


@named("Containers")
def test_image_and_services_are_as_said(row: tuple[str, str, str]) -> None:
    dockerfile = (PROJECT / "Dockerfile").read_text(encoding="utf-8")
    compose = (PROJECT / "docker-compose.yaml").read_text(encoding="utf-8")
    said = " ".join(row)
    assert set(re.findall(r"--target (\w+)", said)) <= set(re.findall(r"^FROM \S+ AS (\w+)$", dockerfile, re.MULTILINE))
    assert set(re.findall(r"\b\d{5}\b", said)) <= set(re.findall(r"^USER (\d+):", dockerfile, re.MULTILINE))
    assert set(re.findall(r"\bon (\d{4})\b", said)) <= set(re.findall(r"-(\d{4})}:\d{4}$", compose, re.MULTILINE))


@named("Code and files")
def test_file_is_there(row: tuple[str, str, str]) -> None:
    assert all((PROJECT / span).exists() for span in spans(row[1]))
