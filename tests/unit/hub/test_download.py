"""A file comes whole, whatever happens on the way, or is said not to."""

from __future__ import annotations

import json
import os
import urllib.request
from contextlib import suppress
from http.client import HTTPMessage
from typing import TYPE_CHECKING

import pytest
from support.origin import Origin, origin
from support.s3 import BUCKET, running_store, use_credentials

from detector_grpc.hub import download as downloads
from detector_grpc.hub.download import download
from detector_grpc.hub.http import _Redirections
from detector_grpc.hub.places import source_at
from detector_grpc.hub.source import PullFailed, TryAgain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONTENT = os.urandom(3 << 20)
HUB = "https://hub.invalid"


class Watching:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.moves: list[tuple[int, int | None]] = []
        self.waits_s: list[float] = []

    def moved(self, done_bytes: int, size_bytes: int | None) -> None:
        self.moves.append((done_bytes, size_bytes))

    def waits(self, cause: str, for_s: float) -> None:
        assert "http" in cause
        self.waits_s.append(for_s)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[Origin]:
    with origin(CONTENT) as made:
        yield made


def brought(
    server: Origin, folder: Path, *, retries: int = 3, is_known: bool = True, watching: Watching | None = None
) -> bytes:
    source = source_at(f"{server.url}file.onnx", HUB)
    path = download(
        source, folder, watching or Watching(), retries=retries, is_known=is_known, wait=lambda _seconds: None
    )
    return path.read_bytes()


def brought_in_part(server: Origin, folder: Path, size: int) -> None:
    """Leaves so many bytes there, and forgets that anybody has asked."""
    server.cuts = [size]
    with suppress(TryAgain):
        brought(server, folder, retries=0)
    assert (folder / "file").stat().st_size == size
    server.asked.clear()


class TestAConnectionThatIsCut:
    def test_goes_on_where_it_was_and_not_from_the_beginning(self, server: Origin, tmp_path: Path) -> None:
        server.cuts = [1 << 20, 1 << 19]
        watching = Watching()

        assert brought(server, tmp_path, watching=watching) == CONTENT

        assert server.starts == ["", f"bytes={1 << 20}-", f"bytes={3 << 19}-"]
        assert [headers.get("if-range") for _, headers in server.asked] == [None, server.etag, server.etag]
        assert watching.moves[-1] == (len(CONTENT), len(CONTENT))
        done = [moved for moved, _ in watching.moves]
        assert done == sorted(done)

    def test_goes_on_in_another_process(self, server: Origin, tmp_path: Path) -> None:
        brought_in_part(server, tmp_path, 1000)

        assert brought(server, tmp_path) == CONTENT
        assert server.starts == ["bytes=1000-"]

    def test_is_asked_for_less_and_less_often_while_nothing_comes(self, server: Origin, tmp_path: Path) -> None:
        server.cuts = [0] * 10
        watching = Watching()

        with pytest.raises(TryAgain, match=f"cut after 0 of {len(CONTENT)} bytes"):
            brought(server, tmp_path, watching=watching)

        assert watching.waits_s == [0.5, 1, 2]

    def test_that_brings_something_each_time_is_asked_for_as_often_as_it_takes(
        self, server: Origin, tmp_path: Path
    ) -> None:
        server.cuts = [1 << 18] * 11
        watching = Watching()

        assert brought(server, tmp_path, retries=1, watching=watching) == CONTENT
        assert watching.waits_s == [0.5] * 11

    def test_begins_anew_where_the_file_has_changed_meanwhile(self, server: Origin, tmp_path: Path) -> None:
        brought_in_part(server, tmp_path, 1000)
        server.content = CONTENT[::-1]

        assert brought(server, tmp_path) == CONTENT[::-1]

    def test_begins_anew_where_the_server_does_not_care_whether_the_file_has_changed(
        self, server: Origin, tmp_path: Path
    ) -> None:
        brought_in_part(server, tmp_path, 1000)
        server.content, server.knows_conditions = CONTENT[::-1], False

        assert brought(server, tmp_path) == CONTENT[::-1]
        assert server.starts == ["bytes=1000-", ""]

    def test_begins_anew_where_the_server_gives_no_parts(self, server: Origin, tmp_path: Path) -> None:
        brought_in_part(server, tmp_path, 1000)
        server.ranges = False

        assert brought(server, tmp_path) == CONTENT

    def test_begins_anew_where_the_file_has_become_shorter_than_what_is_here(
        self, server: Origin, tmp_path: Path
    ) -> None:
        brought_in_part(server, tmp_path, 1000)
        server.content = CONTENT[:500]
        server.tag = server.etag
        (tmp_path / "state.json").write_text(json.dumps({"size_bytes": None, "tag": server.tag}))

        assert brought(server, tmp_path) == CONTENT[:500]
        assert server.starts == ["bytes=1000-", ""]

    @pytest.mark.parametrize(("is_known", "starts"), [(True, ["bytes=1000-"]), (False, [""])])
    def test_of_a_file_without_a_tag_goes_on_only_if_the_whole_is_checked(
        self, server: Origin, tmp_path: Path, *, is_known: bool, starts: list[str]
    ) -> None:
        server.tag = ""
        brought_in_part(server, tmp_path, 1000)

        assert brought(server, tmp_path, is_known=is_known) == CONTENT
        assert server.starts == starts

    def test_begins_anew_where_nobody_can_read_how_far_it_was(self, server: Origin, tmp_path: Path) -> None:
        brought_in_part(server, tmp_path, 1000)
        (tmp_path / "state.json").write_text("[]")

        assert brought(server, tmp_path, is_known=False) == CONTENT


class TestAServer:
    def test_that_has_too_much_to_do_is_asked_again_when_it_says(self, server: Origin, tmp_path: Path) -> None:
        server.says = [(503, {"Retry-After": "7"}), (429, {})]
        watching = Watching()

        assert brought(server, tmp_path, watching=watching) == CONTENT
        assert watching.waits_s == [7, 1]

    @pytest.mark.parametrize(
        ("status", "words"), [(404, "404 Not Found; there is no such file"), (403, "403 Forbidden; it is not for")]
    )
    def test_that_refuses_is_asked_once(self, server: Origin, tmp_path: Path, status: int, words: str) -> None:
        server.says = [(status, {})]

        with pytest.raises(PullFailed, match=words) as refused:
            brought(server, tmp_path)

        assert not isinstance(refused.value, TryAgain)
        assert len(server.asked) == 1

    def test_that_sends_a_page_is_not_taken_for_one_that_sends_a_model(self, server: Origin, tmp_path: Path) -> None:
        server.media_type = "text/html; charset=utf-8"

        with pytest.raises(PullFailed, match="that is a web page"):
            brought(server, tmp_path)

    def test_that_announces_too_much_is_not_let_send_it(
        self, server: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(downloads, "MOST_BYTES", 1000)

        with pytest.raises(PullFailed, match=f"has {len(CONTENT)} bytes, the limit is 1000"):
            brought(server, tmp_path)

        assert not (tmp_path / "file").exists()

    def test_that_is_not_there_is_said_so(self, tmp_path: Path) -> None:
        with origin(b"") as gone:
            pass
        with pytest.raises(TryAgain, match="Connection refused"):
            brought(gone, tmp_path)


class TestARedirection:
    def test_is_followed_without_the_token_and_for_the_part_that_is_missing(
        self, server: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        brought_in_part(server, tmp_path, 1000)
        to = {"Location": f"{server.url}signed?X=1"}
        with origin(b"", says=[(302, {"Location": "/moved"}), (302, to)]) as hub:
            source = source_at("hf://people/models@v1/street/model.onnx", hub.url)
            path = download(source, tmp_path, Watching(), retries=0, is_known=True)

        assert path.read_bytes() == CONTENT
        assert [path for path, _ in hub.asked] == ["/people/models/resolve/v1/street/model.onnx", "/moved"]
        assert [headers["authorization"] for _, headers in hub.asked] == ["Bearer hf_secret"] * 2
        assert server.starts == ["bytes=1000-"]
        assert "authorization" not in server.asked[0][1]

    @pytest.mark.parametrize("to", ["http://plain.invalid/x", "ftp://plain.invalid/x"])
    def test_to_where_anybody_can_read_and_change_it_is_refused(self, to: str) -> None:
        request = urllib.request.Request("https://safe.invalid/x")

        with pytest.raises(PullFailed, match=r"safe.invalid redirects to .*plain.invalid, which is not encrypted"):
            _Redirections().redirect_request(request, None, 302, "Found", HTTPMessage(), to)

    def test_to_a_file_of_this_machine_is_refused(self, server: Origin, tmp_path: Path) -> None:
        server.says = [(302, {"Location": "file:///etc/hostname"})]

        with pytest.raises(PullFailed):
            brought(server, tmp_path)


class TestABucket:
    @pytest.fixture(autouse=True)
    def _store(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        with running_store(tmp_path / "store") as made:
            (made.folder / BUCKET / "models").mkdir()
            (made.folder / BUCKET / "models" / "a b.onnx").write_bytes(CONTENT)
            use_credentials(monkeypatch, AWS_ENDPOINT_URL=made.url, AWS_DEFAULT_REGION="us-east-1")
            yield

    def test_is_asked_with_a_signature_for_the_part_that_is_missing(self, tmp_path: Path) -> None:
        source = source_at(f"s3://{BUCKET}/models/a b.onnx", HUB)
        folder = tmp_path / "folder"
        folder.mkdir()
        (folder / "file").write_bytes(CONTENT[:1000])
        watching = Watching()

        assert download(source, folder, watching, retries=0, is_known=True).read_bytes() == CONTENT
        assert watching.moves[0][0] == 1000
        assert source.name == f"s3://{BUCKET}/models/a b.onnx"

    def test_that_refuses_tells_what_the_credentials_must_allow(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")

        with pytest.raises(PullFailed, match=r"403 .*must allow s3:GetObject") as refused:
            download(source_at(f"s3://{BUCKET}/models/a b.onnx", HUB), tmp_path, Watching(), retries=0, is_known=True)

        assert "Signature" not in str(refused.value)


class TestAnAddress:
    @pytest.mark.parametrize(
        ("address", "words"),
        [
            ("gopher://host/x", "gopher:// is not known: https://, hf://, s3://, file://"),
            (
                "https://somebody:secret@host.invalid/x",
                "https://host.invalid/x: user names and passwords do not belong",
            ),
            ("https:///x", "names no host"),
            ("hf://people/models", "followed by OWNER/REPOSITORY"),
            ("s3://bucket", "followed by BUCKET/KEY"),
            ("file://host/x", "followed by a whole path"),
            ("https://[x/y", "is no address"),
        ],
    )
    def test_that_leads_nowhere_is_refused_and_told_without_its_secrets(self, address: str, words: str) -> None:
        with pytest.raises(PullFailed, match=words) as refused:
            source_at(address, HUB)

        assert "secret" not in str(refused.value)

    def test_is_told_without_a_signature(self) -> None:
        assert source_at("https://host.invalid/x.onnx?signature=secret#y", HUB).name == "https://host.invalid/x.onnx"

    @pytest.mark.parametrize(
        ("address", "is_authentic"),
        [
            ("https://host.invalid/x", True),
            ("http://host.invalid/x", False),
            ("http://127.0.0.1/x", True),
            ("file:///x", True),
            ("hf://a/b/c", True),
        ],
    )
    def test_says_whether_what_comes_can_be_changed_on_the_way(self, address: str, *, is_authentic: bool) -> None:
        assert source_at(address, HUB).is_authentic == is_authentic

    def test_of_the_hub_keeps_the_slashes_of_a_revision_together(self, server: Origin, tmp_path: Path) -> None:
        source = source_at("hf://people/models@refs%2Fpr%2F1/model.onnx", server.url)
        download(source, tmp_path, Watching(), retries=0, is_known=False)

        assert server.asked[0][0] == "/people/models/resolve/refs%2Fpr%2F1/model.onnx"

    def test_of_a_file_of_this_machine_is_copied_from_where_it_was(self, tmp_path: Path) -> None:
        (tmp_path / "a model.onnx").write_bytes(CONTENT)
        source = source_at((tmp_path / "a model.onnx").as_uri(), HUB)
        with source.open(0, "") as part:
            tag = part.tag
        folder = tmp_path / "folder"
        folder.mkdir()
        (folder / "file").write_bytes(CONTENT[:1000])
        (folder / "state.json").write_text(json.dumps({"size_bytes": len(CONTENT), "tag": tag}))
        watching = Watching()

        assert download(source, folder, watching, retries=0, is_known=False).read_bytes() == CONTENT
        assert watching.moves[0] == (1000, len(CONTENT))
