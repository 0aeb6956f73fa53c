"""`health --rest` tells an answer that is as documented from any other."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from support.servers import server_process

from detector_grpc.cli import main

if TYPE_CHECKING:
    from collections.abc import Iterator

HEALTH = {"status": "SERVING", "versions": [{"model": "m", "version": "v1", "ready": True}]}
FOUND = {
    "request_id": "1",
    "version": "v1",
    "detections": [],
    "inference_time": 0.01,
    "image_shape": [1, 1, 3],
    "confidence_threshold": 0.5,
}
GOOD = {"/health": HEALTH, "/models": {"versions": [{}]}, "/predict": FOUND, "/v1/predict?model=m": FOUND}


@contextmanager
def gateway(answers: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """The URL of a server with these answers by path, and the Authorization headers that it was shown."""
    shown: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            shown.append(self.headers.get("authorization", ""))
            answer = answers.get(self.path)
            body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(200 if self.path in answers else 404)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - the name that is called

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", shown
        finally:
            server.shutdown()
            thread.join()


def smoke(answers: dict[str, Any], *flags: str) -> tuple[int, dict[str, str]]:
    """The exit code, and what is said of each thing that was asked and is wrong."""
    with gateway(answers) as (url, _):
        done = CliRunner().invoke(main, ["health", "--rest", url, "--json", *flags])
    checks = [json.loads(line) for line in done.output.splitlines()]
    return done.exit_code, {check["what"]: check["detail"] for check in checks if not check["ok"]}


def test_answers_as_documented_pass() -> None:
    assert smoke(GOOD) == (0, {})


@pytest.mark.parametrize(
    ("changes", "what", "said"),
    [
        ({"/health": HEALTH | {"status": "NOT_SERVING"}}, "GET /health", "NOT_SERVING, 1 versions are ready"),
        ({"/health": HEALTH | {"versions": []}}, "GET /health", "SERVING, 0 versions are ready"),
        ({"/health": []}, "GET /health", "the answer is not as documented"),
        ({"/models": b"<html>"}, "GET /models", "the answer is no JSON"),
        (
            {"/predict": FOUND | {"boxes": []}},
            "POST /predict",
            "the answer has the members boxes, confidence_threshold",
        ),
        ({"/predict": {"version": "v1"}}, "POST /predict", "the answer has the members version"),
        ({"/v1/predict?model=m": FOUND | {"version": "v2"}}, "POST /v1/predict?model=m", "v2 has answered"),
    ],
)
def test_any_other_answer_fails_by_name(changes: dict[str, Any], what: str, said: str) -> None:
    exit_code, wrong = smoke(GOOD | changes)
    assert exit_code == 1
    assert list(wrong) == [what]
    assert said in wrong[what]


def test_an_error_is_told_with_its_status() -> None:
    exit_code, wrong = smoke({path: answer for path, answer in GOOD.items() if path != "/models"})
    assert (exit_code, wrong) == (1, {"GET /models": "404 Not Found"})


def test_a_url_may_leave_out_that_it_is_http() -> None:
    with gateway(GOOD) as (url, _):
        done = CliRunner().invoke(main, ["health", "--rest", url.removeprefix("http://")])
    assert done.exit_code == 0, done.output


def test_without_a_url_the_gateway_of_this_machine_is_asked() -> None:
    done = CliRunner().invoke(main, ["health", "--help"])
    assert "--rest [URL]" in done.output
    assert "[without URL: http://localhost:8000]" in " ".join(done.output.split())


def test_where_nobody_listens_the_way_on_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    done = CliRunner().invoke(main, ["health", "--rest", f"localhost:{port}"])
    assert done.exit_code == 1
    assert "GET /health: nobody answers there; `detector-grpc up` starts a gateway" in done.output


def test_what_is_no_gateway_is_told() -> None:
    with server_process() as server:
        done = CliRunner().invoke(main, ["health", "--rest", server.address])
    assert done.exit_code == 1
    assert "GET /health: no answer by HTTP: " in done.output
    assert "is this a gateway" in done.output


def test_a_token_is_shown(tmp_path: Any) -> None:
    (tmp_path / "token").write_text("secret\n")
    with gateway(GOOD) as (url, shown):
        CliRunner().invoke(main, ["health", "--rest", url, "--token-file", str(tmp_path / "token")])
    assert set(shown) == {"Bearer secret"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--rest", "http://localhost:many"],
        ["--rest", "http://[::1"],
        ["--rest", "http://"],
        ["--rest", "ftp://localhost"],
        ["--rest", "http://localhost", "a.Service"],
        ["--rest", "http://localhost", "--watch"],
        ["--picture", __file__],
    ],
)
def test_what_does_not_go_together_is_refused(arguments: list[str]) -> None:
    assert CliRunner().invoke(main, ["health", *arguments]).exit_code == 2
