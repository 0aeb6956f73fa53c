"""`detector-grpc traffic` changes what Envoy does, and says what it does, also where files say something else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import numpy as np
import pytest
from click.testing import CliRunner
from support.calls import connected, encoded_request, wait_until
from support.gateways import running_gateway
from support.pictures import png

from detector_grpc.cli import main

if TYPE_CHECKING:
    from collections.abc import Iterator

    from click.testing import Result
    from support.gateways import Gateway

REQUEST = encoded_request(png(np.zeros((64, 64, 3), np.uint8)))


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("gateway"), http=True) as gateway:
        yield gateway


@pytest.fixture(autouse=True)
def _as_at_first(gateway: Gateway) -> None:
    gateway.share(v1=100)


def traffic(gateway: Gateway, *words: str) -> Result:
    command, *rest = words
    return CliRunner().invoke(main, ["traffic", command, "--state", str(gateway.state.folder), *rest])


def told(gateway: Gateway, *words: str) -> dict[str, Any]:
    """What a command that succeeds prints."""
    result = traffic(gateway, *words, "--json")
    assert result.exit_code == 0, result.output
    facts: dict[str, Any] = json.loads(result.stdout)
    return facts


def test_set_changes_which_version_answers_from_then_on(gateway: Gateway) -> None:
    with connected(gateway.address) as client:
        for only in ("v2", "v1"):
            assert told(gateway, "set", f"{only}=1") == {"weights": {only: 1}, "shadow": {}}
            assert {client.detect(REQUEST).version for _ in range(20)} == {only}


def test_get_says_what_envoy_has_accepted(gateway: Gateway) -> None:
    told(gateway, "set", "v1=80", "v2=20")
    told(gateway, "shadow", "v2=12.5%")

    assert told(gateway, "get") == {"weights": {"v1": 80, "v2": 20}, "shadow": {"v2": 0.125}}
    table = traffic(gateway, "get").stdout
    for word in ("v1", "80%", "v2", "20%", "12.5%"):
        assert word in table


def test_weights_and_shadow_do_not_touch_each_other(gateway: Gateway) -> None:
    told(gateway, "shadow", "v2=10%")
    assert told(gateway, "set", "v1=1", "v2=1") == {"weights": {"v1": 1, "v2": 1}, "shadow": {"v2": 0.1}}
    assert told(gateway, "shadow", "v2=0%") == {"weights": {"v1": 1, "v2": 1}, "shadow": {}}


@pytest.mark.parametrize("words", [["set", "v1=0"], ["set", "v3=1"], ["set", "v1=-1"], ["shadow", "v2=200%"]])
def test_nonsense_changes_nothing(gateway: Gateway, words: list[str]) -> None:
    files = {path: path.read_bytes() for path in gateway.state.folder.iterdir()}

    result = traffic(gateway, *words)

    assert result.exit_code == 2
    assert result.output.startswith("Error: ")
    assert {path: path.read_bytes() for path in gateway.state.folder.iterdir()} == files


@pytest.mark.parametrize(
    ("before", "after", "in_log"),
    [
        ("weight: 99999", "weight: [99999", "yaml"),
        ("weight: 99999", "wieght: 99999", "wieght"),
        ("weight: 99999", "weight: 0", "weight"),
        ("cluster: servers", "cluster: servers\n        prefix_rewrite: []", "prefix_rewrite"),
    ],
    ids=["no YAML", "no such field", "weights of 0", "wrong type"],
)
def test_an_edited_routes_file_with_a_typo_leaves_the_old_weights_and_is_named(
    gateway: Gateway, before: str, after: str, in_log: str
) -> None:
    routes = gateway.state.folder / "routes.yaml"
    lines = len(gateway.envoy.lines)
    edited = routes.with_suffix(".edited")
    edited.write_text(routes.read_text(encoding="utf-8").replace(before, after), encoding="utf-8")
    edited.rename(routes)

    def refused() -> bool:
        return any(in_log in line for line in gateway.envoy.lines[lines:] if '"level":"warning"' in line)

    wait_until(refused, f"a warning about {in_log}")

    with connected(gateway.address) as client:
        assert {client.detect(REQUEST).version for _ in range(20)} == {"v1"}
    result = traffic(gateway, "get")
    assert result.exit_code == 1
    assert "v1" in result.stdout
    assert str(routes) in result.stderr
    result = traffic(gateway, "set", "v2=1", "--json")
    assert json.loads(result.stdout)["weights"] == {"v2": 1}
    assert str(routes) in result.stderr


def test_a_change_to_a_file_that_envoy_never_saw_is_told(gateway: Gateway) -> None:
    routes = gateway.state.folder / "routes.yaml"
    text = routes.read_text(encoding="utf-8").replace("weight: 99999", "weight: 99")
    routes.write_text(text, encoding="utf-8")  # in place, which Envoy does not see

    result = traffic(gateway, "get")

    assert result.exit_code == 1
    assert "says v1=99, Envoy has v1=100" in result.stderr


# Of 40 compared pictures with 4 boxes each: in 36 all agree, in 4 two. At v2 half take 1 ms longer, half 3 ms.
COUNTED = """\
copies_total,outcome="compared" 40
copies_total,outcome="failed" 2
copies_total,outcome="dropped" 3
pictures_total,same="true" 36
pictures_total,same="false" 4
boxes_total,outcome="agree" 152
boxes_total,outcome="class_differs" 2
boxes_total,outcome="missed" 4
boxes_total,outcome="extra" 2
box_moments_total,moment="aa" 592
box_moments_total,moment="an" 608
box_moments_total,moment="nn" 640
duration_seconds_sum,side="first" 0.4
duration_seconds_sum,side="copy" 0.48
duration_difference_squares_seconds_total, 0.0002
"""
METRICS = re.sub(r"(.+?),(.*) (.+)", r'object_detection_shadow_\1{model="m",version="v1",shadow="v2",\2} \3', COUNTED)


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway whose servers have counted that."""

    class Metrics(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = METRICS.encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Metrics) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            plan = {"http": f"127.0.0.1:{server.server_port}"}
            with running_gateway(tmp_path_factory.mktemp("counting"), plan=plan) as gateway:
                yield gateway
        finally:
            server.shutdown()
            thread.join()


def test_compare_prints_what_follows_from_the_counters(counting: Gateway) -> None:
    result = traffic(counting, "compare")

    assert result.exit_code == 0, result.output
    table = dict(re.findall(r"^│ (.+?) +│ (.+?) +│$", result.stdout, re.MULTILINE))
    # Wilson's interval of 36 in 40; of boxes, that of 82.3 trials, which have the variance of 0.95 over 40 pictures:
    # (592 - 2 * 0.95 * 608 + 0.95**2 * 640) * 40 / 39 / 160**2 = 0.95 * 0.05 / 82.3; of times 1.96 * 1 ms / sqrt(39).
    assert table == {
        "calls chosen": "45: 40 compared, 2 failed, 3 dropped",
        "pictures with the same boxes": "90.0 % (76.9 % to 96.0 %)",
        "boxes that are the same": "95.0 % (88.0 % to 98.0 %)",
        "boxes in both": "152 of one class, 2 of two",
        "boxes in one": "4 only in v1, 2 only in v2",
        "time for a picture": "v1 10.00 ms, v2 12.00 ms",
        "v2 takes longer by": "2.00 ms (1.69 ms to 2.31 ms)",
    }
    assert "m v1 and v2" in result.stdout
    verdict = " ".join(result.stdout.splitlines()[-2:]).strip()
    assert verdict == "more pictures are needed to tell whether v2 sees what v1 sees, and is slower"


@pytest.mark.parametrize(
    ("wanted", "verdict"),
    [
        ("88.1", "more pictures are needed to tell whether v2 sees what v1 sees, and is slower"),
        ("87.9", "v2 sees what v1 sees, and is slower"),
        ("98.1", "v2 sees something else than v1, and is slower"),
    ],
)
def test_compare_judges_by_the_bar_that_is_wanted(counting: Gateway, wanted: str, verdict: str) -> None:
    (found,) = json.loads(traffic(counting, "compare", "--wanted", wanted, "--json").stdout)

    assert found["verdict"] == verdict
    assert found["same_boxes"] == pytest.approx({"value": 0.95, "low": 0.8797, "high": 0.9801}, abs=1e-4)
    assert found["slower_s"] == pytest.approx({"value": 0.002, "low": 0.001686, "high": 0.002314}, abs=1e-6)


@pytest.mark.parametrize("broken", ["weights: {v1: 80", "wieghts: {v1: 80}", "{weights: {v9: 1}, shadow: {}}"])
def test_a_broken_traffic_file_is_told_kept_by_shadow_and_replaced_by_set(gateway: Gateway, broken: str) -> None:
    told(gateway, "set", "v1=70", "v2=30")
    file = gateway.state.folder / "traffic.yaml"
    file.write_text(broken, encoding="utf-8")

    result = traffic(gateway, "get", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["weights"] == {"v1": 70, "v2": 30}
    assert str(file) in result.stderr

    result = traffic(gateway, "shadow", "v2=10%")
    assert result.exit_code == 2
    assert f"Error: {file}" in result.stderr
    assert "`detector-grpc traffic set v1=70 v2=30` would replace the file" in result.stderr
    assert file.read_text(encoding="utf-8") == broken

    result = traffic(gateway, "set", "v1=80", "v2=20")
    assert result.exit_code == 0
    assert result.stderr.startswith(f"Replaced: {file}")
    assert "Envoy goes on with v1=70 v2=30" in result.stderr
    assert told(gateway, "shadow", "v2=10%") == {"weights": {"v1": 80, "v2": 20}, "shadow": {"v2": 0.1}}


def test_a_traffic_file_that_says_something_else_than_envoy_does_is_told_and_not_mixed_in(gateway: Gateway) -> None:
    file = gateway.state.folder / "traffic.yaml"
    file.write_text("{weights: {v2: 5}, shadow: {}}", encoding="utf-8")

    assert f"{file} says v2=5, Envoy has v1=100" in traffic(gateway, "get").stderr
    assert traffic(gateway, "shadow", "v2=10%").exit_code == 2
    assert told(gateway, "set", "v1=100") == {"weights": {"v1": 100}, "shadow": {}}
    assert traffic(gateway, "get").exit_code == 0


def test_the_page_is_told_what_envoy_does_and_that_the_files_say_something_else(gateway: Gateway) -> None:
    told(gateway, "set", "v1=70", "v2=30")
    as_envoy_does = {"model": "tiny", "weights": {"v1": 70, "v2": 30}, "shadow": {}}
    assert told_by_rest(gateway) == as_envoy_does

    (gateway.state.folder / "traffic.yaml").write_text("{weights: {v2: 5}, shadow: {}}", encoding="utf-8")
    answer = told_by_rest(gateway)
    fault = answer.pop("fault")
    assert answer == as_envoy_does
    assert "say something else" in fault
    assert str(gateway.state.folder) not in fault  # paths are for operators


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says which folders a process has open")
def test_who_changes_traffic_waits_for_who_is_changing_it(gateway: Gateway) -> None:
    command = [sys.executable, "-m", "detector_grpc", "traffic", "set", "--state", str(gateway.state.folder), "v2=1"]
    with gateway.state.changing():
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait_until(lambda: has_open(process.pid, gateway.state.folder), "somebody who waits")
        gateway.share({"v2": 0.1}, v1=100)

    assert process.wait(30) == 0
    assert told(gateway, "get") == {"weights": {"v2": 1}, "shadow": {"v2": 0.1}}


def test_nobody_waits_for_ever_for_who_is_changing_it(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detector_grpc.gateway.state.TURN_S", 0.1)
    with gateway.state.changing():
        result = traffic(gateway, "set", "v2=1")
    assert result.exit_code == 2
    assert f"has been changing the traffic of {gateway.state.folder} for 0.1 s" in result.stderr
    assert told(gateway, "get")["weights"] == {"v1": 100}


def told_by_rest(gateway: Gateway) -> dict[str, Any]:
    with urlopen(f"{gateway.url}/traffic") as answer:  # noqa: S310 - always http
        facts: dict[str, Any] = json.load(answer)
        return facts


def has_open(pid: int, folder: Path) -> bool:
    try:
        return str(folder) in [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:  # it has just closed one
        return False


def test_without_a_gateway_nothing_is_changed(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["traffic", "set", "--state", str(tmp_path), "v1=1"])

    assert result.exit_code == 2
    assert "is not the state of a gateway" in result.output
    assert not list(tmp_path.iterdir())
