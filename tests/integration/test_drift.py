"""Drift from end to end: calls through Envoy are observed, and Envoy is asked what the world is like."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from support.browser import DESKTOP, chromium
from support.calls import SERVING, connected, encoded_request, wait_until
from support.drift import observations
from support.drifts import DIGEST, DriftCalls
from support.gateways import tiny_repository
from support.golden import golden
from support.pictures import jpeg
from support.rest import Rest
from support.servers import PATIENCE_S
from support.ups import up_process

from detector_grpc.drift.observation import Watched

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import psutil
    from support.rest import Answer
    from support.ups import UpProcess

# Every test that calls has a version of its own, of which nothing is known yet.
VERSIONS = ("v1", "v2", "v3", "v4", "v5", "v6")


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UpProcess]:
    """Two servers behind a gateway that observe every call."""
    folder = tmp_path_factory.mktemp("up")
    settings = {
        "repository": tiny_repository(folder / "models", VERSIONS),
        "WORKERS": 2,
        "drift_sample_rate": 1,
        "drift_max_per_s": 1000,
        "drift_first_observations": 800,
        "drift_report_timeout_s": PATIENCE_S,
        "drift_state": folder / "drift",
    }
    with up_process(folder, **settings) as up:
        up.wait_for_log("listening", by="drift")
        yield up


@pytest.fixture
def rest(up: UpProcess) -> Iterator[Rest]:
    rest = Rest(up.gateway)
    yield rest
    rest.close()


def drift_address(up: UpProcess) -> str:
    listening = up.wait_for_log("listening", by="drift")
    return f"{listening['host']}:{listening['port']}"


def pictures(light: int, count: int = 40) -> list[bytes]:
    """Noise around a grey, as files."""
    rng = np.random.default_rng(light)
    return [jpeg(rng.normal(light, 10, (64, 64, 3)).clip(0, 255).astype(np.uint8)) for _ in range(count)]


def status_of(rest: Rest, version: str) -> dict[str, Any]:
    """Status of a served version; empty while there is none."""
    answer = rest("GET", f"/drift/status?model=tiny&version={version}")
    return answer.json["statuses"][0] if answer.status == 200 else {}


def detect_until(up: UpProcess, rest: Rest, version: str, files: list[bytes], state: str, most: int = 2000) -> int:
    """Calls until the version is in that state, whose watcher was told of fewer than `most`; how many there were."""
    calls, told_before = 0, observed(rest, version)["told"]
    with connected(up.gateway) as client:
        client.wait_for_status(SERVING)
        while True:
            told = observed(rest, version)["told"] - told_before
            if (status := status_of(rest, version)).get("state") == f"DRIFT_STATE_{state}":
                return calls
            assert told < most, status
            for file in files:
                client.detect(encoded_request(file, version=version))
                calls += 1


def test_the_report_can_be_looked_at(up: UpProcess, rest: Rest, tmp_path: Path) -> None:
    """The first test, since reports are made one after the other."""
    rng = np.random.default_rng(4)
    with DriftCalls(drift_address(up)) as calls:
        calls.tell(observations(rng, 850) + observations(rng, 500, brightness=50), Watched("reported", "v1"), DIGEST)
    wait_until(lambda: rest("GET", "/drift/report?model=reported").status == 200, "a report")

    answer = rest("GET", "/drift/report?model=reported")

    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    page = tmp_path / "report.html"
    page.write_bytes(answer.body)
    with chromium() as browser, browser.new_page(viewport=DESKTOP) as shown:
        shown.goto(page.as_uri())
        shown.get_by_text("brightness", exact=True).first.wait_for()
        text = shown.inner_text("body")
    assert "Dataset Drift is detected" in text
    assert "Drift is detected for 4.762% of columns (1 out of 21)" in text


def test_what_callers_send_is_compared_with_what_they_sent_before(up: UpProcess, rest: Rest) -> None:
    detect_until(up, rest, "v1", pictures(140), "STABLE")

    detect_until(up, rest, "v1", pictures(60), "DRIFTED", most=600)

    status = status_of(rest, "v1")
    assert status["features"][0]["name"] == "brightness"
    assert re.match(r"brightness fell from 1\d\d to [56]\d", status["features"][0]["words"])
    assert status["features"][0]["drifted"]
    text = rest("GET", "/metrics").body.decode()
    assert re.search(r'^data_drift_detected_total\{model="tiny",version="v1"\} 1\.0$', text, re.MULTILINE)
    assert 'object_detection_drift_observations_total{model="tiny",outcome="told",version="v1"}' in text


def test_streams_are_told_apart_by_their_id(up: UpProcess, rest: Rest) -> None:
    files = pictures(140, 12)
    with connected(up.gateway) as client:
        client.wait_for_status(SERVING)
        for file in files:
            client.detect(encoded_request(file, version="v2"), metadata=(("x-stream-id", "hall"),))
            client.detect(encoded_request(file, version="v2"), metadata=(("x-stream-id", "yard"),))

    wait_until(lambda: status_of(rest, "v2").get("groups_watched") == 2, "two groups")


def watcher(up: UpProcess) -> psutil.Process:
    """The process that watches now."""
    [child] = [each for each in up.children() if each.pid == up.pids("drift")[-1]]
    return child


def test_whoever_watches_can_die_and_no_call_fails(up: UpProcess, rest: Rest) -> None:
    made = detect_until(up, rest, "v3", pictures(140), "STABLE") + 120
    before = status_of(rest, "v3")

    with connected(up.gateway) as client:
        for number, file in enumerate(pictures(140, 120)):
            if number == 20:
                watcher(up).kill()
            client.detect(encoded_request(file, version="v3"))

    wait_until(lambda: status_of(rest, "v3").get("state") == before["state"], "the state as it was")
    assert status_of(rest, "v3")["reference"] == before["reference"]
    made += detect_until(up, rest, "v3", pictures(60), "DRIFTED", most=600)
    wait_until(
        lambda: sum(observed(rest, "v3").values()) == made,
        "all that was observed has been told or is counted as lost",
    )
    assert status_of(rest, "v3")["observations_lost"] <= observed(rest, "v3")["lost"]


def test_whoever_watches_can_hang_and_no_call_waits(up: UpProcess, rest: Rest) -> None:
    """What cannot be told in time counts as lost, until it goes on."""
    hanging = watcher(up)
    hanging.suspend()
    files = pictures(140, 30)
    try:
        with connected(up.gateway) as client:
            client.wait_for_status(SERVING)
            for file in files:
                client.detect(encoded_request(file, version="v4"), timeout_s=4)  # less than it takes to give up telling
        wait_until(lambda: observed(rest, "v4")["lost"] == len(files), "all that was observed counts as lost")
    finally:
        hanging.resume()

    with connected(up.gateway) as client:
        client.detect(encoded_request(files[0], version="v4"))
    wait_until(lambda: observed(rest, "v4")["told"] >= 1, "the next one is told")
    wait_until(lambda: status_of(rest, "v4").get("observations_lost", 0) > 0, "the status says what was lost")


def observed(rest: Rest, version: str) -> dict[str, float]:
    """Observations of a served version by what became of them, of all servers."""
    text = rest("GET", "/metrics").body.decode()
    pattern = rf'drift_observations_total\{{model="tiny",outcome="(\w+)",version="{version}"\}} (\S+)'
    found: Counter[str] = Counter()
    for outcome, value in re.findall(pattern, text):
        found[outcome] += float(value)
    return found


def as_golden(answer: Answer) -> dict[str, Any]:
    """The answer without what differs from run to run."""
    text = re.sub(r'"\d{4}-\d\d-\d\dT[\d:]+Z"', '"TIME"', answer.body.decode())
    body = json.loads(text)
    for status in body["statuses"]:  # a report may have been made by now, or not
        del status["report_fault"]
        status.pop("report_made", None)
    return {"status": answer.status, "content_type": answer.headers["content-type"], "body": body}


def test_the_status_is_as_it_was(up: UpProcess, rest: Rest) -> None:
    rng = np.random.default_rng(4)
    told = Watched("told", "v1")
    with DriftCalls(drift_address(up)) as calls:
        calls.tell(observations(rng, 800), told, DIGEST)
        for camera in ("hall", "yard"):
            calls.tell(observations(rng, 72, camera), told, DIGEST)
        calls.tell(observations(rng, 12, "yard", upper_light=90.0, edge_slant=12.0), told, DIGEST)
        calls.tell(observations(rng, 44), told, DIGEST)
        calls.tell([each._replace(classes={"cat": 3}) for each in observations(rng, 200, noise=20)], told, DIGEST)

    answer = as_golden(rest("GET", "/drift/status?model=told"))

    assert answer == _near(golden("drift_status"))


def _near(expected: Any) -> Any:
    """Numbers that libraries round differently are the same."""
    if isinstance(expected, float):
        return pytest.approx(expected, rel=1e-3, abs=1e-6)
    if isinstance(expected, dict):
        return {name: _near(value) for name, value in expected.items()}
    return [_near(each) for each in expected] if isinstance(expected, list) else expected


def test_references_are_updated_by_rest(up: UpProcess, rest: Rest) -> None:
    with DriftCalls(drift_address(up)) as calls:
        calls.tell(observations(np.random.default_rng(4), 800), Watched("updated", "v1"), DIGEST)
    body = {"model": "updated", "version": "v1"}

    misspelt = rest("POST", "/reference/update", json.dumps(body | {"fiel": "{"}).encode(), "application/json")
    assert misspelt.status == 400
    assert "new_reference: must be one of" in misspelt.json["message"]
    recent = json.dumps(body | {"recent": True}).encode()
    updated = rest("POST", "/reference/update", recent, "application/json")

    assert updated.status == 200, updated.body
    assert updated.json["reference"]["source"] == "800 observations of late"
    assert updated.json["previous"]["source"] == "first 800 observations"
    wrong = json.dumps(body | {"file": "{"}).encode()
    refused = rest("POST", "/reference/update", wrong, "application/json")
    assert refused.status == 400
    assert refused.json["details"][0]["reason"] == "REFERENCE_INVALID"
    assert rest("POST", "/reference/update", b"{}", "image/jpeg").status == 415
    assert rest("GET", "/reference/update").status == 405
    assert rest("POST", "/reference/update", b"{", "application/json").status == 400


def test_pictures_in_a_folder_can_be_the_reference(up: UpProcess, rest: Rest, tmp_path: Path) -> None:
    for number, file in enumerate(pictures(140, 820)):
        (tmp_path / f"{number}.jpg").write_bytes(file)
    program = [sys.executable, "-m", "detector_grpc", "drift", "reference", "tiny", "v5", "--from", tmp_path]
    where = ["--address", drift_address(up), "--server", up.servers[0]]

    done = subprocess.run([*program, *where], capture_output=True, text=True, check=False, timeout=PATIENCE_S)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Compared with 800 observations: 800 pictures of a folder")
    assert status_of(rest, "v5")["state"] == "DRIFT_STATE_STABLE"
    detect_until(up, rest, "v5", pictures(60), "DRIFTED", most=600)
    for file in list(tmp_path.glob("?.jpg")) + list(tmp_path.glob("??.jpg")):
        file.unlink()
    few = subprocess.run([*program, *where], capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert few.returncode == 1
    assert "a reference needs 800 observations in at least 8 blocks, there are 700 in 7" in few.stderr


def test_a_world_can_be_changed_on_purpose(up: UpProcess, rest: Rest, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, file in enumerate(pictures(140)):
        (folder / f"{number}.jpg").write_bytes(file)
    program = [sys.executable, "-m", "detector_grpc", "drift", "simulate", folder, "--model-version", "v6"]
    where = ["--address", up.gateway, "--drift", drift_address(up), "--stream-id", "hall"]

    done = subprocess.run(
        [*program, "--shift", "night", *where], capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )

    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert any(line.endswith("  STABLE") for line in lines), lines
    assert "from now on all pictures are changed" in lines[-2] or "WARNING" in lines[-2], lines
    assert re.search(r"[1-9]\d* changed pictures  DRIFTED: .*brightness fell from 1\d\d to", lines[-1]), lines
    assert status_of(rest, "v6")["groups_watched"] == 1
    again = subprocess.run(
        [*program, "--shift", "fog", *where], capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )
    assert again.returncode == 1
    assert "DRIFTED before anything was changed" in again.stderr


@pytest.mark.parametrize(
    ("flags", "fault"),
    [
        (["--shift", "class_mix"], "--shift class_mix and --others go together"),
        (["--shift", "night", "--others", "."], "--shift class_mix and --others go together"),
        (["--shift", "night"], "there are no"),
    ],
)
def test_a_world_that_is_none_is_refused(tmp_path: Path, flags: list[str], fault: str) -> None:
    program = [sys.executable, "-m", "detector_grpc", "drift", "simulate", tmp_path]

    done = subprocess.run([*program, *flags], capture_output=True, text=True, check=False, timeout=PATIENCE_S)

    assert done.returncode in (1, 2)
    assert fault in done.stderr
    assert "Traceback" not in done.stderr


def test_nobody_can_tell_observations_through_the_gateway(up: UpProcess) -> None:
    with DriftCalls(up.gateway) as calls, pytest.raises(grpc.RpcError) as failure:
        calls.tell(observations(np.random.default_rng(4), 1))

    assert failure.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("path", ["/drift/status?model=none", "/drift/report?model=none"])
def test_what_nobody_watches_is_not_found(rest: Rest, path: str) -> None:
    answer = rest("GET", path)

    assert answer.status == 404
    assert answer.json["details"][0]["reason"] == "NOT_WATCHED"


@pytest.mark.parametrize("query", ["colour=red", "model=a&model=b", "model=a&version=v1&pictures=1"])
def test_what_is_asked_wrongly_is_refused(rest: Rest, query: str) -> None:
    assert rest("GET", f"/drift/status?{query}").status == 400
