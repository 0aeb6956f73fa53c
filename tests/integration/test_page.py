"""The page in a real browser, through a real Envoy, before real servers of the bundled detector."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from playwright.sync_api import expect
from support.browser import DESKTOP, PHONE, chromium, write_camera
from support.calls import connected, encoded_request
from support.gateways import running_gateway
from support.pictures import noise
from support.servers import BUNDLED_MODELS

from detector_grpc._gen.detector.v1.detection_pb2 import DetectOptions
from detector_grpc._gen.detector.v1.detector_service_pb2 import DetectRequest, DetectResponse
from detector_grpc._gen.detector.v1.model_service_pb2 import GetModelRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page, Request
    from support.gateways import Gateway

PICTURES = BUNDLED_MODELS.parent / "pictures"
DESK, EMPTY = PICTURES / "desk.jpg", PICTURES / "empty.jpg"
CLASSES = ["qr_code", "data_matrix", "aztec", "pdf417", "linear_barcode"]
DETECT = "/detector.v1.DetectorService/Detect"

# Chromium shows no body that is a Blob.
KEEP_CALLS = f"""
    window.calls = [];
    const {{ fetch }} = window;
    window.fetch = (url, options) => {{
        if (url === "{DETECT}") {{
            window.calls.push({{ pin: options.headers["x-model-version"] ?? null, body: options.body }});
        }}
        return fetch(url, options);
    }};
"""

# Of red, green and blue light.
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])

# How far a channel of a drawn line may be from its colour.
COLOR_TOLERANCE = 12


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with all its parts, in front of the bundled detector."""
    folder = tmp_path_factory.mktemp("gateway")
    with running_gateway(folder, plan={"model": "codes"}, http=True, repository=BUNDLED_MODELS) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser whose camera sees the desk."""
    with chromium(write_camera(tmp_path_factory.mktemp("camera") / "desk.mjpeg", DESK)) as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, gateway: Gateway) -> Iterator[Page]:
    """The page, loaded."""
    yield from opened(browser, gateway.url)


def opened(browser: Browser, url: str, arms: int = 2, **options: Any) -> Iterator[Page]:
    """A page with so many arms; whatever the browser complains of fails the test."""
    context = browser.new_context(**{"viewport": DESKTOP} | options)
    context.add_init_script(KEEP_CALLS)
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
    page.goto(url)
    expect(page.locator("#arms article")).to_have_count(arms)
    yield page
    context.close()
    assert complaints == []


@dataclass(frozen=True)
class Arm:
    """What the page says of one version."""

    boxes: int
    found: list[str]
    name: str


def arms(page: Page) -> list[Arm]:
    """What the arms show, once all do."""
    articles = page.locator("#arms article")
    for index in range(articles.count()):
        expect(articles.nth(index)).to_have_attribute("data-boxes", re.compile(r"\d+"))
    return [
        Arm(
            int(article.get_attribute("data-boxes")),
            [chip.split()[0] for chip in article.locator("[data-part=found] li").all_inner_texts()],
            article.locator("h2").inner_text(),
        )
        for article in articles.all()
    ]


def upload(page: Page, file: Path) -> None:
    page.locator("#file").set_input_files(file)


def choose(page: Page, mode: str) -> None:
    page.get_by_text(mode, exact=True).click()


def detections(gateway: Gateway, version: str, picture: Path, **options: Any) -> DetectResponse:
    """What a version answers to somebody who asks by gRPC."""
    with connected(gateway.address) as client:
        return client.detect(encoded_request(picture.read_bytes(), version=version, options=DetectOptions(**options)))


def calls(page: Page) -> list[tuple[str | None, DetectRequest]]:
    """Calls that the page has made: the pin in the metadata, and the message."""
    made = page.evaluate(
        """() => Promise.all(window.calls.map(async ({ pin, body }) =>
            [pin, [...new Uint8Array(await body.arrayBuffer())]]))"""
    )
    return [(pin, DetectRequest.FromString(bytes(body[5:]))) for pin, body in made]


def color_at(page: Page, arm: int, x_share: float, y_share: float) -> list[int]:
    """Red, green and blue of a pixel of an arm's picture, which is named by shares of its width and height."""
    return (
        page.locator("#arms canvas")
        .nth(arm)
        .evaluate(
            """(canvas, [x, y]) => [...canvas.getContext("2d").getImageData(
            Math.floor(x * canvas.width), Math.floor(y * canvas.height), 1, 1).data].slice(0, 3)""",
            [x_share, y_share],
        )
    )


def contrast(*colors: str) -> float:
    """Of two colours as CSS has them, "rgb(1, 2, 3)"; as WCAG 2 defines it."""
    bright = []
    for color in colors:
        shares = np.array(re.findall(r"\d+", color)[:3], float) / 255
        bright.append(np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4) @ LUMINANCE + 0.05)
    return max(bright) / min(bright)


class TestPicture:
    def test_that_is_uploaded_gets_its_boxes_from_both_versions(self, page: Page, gateway: Gateway) -> None:
        upload(page, DESK)
        shown = arms(page)

        for arm, version in zip(shown, ("v1", "v2"), strict=True):
            expected = detections(gateway, version, DESK)
            assert arm.name == version
            assert arm.boxes == len(expected.detections)
            assert arm.found == [each.class_name for each in expected.detections]

    def test_has_lines_where_the_boxes_are(self, page: Page, gateway: Gateway) -> None:
        upload(page, DESK)
        arms(page)

        for index, version in enumerate(("v1", "v2")):
            answer = detections(gateway, version, DESK)
            for found in answer.detections:
                middle = (found.bbox.x_min + found.bbox.x_max) / 2 / answer.image_size.width
                bottom = found.bbox.y_max / answer.image_size.height
                chip = page.locator("#arms article").nth(index).get_by_text(found.class_name)
                expected = chip.evaluate("chip => getComputedStyle(chip, '::before').backgroundColor")
                drawn = color_at(page, index, middle, bottom)
                wanted = [int(channel) for channel in re.findall(r"\d+", expected)[:3]]
                assert all(abs(a - b) <= COLOR_TOLERANCE for a, b in zip(drawn, wanted, strict=True)), found

    def test_can_be_dropped(self, page: Page) -> None:
        transfer = page.evaluate_handle(
            """async (address) => {
                const transfer = new DataTransfer();
                transfer.items.add(new File([await (await fetch(address)).blob()], "desk.jpg", { type: "image/jpeg" }));
                return transfer;
            }""",
            page.locator("[data-sample]").first.get_attribute("data-sample"),
        )
        page.dispatch_event("body", "dragenter", {"dataTransfer": transfer})
        expect(page.locator(".drop")).to_be_visible()
        page.dispatch_event("body", "drop", {"dataTransfer": transfer})

        assert [arm.boxes for arm in arms(page)] == [5, 5]
        expect(page.locator(".drop")).to_be_hidden()

    def test_can_be_pasted(self, page: Page) -> None:
        page.evaluate(
            """async (address) => {
                const clipboardData = new DataTransfer();
                const blob = await (await fetch(address)).blob();
                clipboardData.items.add(new File([blob], "image.jpg", { type: "image/jpeg" }));
                document.dispatchEvent(new ClipboardEvent("paste", { clipboardData }));
            }""",
            page.locator("[data-sample]").first.get_attribute("data-sample"),
        )

        assert [arm.boxes for arm in arms(page)] == [5, 5]

    def test_without_a_thing_to_find_says_what_can_be_found_and_how_to_load_more(self, page: Page) -> None:
        upload(page, EMPTY)
        arms(page)

        nothing = page.locator("#arms article").first.locator("[data-part=nothing]")
        expect(nothing).to_be_visible()
        assert nothing.locator("[data-part=classes] li").all_inner_texts() == CLASSES
        assert "codes v1" in nothing.inner_text()
        assert "detector-grpc models load" in nothing.inner_text()

    def test_that_the_server_cannot_read_gets_the_words_of_its_error(self, page: Page, tmp_path: Path) -> None:
        dot = tmp_path / "dot.gif"  # browsers show it, servers do not take it
        dot.write_bytes(base64.b64decode("R0lGODlhAQABAIAAAP///wAAACwAAAAAAQABAAACAkQBADs="))
        upload(page, dot)

        failure = page.locator("#arms article").first.locator("[data-part=failure]")
        expect(failure).to_contain_text("INVALID_ARGUMENT · IMAGE_UNDECODABLE")
        expect(failure).to_contain_text("JPEG")

    def test_that_is_none_is_not_sent(self, page: Page, tmp_path: Path) -> None:
        (tmp_path / "notes.jpg").write_text("no picture")
        upload(page, tmp_path / "notes.jpg")

        expect(page.locator("#notice")).to_contain_text("cannot open that as a picture")
        assert calls(page) == []

    def test_of_the_largest_size_is_answered(self, page: Page, tmp_path: Path, gateway: Gateway) -> None:
        limit = gateway.state.plan().max_message_bytes
        picture = tmp_path / "large.png"
        cv2.imwrite(str(picture), noise(2300, 2300))
        assert 0.9 * limit < picture.stat().st_size < limit
        upload(page, picture)

        assert len(arms(page)) == 2


class TestThreshold:
    def test_hides_at_once_and_asks_nobody(self, page: Page) -> None:
        upload(page, DESK)
        before = arms(page)
        made = len(calls(page))
        slider = page.locator("#threshold")
        slider.fill("95")

        assert [arm.boxes for arm in before] == [5, 5]
        assert page.locator("#threshold-value").inner_text() == "95 %"
        assert sum(arm.boxes for arm in arms(page)) < 10
        assert len(calls(page)) == made

    def test_begins_where_the_default_version_does(self, page: Page, gateway: Gateway) -> None:
        used = detections(gateway, "v1", DESK).options.confidence_threshold

        assert page.locator("#threshold").input_value() == str(round(100 * used))

    def test_that_hides_all_says_what_was_surest(self, page: Page, gateway: Gateway) -> None:
        upload(page, EMPTY)
        arms(page)

        titles = page.locator("[data-part=nothing-title]").all_inner_texts()
        for title, version in zip(titles, ("v1", "v2"), strict=True):
            guesses = detections(gateway, version, EMPTY, confidence_threshold=0.05).detections
            surest = (
                f"Nothing at 50 % or more; the best guess is {guesses[0].class_name}," if guesses else "Nothing found."
            )
            assert title.startswith(surest)


class TestArms:
    def test_side_by_side_are_pinned(self, page: Page) -> None:
        upload(page, DESK)
        arms(page)

        assert [(pin, message.version) for pin, message in calls(page)] == [("v1", "v1"), ("v2", "v2")]

    def test_by_weight_are_chosen_by_the_gateway_and_say_who_answered(self, page: Page, gateway: Gateway) -> None:
        gateway.share(v2=100)
        try:
            upload(page, DESK)
            arms(page)
            pinned = len(calls(page))
            choose(page, "By weight")
            arms(page)
            page.get_by_text("Send it again").click()

            expect(page.locator("#tally")).to_have_text("Answered so far: 2 by v2")
            expect(page.locator("[data-part=answered]")).to_have_text("v2 answered")
            expect(page.locator("#bar")).to_have_text("v2 100 %")
            assert [(pin, message.version) for pin, message in calls(page)[pinned:]] == [(None, ""), (None, "")]
        finally:
            gateway.share(v1=100)

    def test_show_the_weights_as_they_are_now(self, page: Page, gateway: Gateway) -> None:
        upload(page, DESK)
        choose(page, "By weight")
        try:
            gateway.share(v1=75, v2=25)

            expect(page.locator("#bar span")).to_have_text(["v1 75 %", "v2 25 %"])
        finally:
            gateway.share(v1=100)

    def test_say_where_files_of_the_gateway_say_something_else(self, page: Page, gateway: Gateway) -> None:
        upload(page, DESK)
        choose(page, "By weight")
        try:
            (gateway.state.folder / "traffic.yaml").write_text("{weights: {v2: 5}, shadow: {}}", encoding="utf-8")

            expect(page.locator("#fault")).to_contain_text("files say something else")
            expect(page.locator("#bar span")).to_have_text(["v1 100 %"])
        finally:
            gateway.share(v1=100)
        expect(page.locator("#fault")).to_be_hidden()

    def test_say_how_long_it_took(self, page: Page) -> None:
        upload(page, DESK)
        arms(page)

        for took in page.locator("[data-part=took]").all_inner_texts():
            assert re.fullmatch(r"\d+ ms", took)
        for model in page.locator("[data-part=model]").all_inner_texts():
            assert re.fullmatch(r"model \d+ ms", model)


class TestCamera:
    def test_gets_boxes_that_follow_one_frame_of_each_arm_at_a_time(self, page: Page) -> None:
        open_calls = {"v1": 0, "v2": 0}
        most = {"v1": 0, "v2": 0}
        answered = {"v1": 0, "v2": 0}

        def count(change: int) -> Callable[[Request], None]:
            def counted(request: Request) -> None:
                version = request.headers.get("x-model-version")
                if request.url.endswith(DETECT) and version:
                    open_calls[version] += change
                    most[version] = max(most[version], open_calls[version])
                    answered[version] += change < 0

            return counted

        page.on("request", count(+1))
        page.on("requestfinished", count(-1))
        page.on("requestfailed", count(-1))
        page.get_by_text("Use the camera").click()
        while min(answered.values()) < 10:
            page.wait_for_timeout(20)
        shown = arms(page)
        page.get_by_text("Stop the camera").click()

        assert most == {"v1": 1, "v2": 1}
        assert [arm.boxes for arm in shown] == [5, 5]
        assert sorted(shown[0].found) == sorted(CLASSES)

    def test_sends_no_more_pixels_than_the_model_looks_at(self, page: Page, gateway: Gateway) -> None:
        with connected(gateway.address) as client:
            sizes = {
                version: client.models.GetModel(GetModelRequest(version=version)).version.input_size
                for version in ("v1", "v2")
            }
        page.get_by_text("Use the camera").click()
        shown = arms(page)
        page.get_by_text("Stop the camera").click()

        assert [arm.boxes for arm in shown] == [5, 5]
        for version, request in calls(page):
            image = cv2.imdecode(np.frombuffer(request.image.encoded, np.uint8), cv2.IMREAD_COLOR)
            assert image.shape == (sizes[version].height * 3 // 4, sizes[version].width, 3)
            assert (request.source_size.width, request.source_size.height) == (1280, 960)

    def test_that_may_not_be_used_is_explained(self, page: Page) -> None:
        page.evaluate("""() => {
            navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("", "NotAllowedError"));
        }""")
        page.get_by_text("Use the camera").click()

        expect(page.locator("#notice")).to_contain_text("not allowed to use the camera")
        expect(page.locator("#camera")).to_have_text("Use the camera")


class TestReach:
    def test_keys_alone_are_enough(self, page: Page) -> None:
        for _ in range(10):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.dataset.sample ?? ''").endswith("desk.jpg"):
                break
        page.keyboard.press("Enter")

        assert [arm.boxes for arm in arms(page)] == [5, 5]
        page.locator("input[value=pinned]").focus()
        page.keyboard.press("ArrowRight")
        assert [arm.name for arm in arms(page)] == ["By weight"]
        page.locator("#threshold").focus()
        page.keyboard.press("End")
        assert page.locator("#threshold-value").inner_text() == "95 %"

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_what_has_the_focus_stands_out(self, browser: Browser, gateway: Gateway, scheme: Any) -> None:
        for page in opened(browser, gateway.url, color_scheme=scheme):
            page.locator("#choose").focus()
            page.keyboard.press("Tab")
            ring, ground = page.evaluate(
                """() => [getComputedStyle(document.activeElement).outlineColor,
                          getComputedStyle(document.body).backgroundColor]"""
            )

            assert contrast(ring, ground) >= 3

    def test_a_reader_hears_what_was_found(self, page: Page) -> None:
        upload(page, DESK)
        arms(page)

        expect(page.locator("#status")).to_contain_text("v1: 5 objects: 1 qr_code")
        expect(page.get_by_role("img", name=re.compile("5 objects"))).to_have_count(2)

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_a_phone_shows_all_of_it(self, browser: Browser, gateway: Gateway, scheme: Any) -> None:
        for page in opened(browser, gateway.url, viewport=PHONE, color_scheme=scheme, has_touch=True, is_mobile=True):
            upload(page, DESK)
            arms(page)

            assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
            for button in page.locator("button:visible").all():
                assert button.bounding_box()["height"] >= 40

    def test_nothing_is_fetched_from_elsewhere(self, browser: Browser, gateway: Gateway) -> None:
        asked: list[str] = []
        for page in opened(browser, gateway.url):
            page.on("request", lambda request: asked.append(request.url))
            page.reload()
            upload(page, DESK)
            arms(page)

        assert len(asked) > 10
        assert all(url.startswith((gateway.url, "blob:")) for url in asked), asked


class TestCodec:
    def test_writes_what_protobuf_reads(self, page: Page) -> None:
        written = page.evaluate(
            """async (address) => {
                const { encode, sizeOf } = await import(address);
                const chunks = encode("detector.v1.DetectRequest", {
                    image: { encoded: Uint8Array.from({ length: 300 }, (_, index) => index % 256) },
                    source_size: { width: 65535, height: 1 },
                    version: "v2 ü",
                    options: { confidence_threshold: 0.05 },
                });
                return [sizeOf(chunks), chunks.flatMap((chunk) => [...chunk])];
            }""",
            module(page, "protobuf.js"),
        )
        expected = DetectRequest(version="v2 ü")
        expected.image.encoded = bytes(index % 256 for index in range(300))
        expected.source_size.width, expected.source_size.height = 65535, 1
        expected.options.confidence_threshold = 0.05

        size, data = written
        assert size == len(data)
        assert DetectRequest.FromString(bytes(data)) == expected

    def test_reads_what_protobuf_writes_and_skips_what_it_does_not_know(self, page: Page) -> None:
        answer = DetectResponse(request_id="r", model="codes", version="v1", model_digest="sha256:0", uncertainty=0.5)
        answer.timing.inference_ms = 12.5
        answer.options.max_detections = 300  # not among the page's fields
        found = answer.detections.add(class_id=300, class_name="é", confidence=0.75)
        found.bbox.x_max = 640.25
        read = page.evaluate(
            """async ([address, bytes]) => {
                const { decode } = await import(address);
                return decode("detector.v1.DetectResponse", Uint8Array.from(bytes));
            }""",
            [module(page, "protobuf.js"), list(answer.SerializeToString())],
        )

        assert read["version"] == "v1"
        assert read["timing"] == {"queue_ms": 0, "inference_ms": 12.5}
        box = {"x_min": 0, "y_min": 0, "x_max": 640.25, "y_max": 0}
        assert read["detections"] == [{"class_id": 300, "class_name": "é", "confidence": 0.75, "bbox": box}]


def module(page: Page, name: str) -> str:
    return re.sub(r"page\.js$", name, page.locator("script[type=module]").get_attribute("src"))


class TestDocs:
    def test_of_the_api_try_it_out_with_a_picture(self, browser: Browser, gateway: Gateway) -> None:
        for page in opened(browser, f"{gateway.url}/docs#/DetectorService/PredictByVersion", arms=0):
            operation = page.locator("#operations-DetectorService-PredictByVersion")
            operation.locator("input[placeholder=version]").fill("v2")
            expect(
                operation.locator("[data-param-name=conf_threshold], .opblock-section-request-body tr")
            ).to_have_count(2)
            expect(operation.get_by_text("Servers", exact=True)).not_to_be_visible()
            operation.locator("input[type=file]").set_input_files(DESK)
            operation.get_by_role("button", name="Execute").click()
            answer = operation.locator(".live-responses-table .response")
            expect(answer.locator(".response-col_status")).to_contain_text("200")
            body = answer.locator(".highlight-code").inner_text()

        for class_name in CLASSES:
            assert f'"class_name": "{class_name}"' in body

    @pytest.mark.parametrize("path", ["/docs", "/redoc"])
    def test_of_the_api_lead_back_to_the_page(self, browser: Browser, gateway: Gateway, path: str) -> None:
        for page in opened(browser, gateway.url + path, arms=0):
            page.get_by_role("link", name="detector-grpc", exact=True).click()
            expect(page.locator("#arms article")).to_have_count(2)

    def test_of_the_api_are_read_without_a_network(self, browser: Browser, gateway: Gateway) -> None:
        asked: list[str] = []
        for page in opened(browser, f"{gateway.url}/redoc", arms=0):
            page.on("request", lambda request: asked.append(request.url))
            page.reload()
            expect(page.get_by_role("heading", name="Predict", exact=False).first).to_be_visible()

        assert all(url.startswith((gateway.url, "blob:", "data:")) for url in asked), asked
