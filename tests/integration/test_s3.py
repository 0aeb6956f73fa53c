"""Samples in a bucket: in a store that checks signatures, and with all that S3 may answer."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from support.labels import seen
from support.pictures import jpeg, noise
from support.s3 import BUCKET, Door, running_store, sink_at, use_credentials
from support.samples import sample

from detector_grpc.capture.erasure import Selection, erase, sidecars
from detector_grpc.capture.sinks import s3
from detector_grpc.capture.sinks.sink import ObjectMissing, SinkError, put_sample
from detector_grpc.capture.spool import Spool, SpoolLimits, spool_folder
from detector_grpc.cli import main

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from support.s3 import Store


ROOMY = SpoolLimits(10**9, 1e12, "oldest")


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    use_credentials(monkeypatch)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with running_store(tmp_path_factory.mktemp("store")) as store:
        yield store


def test_a_sample_comes_back_as_it_was_and_goes_when_it_is_erased(store: Store) -> None:
    sink = sink_at(store.url, prefix="/cameras/")
    one, other = sample(b"\x00\xff" * 100, stream_id="hall"), sample(b"other", stream_id="yard")
    for each in (one, other):
        assert put_sample(sink, each)

    assert sink.get(one.sidecar.keys.picture) == one.picture
    assert sorted(sidecars(sink, Selection()), key=lambda each: each.stream_id) == [one.sidecar, other.sidecar]
    assert all(key.startswith("cameras/2026-03-01/m/v1/") for key in store.objects())
    assert list(sink.walk("2026-03-02")) == []

    assert [each.stream_id for each in erase(sink, Selection(stream_id="hall"))] == ["hall"]
    assert set(sink.walk()) == set(other.sidecar.keys)
    sink.delete("nothing/of/this/name")
    list(erase(sink, Selection()))


def fault_of(url: str, **place: str) -> SinkError:
    with pytest.raises(SinkError) as caught:
        put_sample(sink_at(url, **place), sample(b"one"))
    return caught.value


@pytest.mark.parametrize(
    ("wrong", "bucket", "fault", "advice"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, BUCKET, "wrong_credentials", "belong to this endpoint"),
        ({"AWS_ACCESS_KEY_ID": "NOBODY1234"}, BUCKET, "wrong_credentials", "belong to this endpoint"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, BUCKET, "no_credentials", "set AWS_ACCESS_KEY_ID"),
        ({}, "absent", "no_bucket", "set S3_BUCKET_NAME"),
    ],
)
def test_a_store_that_checks_says_what_is_wrong(
    store: Store, monkeypatch: pytest.MonkeyPatch, wrong: Mapping[str, str], bucket: str, fault: str, advice: str
) -> None:
    use_credentials(monkeypatch, **wrong)

    error = fault_of(store.url, bucket=bucket)

    assert error.fault == fault
    assert advice in error.advice


def test_a_store_that_is_away_hangs_or_has_too_much_to_do(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "_READ_TIMEOUT_S", 1)
    door = Door(store.port)
    faults = {}
    for manner in ("refusing", "hanging", "busy"):
        door.become(manner)
        faults[manner] = fault_of(door.url).fault
    door.close()

    assert faults == {"refusing": "unreachable", "hanging": "timeout", "busy": "busy"}


class Answers(ThreadingHTTPServer):
    """Answers every request alike, and keeps the headers of all."""

    def __init__(self, *answers: tuple[int, str]) -> None:
        self.answers = list(answers)
        self.headers: list[dict[str, str]] = []
        self.location = ""
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Answers

    def do_HEAD(self) -> None:
        self._answer(307 if self.server.location else 404, "")

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.server.headers.append({key.lower(): value for key, value in self.headers.items()})
        status, said = self.server.answers.pop(0) if len(self.server.answers) > 1 else self.server.answers[0]
        self._answer(
            status, f"<Error><Code>{said}</Code><Message>m</Message><Region>eu-north-1</Region></Error>" * bool(said)
        )

    def do_GET(self) -> None:
        self._answer(*self.server.answers[0])

    def _answer(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        if self.server.location:
            self.send_header("location", self.server.location)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def answering(*answers: tuple[int, str]) -> Iterator[Answers]:
    with Answers(*answers) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "code", "fault", "advice"),
    [
        (403, "AccessDenied", "forbidden", "s3:PutObject"),
        (403, "ExpiredToken", "wrong_credentials", "have not expired"),
        (403, "RequestTimeTooSkewed", "clock", "NTP"),
        (400, "AuthorizationHeaderMalformed", "wrong_region", "DETECTOR_CAPTURE_S3_REGION"),
        (503, "SlowDown", "busy", "asked again"),
        (500, "InternalError", "busy", "asked again"),
        (400, "EntityTooLarge", "refused", "EntityTooLarge: m"),
    ],
)
def test_what_s3_may_answer_is_told_in_words(status: int, code: str, fault: str, advice: str) -> None:
    with answering((status, code)) as server:
        error = fault_of(server.url)

    assert error.fault == fault
    assert advice in error.advice


def test_every_command_does_on_a_bucket_what_it_does_on_a_folder(store: Store, tmp_path: Path) -> None:
    flags = ("--capture-sink", "s3", "--capture-s3-endpoint", store.url, "--capture-s3-prefix", "commands")
    flags += ("--s3-bucket-name", BUCKET, "--capture-state", str(tmp_path / "state"))
    box = (0, 0.6, (10.0, 5.0, 40.0, 30.0))
    dead = Spool(spool_folder(tmp_path / "state", sink_at(store.url, prefix="commands").name), ROOMY)
    for number in range(2):
        dead.add(seen(jpeg(noise(64, 48, number)), [box], stream_id=f"camera-{number}"))
    dead.close()

    def said(*arguments: object) -> Any:
        done = CliRunner().invoke(main, ["samples", *map(str, arguments), "--json", *flags])
        assert done.exit_code == 0, done.output
        return (
            [json.loads(line) for line in done.stdout.splitlines()]
            if arguments[0] == "list"
            else json.loads(done.stdout)
        )

    assert said("upload")["uploaded"] == 2
    assert {each["stream_id"] for each in said("list")} == {"camera-0", "camera-1"}
    assert said("stats")["place"] == f"s3://{BUCKET}/commands/ at {store.url}"
    assert len(said("show", "--out", tmp_path / "sheet.png")["samples"]) == 2
    assert said("export", tmp_path / "out", "--format", "cvat", "--stream", "camera-0")["boxes"] == 1
    assert said("import", tmp_path / "out", "--format", "cvat")["changed"] == 1
    assert [each["stream_id"] for each in said("list", "--labelled")] == ["camera-0"]
    assert said("purge", "--yes", "--stream", "camera-0")["erased"] == 1
    assert [each["stream_id"] for each in said("list")] == ["camera-1"]
    assert len([key for key in store.objects() if key.startswith("commands/2026")]) == 2


def test_labels_stay_where_a_store_replaces_what_is_there(store: Store) -> None:
    sink, captured = sink_at(store.url, prefix="again"), sample(b"one")
    put_sample(sink, captured)
    labelled = captured.sidecar.model_copy(update={"labels": ()})
    sink.put(captured.sidecar.keys.sidecar, labelled.to_json(), "application/json", replace=True)

    assert not put_sample(sink, captured)
    assert list(sidecars(sink, Selection())) == [labelled]


def test_what_is_not_there_is_told_apart_from_what_cannot_be_read(store: Store) -> None:
    sink = sink_at(store.url, prefix="empty")

    assert not sink.has("a.json")
    with pytest.raises(ObjectMissing):
        sink.get("a.json")


_LISTING = "<ListBucketResult><Contents>{}</Contents></ListBucketResult>"


@pytest.mark.parametrize(
    ("listing", "keys"),
    [
        (_LISTING.format("<Key>p/a.json</Key>"), ["a.json"]),
        (_LISTING.format("<Key>q/a.json</Key>"), []),
        (_LISTING.format("<Size>1</Size>"), []),
    ],
)
def test_only_keys_below_the_prefix_are_ours(listing: str, keys: list[str]) -> None:
    with answering((200, listing)) as server:
        assert list(sink_at(server.url, prefix="p").walk()) == keys


def test_a_store_that_answers_nonsense_or_says_too_much_is_told_in_a_line() -> None:
    with answering((307, "")) as server:
        server.location = f"{server.url}/elsewhere"
        assert "(RecursionError)" in fault_of(server.url).advice
    with answering((400, f"Weird\n{'x' * 9999}")) as server:
        error = fault_of(server.url)
    assert "Weird xxx" in error.advice
    assert len(error.advice) < 400


def test_an_object_that_is_there_stays() -> None:
    with answering((412, "PreconditionFailed")) as server:
        assert not put_sample(sink_at(server.url), sample(b"one"))
        assert [each["if-none-match"] for each in server.headers] == ["*", "*"]


def test_a_store_that_knows_no_conditions_is_asked_without() -> None:
    with answering((501, "NotImplemented"), (200, "")) as server:
        assert put_sample(sink_at(server.url), sample(b"one"))

    assert ["if-none-match" in each for each in server.headers] == [True, False, False]


def test_owner_encryption_and_digest_go_with_every_object() -> None:
    with answering((200, "")) as server:
        sink = sink_at(server.url, owner="123456789012", encryption="aws:kms", kms_key="key-1")
        put_sample(sink, sample(b"one"))

    for sent in server.headers:
        assert sent["x-amz-expected-bucket-owner"] == "123456789012"
        assert sent["x-amz-server-side-encryption"] == "aws:kms"
        assert sent["x-amz-server-side-encryption-aws-kms-key-id"] == "key-1"
        assert sent["content-md5"]
    assert [sent["content-type"] for sent in server.headers] == ["image/jpeg", "application/json"]


def test_the_same_place_has_the_same_name_and_another_has_another() -> None:
    at = "http://127.0.0.1:1"
    names = [
        sink_at(at).name,
        sink_at(at, prefix="/").name,
        sink_at(at, prefix="a").name,
        sink_at(at, bucket="other").name,
        sink_at("http://127.0.0.1:2").name,
    ]

    assert names[0] == names[1]
    assert len(set(names)) == 4
