"""`detector-grpc stream` against real servers: files, folders and cameras become tables, lines and videos."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from support.calls import SERVING, connected
from support.onnx_files import tiny_onnx
from support.pictures import jpeg
from support.reference import DATA, coco_repository
from support.servers import PATIENCE_S, SOURCES, server_process
from support.video import camera, moving_code, read_video, write_video

from detector_grpc.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from click.testing import Result
    from support.calls import Client
    from support.servers import ServerProcess

    Run = Callable[..., Result]

COUNT = 12
COMMAND = (sys.executable, "-m", "detector_grpc", "stream")


@pytest.fixture
def run(codes_server: ServerProcess, codes: Client) -> Run:
    """Runs the command against the bundled models."""
    assert codes

    def invoke(*arguments: object, address: str = codes_server.address) -> Result:
        environment = {"DETECTOR_ADDRESS": address, "COLUMNS": "300"}
        return CliRunner().invoke(main, ["stream", *map(str, arguments)], env=environment)

    return invoke


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_video(tmp_path / "code.mp4", moving_code(COUNT))


@contextmanager
def running(server: ServerProcess, *arguments: object, **streams: int) -> Iterator[subprocess.Popen[str]]:
    """The command as a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCES), "DETECTOR_ADDRESS": server.address}  # noqa: TID251
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    with subprocess.Popen([*COMMAND, *map(str, arguments)], env=environment, text=True, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def lines(done: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def cells(done: Result) -> list[list[str]]:
    """The rows of the table, without its head."""
    rows = [line for line in done.stdout.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in row.strip("│").split("│")] for row in rows]


class TestFiles:
    def test_every_frame_is_looked_at_and_counted(self, run: Run, clip: Path) -> None:
        done = run(clip)
        assert done.exit_code == 0, done.output
        ((source, frames, _, age, dropped, errors, state),) = cells(done)
        assert (source, frames, dropped, errors, state) == ("code.mp4", "12/12", "0", "0", "done")
        assert re.fullmatch(r"\d+ ms", age)

    def test_with_json_there_is_a_line_for_every_frame(self, run: Run, clip: Path) -> None:
        done = run(clip, "--json")
        assert done.exit_code == 0, done.output
        found = lines(done)
        assert [line["frame_id"] for line in found] == list(range(1, COUNT + 1))
        assert [line["time"] for line in found] == pytest.approx([number / 10 for number in range(COUNT)])
        assert {line["source"] for line in found} == {str(clip)}
        assert found[0]["image_wh"] == [480, 360]
        for number, line in enumerate(found):
            (code,) = line["detections"]
            assert code["class_name"] == "qr_code"
            assert code["bbox"][0] == pytest.approx(60 + 4 * number, abs=6)
            assert "track_id" not in code
            assert line["total_ms"] > 0
        assert "12/12" in done.stderr

    def test_one_frame_out_of_so_many_is_taken(self, run: Run, clip: Path) -> None:
        found = lines(run(clip, "--json", "--every", 5))
        assert [line["frame_id"] for line in found] == [1, 2, 3]
        assert [line["time"] for line in found] == pytest.approx([0, 0.5, 1])
        lefts = [line["detections"][0]["bbox"][0] for line in found]
        assert np.diff(lefts) == pytest.approx([20, 20], abs=4)

    def test_objects_are_followed(self, run: Run, clip: Path) -> None:
        done = run(clip, "--track", "--json")
        track_ids = [[code.get("track_id") for code in line["detections"]] for line in lines(done)]
        assert track_ids == [[None], *([[1]] * (COUNT - 1))]
        assert "Followed: code.mp4: 1 qr_code" in done.stderr

    def test_options_reach_the_server(self, run: Run, clip: Path) -> None:
        done = run(clip, "--json", "--confidence", 1, "--model", "codes", "--model-version", "v2", "--downscale")
        assert done.exit_code == 0, done.output
        assert [line["detections"] for line in lines(done)] == [[]] * COUNT
        assert [line["image_wh"] for line in lines(done)] == [[480, 360]] * COUNT
        refused = run(clip, "--class", "cat")
        assert refused.exit_code == 1
        assert 'no class "cat"' in refused.stderr

    def test_with_latest_a_file_comes_as_fast_as_it_was_taken(self, run: Run, clip: Path) -> None:
        started = time.monotonic()
        done = run(clip, "--mode", "latest")
        assert time.monotonic() - started >= (COUNT - 1) / 10
        assert cells(done)[0][1:2] + cells(done)[0][-1:] == ["12/12", "done"]

    def test_colours_are_those_of_the_video(self, run: Run, tmp_path: Path) -> None:
        tiny_onnx(tmp_path / "models" / "tiny" / "v1" / "model.onnx", sees_red=True)
        for colour in (255, 0, 0), (0, 0, 255):
            write_video(tmp_path / f"{colour[0]}.mp4", [np.full((64, 64, 3), colour, np.uint8)])
        with server_process(repository=tmp_path / "models") as server:
            with connected(server.address) as client:
                client.wait_for_status(SERVING)
            (red,) = lines(run(tmp_path / "255.mp4", "--json", address=server.address))
            (blue,) = lines(run(tmp_path / "0.mp4", "--json", address=server.address))
        assert (len(red["detections"]), len(blue["detections"])) == (1, 0)


class TestFolders:
    def test_pictures_are_frames_in_the_order_of_their_names(self, run: Run, tmp_path: Path) -> None:
        folder = tmp_path / "walk"
        folder.mkdir()
        for number, image in enumerate(moving_code(4)):
            (folder / f"{number}.jpg").write_bytes(jpeg(image))
        (folder / "notes.txt").write_text("no picture")
        found = lines(run(folder, "--json"))
        assert [line["picture"] for line in found] == [str(folder / f"{number}.jpg") for number in range(4)]
        assert [len(line["detections"]) for line in found] == [1] * 4
        assert "time" not in found[0]

    def test_a_broken_picture_stops_nothing_and_makes_the_exit_code_1(self, run: Run, tmp_path: Path) -> None:
        folder, video = tmp_path / "walk", tmp_path / "walk.mp4"
        folder.mkdir()
        first, last = moving_code(2, step_px=100)
        (folder / "1.jpg").write_bytes(jpeg(first))
        (folder / "2.jpg").write_bytes(b"no picture")
        (folder / "3.jpg").write_bytes(jpeg(last[:200]))
        done = run(folder, "--json", "--save", video)
        assert done.exit_code == 1
        assert [sorted(line.keys() & {"detections", "error"}) for line in lines(done)] == [
            ["detections"],
            ["error"],
            ["detections"],
        ]
        assert "IMAGE_UNDECODABLE" in lines(done)[1]["error"]
        assert "Last error: walk: INVALID_ARGUMENT (IMAGE_UNDECODABLE)" in done.stderr
        assert [image.shape for image in read_video(video)] == [(360, 480, 3)] * 2


class TestAnnotatedVideos:
    def test_it_has_every_frame_with_its_boxes(self, run: Run, clip: Path, tmp_path: Path) -> None:
        target = tmp_path / "new" / "annotated.mp4"
        found = lines(run(clip, "--json", "--save", target))
        before, after = read_video(clip), read_video(target)
        assert len(after) == COUNT
        for line, plain, drawn in zip(found, before, after, strict=True):
            left, top, right, bottom = (round(edge) for edge in line["detections"][0]["bbox"])
            changed = np.abs(drawn.astype(int) - plain).max(axis=2) > 60
            assert changed[top + 10 : bottom - 10, left].mean() > 0.9
            assert changed[top + 10 : bottom - 10, right - 1].mean() > 0.9
            assert changed[bottom + 10 :].mean() < 0.05
        capture = cv2.VideoCapture(str(target))
        assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(10)

    def test_a_frame_that_was_dropped_has_the_boxes_of_the_one_before(self, tmp_path: Path, half_second: int) -> None:
        tiny_onnx(tmp_path / "models" / "tiny" / "v1" / "model.onnx", cost=max(1, half_second // 4))
        grey = np.full((64, 64, 3), 128, np.uint8)
        clip = write_video(tmp_path / "grey.mp4", [grey] * 30, fps=30)
        target = tmp_path / "annotated.mp4"
        with server_process(repository=tmp_path / "models", runtime_workers=1) as server:
            with connected(server.address) as client:
                client.wait_for_status(SERVING)
            done = CliRunner().invoke(
                main,
                ["stream", str(clip), "--json", "--mode", "latest", "--save", str(target)],
                env={"DETECTOR_ADDRESS": server.address},
            )
        kinds = ["dropped" if "dropped" in line else "detections" for line in lines(done)]
        assert kinds.count("dropped") > 5
        assert lines(done)[kinds.index("dropped")]["dropped"] == "superseded"
        after = read_video(target)
        assert len(after) == 30
        first = kinds.index("detections")
        assert all((np.abs(image.astype(int) - 128) > 60).any() for image in after[first:])

    def test_several_sources_have_one_each_in_a_folder(self, run: Run, clip: Path, tmp_path: Path) -> None:
        other = write_video(tmp_path / "other" / "code.mp4", moving_code(3))
        done = run(clip, other, "--save", tmp_path)
        assert done.exit_code == 0, done.output
        assert sorted(row[0] for row in cells(done)) == sorted([str(clip), str(other)])
        assert {row[1] for row in cells(done)} == {"12/12", "3/3"}
        saved = dict(re.findall(r"^Saved: (.*), (\d+) frames$", done.stdout, re.MULTILINE))
        assert saved == {str(tmp_path / "code-2.mp4"): "12", str(tmp_path / "code-3.mp4"): "3"}
        assert {path: str(len(read_video(tmp_path / path))) for path in saved} == saved

    @pytest.mark.parametrize(
        ("sources", "save", "words"),
        [
            (1, "annotated.avi", "ends with .mp4"),
            (1, "code.mp4", "would overwrite"),
            (2, "annotated.mp4", "names a folder"),
        ],
    )
    def test_a_name_that_will_not_do_is_a_usage_error(
        self, run: Run, clip: Path, tmp_path: Path, sources: int, save: str, words: str
    ) -> None:
        before = clip.read_bytes()
        done = run(*[clip] * sources, "--save", tmp_path / save)
        assert done.exit_code == 2
        assert words in done.stderr
        assert clip.read_bytes() == before

    def test_what_cannot_be_written_is_said(self, run: Run, clip: Path, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("no folder")
        done = run(clip, "--save", tmp_path / "file" / "annotated.mp4")
        assert done.exit_code == 1
        assert "annotated.mp4 cannot be written as a video" in done.stderr


class TestFaults:
    def test_a_source_that_is_none_is_an_error_before_anything_is_sent(
        self, run: Run, clip: Path, tmp_path: Path
    ) -> None:
        broken, empty = tmp_path / "broken.mp4", tmp_path / "empty"
        broken.write_bytes(b"no video")
        empty.mkdir()
        for source, words in (
            (broken, "broken.mp4: cannot be opened as a video"),
            (tmp_path / "absent.mp4", "absent.mp4: there is no such file or folder"),
            (empty, "pictures in this folder"),
            ("97", "camera 97: cannot be opened"),
            ("rtsp://me:secret@127.0.0.1:1/hall", "rtsp://127.0.0.1:1/hall: cannot be opened as a video"),
        ):
            done = run(clip, source)
            assert done.exit_code == 1
            assert words in done.stderr
            assert "secret" not in done.output
            assert not done.stdout

    def test_a_file_without_a_frame_that_can_be_read_is_an_error(self, run: Run, clip: Path) -> None:
        whole = clip.read_bytes()
        at = whole.index(b"mdat") + 4
        clip.write_bytes(
            whole[:at] + bytes(len(whole[at : whole.index(b"moov") - 4])) + whole[whole.index(b"moov") - 4 :]
        )
        done = run(clip)
        assert done.exit_code == 1
        assert "no frame of it can be read" in done.stderr

    def test_without_a_server_the_reason_is_said_at_once(self, run: Run, clip: Path) -> None:
        started = time.monotonic()
        done = run(clip, address="localhost:1")
        assert time.monotonic() - started < 25  # streams that have begun are tried for 30 s
        assert done.exit_code == 1
        assert "no answer from localhost:1" in done.stderr

    def test_a_server_that_cannot_track_is_said(self, run: Run, clip: Path, tmp_path: Path) -> None:
        absent = tmp_path / "without" / "scipy" / "__init__.py"
        absent.parent.mkdir(parents=True)
        absent.write_text("raise ImportError", encoding="utf-8")
        tiny_onnx(tmp_path / "models" / "tiny" / "v1" / "model.onnx")
        path = f"{absent.parents[1]}:{SOURCES}"
        with server_process(PYTHONPATH=path, repository=tmp_path / "models") as server:
            with connected(server.address) as client:
                client.wait_for_status(SERVING)
            done = run(clip, "--track", address=server.address)
        assert done.exit_code == 1
        assert "Failed: code.mp4: FAILED_PRECONDITION (TRACKING_NOT_INSTALLED)" in done.stderr

    def test_what_is_live_cannot_be_looped(self, run: Run) -> None:
        with camera(frames_per_connection=20) as address:
            done = run(address, "--loop")
        assert done.exit_code == 1
        assert "--loop" in done.stderr

    def test_a_reader_that_goes_away_is_no_crash(self, codes_server: ServerProcess, codes: Client, clip: Path) -> None:
        assert codes
        with running(codes_server, clip, "--json", "--loop") as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.readline()
            process.stdout.close()
            assert process.wait(PATIENCE_S) == 1
            assert "Traceback" not in process.stderr.read()


class TestEndings:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_ends_it_in_good_order(
        self, codes_server: ServerProcess, codes: Client, clip: Path, tmp_path: Path, number: signal.Signals
    ) -> None:
        assert codes
        target = tmp_path / "annotated.mp4"
        with running(codes_server, clip, "--json", "--loop", "--save", target) as process:
            assert process.stdout is not None
            found = [json.loads(process.stdout.readline()) for _ in range(2 * COUNT)]
            process.send_signal(number)
            rest, errors = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, errors
        found += [json.loads(line) for line in rest.splitlines()]
        assert [line["frame_id"] for line in found] == list(range(1, len(found) + 1))
        assert found[COUNT]["time"] == pytest.approx(COUNT / 10)
        assert "stopped" in errors
        saved = re.search(r"Saved: .*annotated.mp4, (\d+) frames", errors)
        assert saved is not None
        assert len(read_video(target)) == int(saved[1]) >= 2 * COUNT - 1

    def test_a_camera_that_breaks_is_opened_again(self, codes_server: ServerProcess, codes: Client) -> None:
        assert codes
        with camera(frames_per_connection=15) as address, running(codes_server, address, "--json") as process:
            assert process.stdout is not None
            found = [json.loads(process.stdout.readline()) for _ in range(30)]
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, errors
        assert f"{address}: lost, next try in 1 s" in errors
        assert [line["frame_id"] for line in found] == list(range(1, 31))
        assert abs(found[0]["time"] - time.time()) < 60

    def test_a_signal_ends_waiting_for_a_camera_at_once(self, codes_server: ServerProcess, codes: Client) -> None:
        assert codes
        with camera(15, connections=1) as address, running(codes_server, address) as process:
            assert process.stderr is not None
            while "next try in 4 s" not in process.stderr.readline():
                pass
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE_S) == 0
            assert "next try" not in process.stderr.read()


def on_terminal(server: ServerProcess, *arguments: object) -> str:
    """What a terminal shows that is standard error only."""
    ours, theirs = pty.openpty()
    with running(server, *arguments, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                shown += os.read(ours, 65536)
            except OSError:  # nobody writes any more
                break
        process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0
    os.close(ours)
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())


class TestTerminal:
    def test_one_source_is_a_bar_and_several_are_a_table(
        self, codes_server: ServerProcess, codes: Client, clip: Path, tmp_path: Path
    ) -> None:
        assert codes
        one = on_terminal(codes_server, clip, "--mode", "latest")
        assert re.search(r"code\.mp4 .*━.*/12 .*fps .*age .*dropped", one)
        assert "┃" not in one
        other = write_video(tmp_path / "other.mp4", moving_code(3))
        several = on_terminal(codes_server, clip, other, "--mode", "latest")
        assert re.search(r"┃ source +┃ +frames ┃", several)
        assert re.search(r"│ other\.mp4 │ .*3/3 │", several)


@pytest.mark.skipif(not DATA.exists(), reason="the video and the model are not beside the project")
def test_people_are_counted(run: Run, tmp_path: Path) -> None:
    repository = coco_repository(tmp_path / "models", ["yolox_nano"])
    target = tmp_path / "annotated.mp4"
    with server_process(repository=repository, models_default_version="yolox_nano") as server:
        with connected(server.address) as client:
            client.wait_for_status(SERVING)
        video = DATA / "video" / "people.mp4"
        done = run(
            video, "--json", "--track", "--class", "person", "--every", 3, "--save", target, address=server.address
        )
    assert done.exit_code == 0, done.output
    assert "Followed: people.mp4: 6 person" in done.stderr
    assert len(lines(done)) == 465
    assert len(read_video(target)) == 465
