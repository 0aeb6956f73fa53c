"""What `samples` says of samples in a folder."""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING

import cv2
import pytest
from click.testing import CliRunner, Result
from support.labels import kept, seen
from support.pictures import jpeg, noise, png
from support.samples import sample

from detector_grpc.capture.formats import FORMATS
from detector_grpc.capture.sample import Label, Sidecar
from detector_grpc.capture.sinks.folder import FolderSink
from detector_grpc.capture.spool import Spool, SpoolLimits, spool_folder
from detector_grpc.cli import main

if TYPE_CHECKING:
    from pathlib import Path

CAR = (0, 0.6, (10.0, 5.0, 40.0, 30.0))
BUS = (1, 0.9, (0.0, 0.0, 64.0, 48.0))


@pytest.fixture
def sink(tmp_path: Path) -> FolderSink:
    return FolderSink(tmp_path / "samples")


@pytest.fixture
def sidecars(sink: FolderSink) -> list[Sidecar]:
    return kept(
        sink,
        seen(jpeg(noise(64, 48, 0)), [CAR, CAR, BUS], score=0.4),
        seen(png(noise(64, 48, 1)), [], score=0.9, minutes=60, version="v2", stream_id="gate"),
        seen(jpeg(noise(64, 48, 2)), [CAR], score=0.6, minutes=120, labels=(Label(class_name="tram", bbox=CAR[2]),)),
    )


def samples(sink: FolderSink, command: str, *arguments: object) -> Result:
    flags = ("--capture-sink", "folder", "--capture-folder-path", sink.place)
    return CliRunner().invoke(main, ["samples", command, *map(str, arguments), *flags])


@pytest.mark.usefixtures("sidecars")
def test_the_most_uncertain_are_listed_first(sink: FolderSink) -> None:
    done = samples(sink, "list", "--json")
    assert done.exit_code == 0
    listed = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["uncertainty"]["score"] for each in listed] == [0.9, 0.6, 0.4]
    assert all((sink.get(each["key"])) for each in listed)
    shown = samples(sink, "list", "--most", 1)
    assert "0.90" in shown.stdout
    assert "0.60" not in shown.stdout
    assert "3 samples in" in shown.stdout


@pytest.mark.usefixtures("sidecars")
@pytest.mark.parametrize(
    ("flags", "scores"),
    [
        (("--of-version", "v2"), [0.9]),
        (("--of-model", "other"), []),
        (("--stream", "gate"), [0.9]),
        (("--since", "2026-03-01T12:30:00"), [0.9, 0.6]),
        (("--until", "2026-03-01T12:30:00Z"), [0.4]),
        (("--labelled",), [0.6]),
        (("--unlabelled",), [0.9, 0.4]),
    ],
)
def test_samples_are_chosen_by_what_is_known_of_them(
    sink: FolderSink, flags: tuple[str, ...], scores: list[float]
) -> None:
    listed = samples(sink, "list", "--json", *flags).stdout.splitlines()
    assert [json.loads(line)["uncertainty"]["score"] for line in listed] == scores


@pytest.mark.usefixtures("sidecars")
def test_samples_are_counted(sink: FolderSink) -> None:
    counts = json.loads(samples(sink, "stats", "--json").stdout)
    assert (counts["samples"], counts["labelled"]) == (3, 1)
    assert {edge: count for edge, count in counts["uncertainty"].items() if count} == {"0.4": 1, "0.6": 1, "0.9": 1}
    assert counts["version"] == {"m v1": 2, "m v2": 1}
    assert counts["class"] == {"car": 2, "bus & <tram>": 1, "tram": 1}
    assert counts["measure"] == {"margin": 3}
    shown = samples(sink, "stats").stdout
    assert "█" in shown
    assert "m v1" in shown


@pytest.mark.usefixtures("sidecars")
def test_a_contact_sheet_is_drawn(sink: FolderSink, tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    done = samples(sink, "show", "--columns", 2, "--out", out)
    assert done.exit_code == 0, done.output
    sheet = cv2.imread(str(out))
    height, width = sheet.shape[:2]
    assert 2 * 320 < width < 3 * 320
    assert 2 * 240 < height < 3 * 240
    assert json.loads(samples(sink, "show", "--json", "--most", 1, "--out", out).stdout)["of"] == 3


def test_a_picture_that_is_missing_or_broken_keeps_no_other_from_being_shown_and_exported(
    sink: FolderSink, sidecars: list[Sidecar], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sink.delete(sidecars[0].keys.picture)
    sink.put(sidecars[1].keys.picture, b"no picture", "image/png", replace=True)

    shown = samples(sink, "show", "--json", "--out", tmp_path / "sheet.png")
    assert json.loads(shown.stdout)["samples"] == [sidecars[2].keys.picture]
    done = samples(sink, "export", tmp_path / "out", "--format", "coco", "--json")
    assert json.loads(done.stdout)["pictures"] == 1
    for each in sidecars[:2]:
        assert caplog.text.count(f"{each.keys.picture} is passed over") == 2  # by each command

    nothing = samples(sink, "show", "--of-version", "v2")
    assert (nothing.exit_code, "none of these samples" in nothing.stderr) == (1, True)


def test_a_class_name_cannot_steer_the_terminal(sink: FolderSink) -> None:
    kept(sink, seen(jpeg(noise(64, 48, 0)), labels=(Label(class_name="\x1b]0;[bold]x\x07", bbox=BUS[2]),)))

    for command in ("list", "stats"):
        shown = samples(sink, command).stdout
        assert "�]0;[bold]x�" in shown


@pytest.mark.parametrize("edge", [float("nan"), float("inf"), 1e300])
def test_a_box_that_is_none_makes_a_sidecar_none(
    sink: FolderSink, sidecars: list[Sidecar], edge: float, caplog: pytest.LogCaptureFixture
) -> None:
    sidecar = sidecars[0]
    text = sink.get(sidecar.keys.sidecar).decode().replace("40.0", json.dumps(edge))
    sink.put(sidecar.keys.sidecar, text.encode(), "", replace=True)

    done = samples(sink, "list")

    assert "2 samples in" in done.stdout
    assert f"{sidecar.keys.sidecar} is no sidecar" in caplog.text


def test_a_sample_that_is_not_taken_keeps_no_other_from_being_brought(sink: FolderSink, tmp_path: Path) -> None:
    dead = Spool(spool_folder(tmp_path / "state", sink.name), SpoolLimits(10**9, 1e12, "oldest"))
    for number, version in enumerate(("v1", "in-the-way", "v1")):
        dead.add(sample(bytes([number]), version=version))
    dead.close()
    sink.put("2026-03-01/m/in-the-way", b"", "")

    done = samples(sink, "upload", "--json", "--capture-state", tmp_path / "state")

    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert (told["uploaded"], told["failed"], told["with_servers"]) == (2, 1, 0)


@pytest.mark.usefixtures("sidecars")
def test_what_a_tool_has_packed_is_to_be_unpacked(sink: FolderSink, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "labels.zip", "w") as packed:
        packed.writestr("annotations.xml", "<annotations/>")
    done = samples(sink, "import", tmp_path / "labels.zip", "--format", "cvat")
    assert "is a ZIP file; unpack it" in done.stderr


def test_where_there_are_no_samples_it_says_so(sink: FolderSink, tmp_path: Path) -> None:
    for command, arguments in (("show", ()), ("export", (tmp_path / "out", "--format", "coco"))):
        done = samples(sink, command, *arguments)
        assert done.exit_code == 1
        assert f"there are no such samples in {sink.place}" in done.stderr
    assert "0 samples" in samples(sink, "list").stdout
    assert json.loads(samples(sink, "stats", "--json").stdout)["samples"] == 0


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.usefixtures("sidecars")
def test_samples_go_to_a_tool_and_come_back_with_labels(sink: FolderSink, name: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = samples(sink, "export", out, "--format", name, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["pictures"] == 3
    back = samples(sink, "import", out, "--format", name, "--json")
    assert back.exit_code == 0, back.output
    told = json.loads(back.stdout)
    # In Label Studio only what people have done counts.
    expected = {"changed": 0, "unchanged": 1} if name == "label-studio" else {"changed": 2, "unchanged": 1}
    assert told == {**expected, "samples": 3}


@pytest.mark.usefixtures("sidecars")
def test_labels_of_other_pictures_are_no_labels(sink: FolderSink, tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("names: [car]", encoding="utf-8")
    done = samples(sink, "import", tmp_path, "--format", "yolo")
    assert done.exit_code == 2
    assert "has no labels in the format of YOLO for any of these samples" in done.stderr
