"""Pictures that the model is unsure of are kept by a real server, and reach their sink whatever happens meanwhile."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from support.calls import SERVING, connected, encoded_request, wait_until
from support.disks import may_mount, on_a_disk
from support.metrics import read_metrics
from support.outage import EVERYTHING, check, live_through_an_outage, s3_settings, unsure_repository
from support.rest import Rest
from support.s3 import CREDENTIALS, Door, running_store
from support.samples import scene_file
from support.servers import PATIENCE_S, SOURCES, failed_start, server_process, variables
from support.ups import up_process

from detector_grpc.capture.files import UNFINISHED
from detector_grpc.capture.sample import Sidecar
from detector_grpc.capture.spool import samples_in

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from support.servers import ServerProcess


def folder_settings(folder: Path, **others: object) -> dict[str, Any]:
    unsure_repository(folder / "models")
    return {
        "repository": folder / "models",
        "capture_sink": "folder",
        "capture_state": folder / "capture",
        **EVERYTHING,
        **others,
    }


def detect(server: ServerProcess, files: Sequence[bytes], **headers: str) -> None:
    with connected(server.address) as client:
        client.wait_for_status(SERVING)
        metadata = tuple((f"x-{key.replace('_', '-')}", value) for key, value in headers.items())
        for file in files:
            client.detect(encoded_request(file), metadata=metadata)


def sidecars(folder: Path) -> list[Sidecar]:
    """Those that are there; not those that are being written."""
    found = sorted((folder / "capture" / "samples").rglob("*.json"))
    return [Sidecar.from_json(path.read_bytes()) for path in found if not path.name.startswith(UNFINISHED)]


def command(line: str, settings: dict[str, Any], code: int = 0) -> Any:
    """What `detector-grpc samples` answers as JSON; None where it fails."""
    environment = variables({"PYTHONPATH": str(SOURCES), **settings})
    done = subprocess.run(
        [sys.executable, "-m", "detector_grpc", "samples", *line.split(), "--json"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout) if code == 0 else None


def test_uncertain_pictures_are_kept_in_a_folder_and_callers_can_opt_out(tmp_path: Path) -> None:
    with server_process(**folder_settings(tmp_path)) as server:
        detect(server, [scene_file(1), scene_file(2)], stream_id="hall", request_id="the-one")
        detect(server, [scene_file(3)], capture="off")
        wait_until(lambda: len(sidecars(tmp_path)) == 2, "two samples")
        kept = sidecars(tmp_path)

        assert {(each.model, each.version, each.stream_id, each.request_id) for each in kept} == {
            ("tiny", "v1", "hall", "the-one")
        }
        assert all(each.detections[0].confidence == 0.5 for each in kept)
        pictures = {path.read_bytes() for path in (tmp_path / "capture" / "samples").rglob("*.jpg")}
        assert pictures == {scene_file(1), scene_file(2)}
        wait_until(lambda: read_metrics(server).value("active_learning_spool_samples") == 0, "an empty spool")
        wait_until(
            lambda: read_metrics(server).total("active_learning_pictures_total", outcome="opted_out") == 1,
            "one that opted out",
        )
        wait_until(
            lambda: read_metrics(server).value("active_learning_uploads_total", outcome="uploaded") == 2, "two counted"
        )
        metrics = read_metrics(server)
    assert metrics.value("active_learning_samples_total", model="tiny", version="v1") == 2


def test_nothing_is_kept_where_the_operator_does_not_want_it(tmp_path: Path) -> None:
    with server_process(**folder_settings(tmp_path, capture_sink="off")) as server:
        detect(server, [scene_file(1)])
        assert not read_metrics(server).labels("active_learning_samples_total")

    assert not (tmp_path / "capture").exists()


def test_a_model_that_is_sure_enough_keeps_nothing(tmp_path: Path) -> None:
    with server_process(**folder_settings(tmp_path, UNCERTAINTY_THRESHOLD=0)) as server:
        detect(server, [scene_file(1)])

        assert read_metrics(server).value("active_learning_samples_total", model="tiny", version="v1") == 0


def test_a_folder_that_cannot_be_written_touches_no_answer(tmp_path: Path) -> None:
    (tmp_path / "capture").write_text("in the way of the folder")
    with server_process(**folder_settings(tmp_path)) as server:
        detect(server, [scene_file(seed) for seed in range(3)])
        server.wait_for_log("samples wait on this machine: samples cannot be kept: Not a directory", fault="disk")
        wait_until(
            lambda: read_metrics(server).total("active_learning_pictures_total", outcome="failed") == 3, "three failed"
        )


def test_samples_of_a_server_that_stops_are_brought_before_it_ends(tmp_path: Path) -> None:
    with server_process(**folder_settings(tmp_path)) as server:
        detect(server, [scene_file(seed) for seed in range(5)])
        server.send(signal.SIGTERM)
        assert server.wait() == 0

    assert len(sidecars(tmp_path)) == 5
    assert list(samples_in(tmp_path / "capture" / "spool")) == []


def test_a_server_stops_though_its_sink_hangs_and_what_it_has_kept_waits(tmp_path: Path) -> None:
    unsure_repository(tmp_path / "models")
    with closing(Door(0)) as door:
        door.become("hanging")
        with server_process(**s3_settings(tmp_path, door.url)) as server:
            detect(server, [scene_file(seed) for seed in range(3)])
            wait_until(lambda: len(list(samples_in(tmp_path / "capture"))) == 3, "three samples")
            server.send(signal.SIGTERM)
            assert server.wait() == 0

    assert len(list(samples_in(tmp_path / "capture"))) == 3


def test_servers_of_one_up_share_a_budget_and_the_gateway_sums_what_they_count(tmp_path: Path) -> None:
    settings = folder_settings(tmp_path, capture_max_per_hour=5, WORKERS=2)
    with up_process(tmp_path, **settings) as up, closing(Rest(up.gateway)) as rest:
        with connected(up.gateway) as client:
            client.wait_for_status(SERVING)
            for seed in range(20):
                client.detect(encoded_request(scene_file(seed)))
        wait_until(lambda: len(sidecars(tmp_path)) == 5, "five samples")
        assert rest("POST", "/predict", scene_file(20), "image/jpeg", x_capture="off").status == 200
        opted_out = 'active_learning_pictures_total{model="tiny",outcome="opted_out",version="v1"} 1.0'
        wait_until(lambda: opted_out in rest("GET", "/metrics").body.decode(), "one that opted out")
        text = rest("GET", "/metrics").body.decode()

    assert len(sidecars(tmp_path)) == 5
    assert 'active_learning_samples_total{model="tiny",version="v1"} 5.0' in text


def test_an_outage_of_the_sink_and_a_killed_server_lose_nothing_and_bring_nothing_twice(
    tmp_path: Path,
    full: bool,  # noqa: FBT001
) -> None:
    count, each_s = (500, 4) if full else (120, 2)
    outage = live_through_an_outage(tmp_path, count, each_s, PATIENCE_S)

    assert outage.waiting > 0.6 * count
    check(outage)


def test_wrong_credentials_and_a_missing_bucket_are_told_with_what_to_do(tmp_path: Path) -> None:
    unsure_repository(tmp_path / "models")
    with running_store(tmp_path / "store") as store:
        wrongs = {
            "the credentials are not valid there": {"AWS_SECRET_ACCESS_KEY": "wrong"},
            "there is no such bucket; make it": {"S3_BUCKET_NAME": "absent"},
            "there are no credentials; set AWS_ACCESS_KEY_ID": {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
        }
        for number, (advice, wrong) in enumerate(wrongs.items()):
            settings = s3_settings(tmp_path, store.url) | wrong | {"capture_state": tmp_path / str(number)}
            with server_process(**settings) as server:
                detect(server, [scene_file(number)])
                wait_until(lambda text=advice, of=server: text in of.text, advice)  # type: ignore[misc]
                wait_until(lambda of=server: read_metrics(of).total("active_learning_faults_total") > 0, "a fault")  # type: ignore[misc]
                assert CREDENTIALS["AWS_SECRET_ACCESS_KEY"] not in server.text
        assert store.objects() == {}


def test_samples_of_a_dead_server_are_erased_and_brought_by_hand(tmp_path: Path) -> None:
    unsure_repository(tmp_path / "models")
    with running_store(tmp_path / "store") as store, closing(Door(store.port)) as door:
        settings = s3_settings(tmp_path, door.url)
        door.become("refusing")
        with server_process(**settings) as server:
            detect(server, [scene_file(1), scene_file(2)], stream_id="hall")
            detect(server, [scene_file(3)], stream_id="yard")
            wait_until(lambda: len(list(samples_in(tmp_path / "capture"))) == 3, "three samples")
            assert command("upload", settings)["with_servers"] == 3
            server.process.kill()
            server.process.wait()
        assert command("upload", settings, code=1) is None
        door.become("open")

        assert command("purge --stream yard --yes", settings)["erased_waiting"] == 1
        elsewhere = settings | {"S3_BUCKET_NAME": "another"}
        assert command("upload", elsewhere)["uploaded"] == 0
        assert command("upload", settings)["uploaded"] == 2
        pictures = {data for key, data in store.objects().items() if key.endswith(".jpg")}
        assert pictures == {scene_file(1), scene_file(2)}

        assert command("purge --stream hall --yes", settings)["erased"] == 2
        assert store.objects() == {}


def test_a_server_without_boto3_or_a_folder_says_what_is_missing(tmp_path: Path) -> None:
    unsure_repository(tmp_path / "models")
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "boto3.py").write_text("raise ImportError")

    code, text = failed_start(
        repository=tmp_path / "models", capture_sink="s3", PYTHONPATH=":".join([str(blocked), *sys.path])
    )

    assert code == 2
    assert "pip install 'detector-grpc[s3]'" in text


def test_settings_of_capture_that_cannot_be_are_refused() -> None:
    code, text = failed_start(capture_sink="s4", UNCERTAINTY_THRESHOLD=2, capture_max_bytes=2**20)

    assert code == 2
    for name in ("DETECTOR_CAPTURE_SINK", "UNCERTAINTY_THRESHOLD"):
        assert name in text


def test_what_is_erased_is_gone_from_the_folder(tmp_path: Path) -> None:
    settings = folder_settings(tmp_path)
    with server_process(**settings) as server:
        detect(server, [scene_file(1), scene_file(2)], stream_id="hall")
        detect(server, [scene_file(3)], stream_id="yard")
        wait_until(lambda: len(sidecars(tmp_path)) == 3, "three samples")

        assert command("purge --stream hall --yes", settings)["erased"] == 2

        assert [each.stream_id for each in sidecars(tmp_path)] == ["yard"]
        detect(server, [scene_file(1)], stream_id="hall")  # nothing remembers the scene
        wait_until(lambda: len(sidecars(tmp_path)) == 2, "the scene anew")


@pytest.mark.skipif(not may_mount(), reason="nobody may mount anything here")
@pytest.mark.parametrize(
    ("options", "faults", "advice"),
    [
        ("size=300k", {"disk_full", "ledger"}, "full"),
        ("size=300k,ro", {"not_writable"}, "set DETECTOR_CAPTURE_STATE to a folder that can be written"),
    ],
)
def test_a_disk_that_is_full_or_read_only_touches_no_answer(
    tmp_path: Path, options: str, faults: set[str], advice: str
) -> None:
    settings = folder_settings(tmp_path)
    (tmp_path / "capture").mkdir()
    with server_process(on_a_disk(tmp_path / "capture", options), **settings) as server:
        detect(server, [scene_file(seed) for seed in range(80)])
        wait_until(lambda: sum(_outcomes(server).values()) == 80, "80 that were decided on")

        assert _outcomes(server)["failed"] > 20
        metrics = read_metrics(server)
        assert {each["fault"] for each in metrics.labels("active_learning_faults_total")} <= faults
        assert advice in server.text
        assert server.text.count("no sample is kept") == 1


def _outcomes(server: ServerProcess) -> Counter[str]:
    metrics, name = read_metrics(server), "active_learning_pictures_total"
    return Counter({each["outcome"]: int(metrics.value(name, **each)) for each in metrics.labels(name)})
