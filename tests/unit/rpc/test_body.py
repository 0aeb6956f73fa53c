"""What becomes of the bodies of REST calls."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import pytest
from support.forms import BOUNDARY, FORM, JSON, form, json_body, part

from detector_grpc.errors import InvalidRequest
from detector_grpc.rpc.body import MAX_COMMAS, MAX_PARTS, MAX_VALUE_BYTES, is_picture, read_body

PICTURE = b"\xff\xd8 a picture \r\n with line ends \r\n-- and dashes \x00"
FILE = ("file", PICTURE)
MIB = 1024 * 1024


def violations(content_type: str, data: bytes) -> dict[str, str]:
    with pytest.raises(InvalidRequest) as caught:
        read_body(content_type, data)
    return {violation.field: violation.description for violation in caught.value.violations}


class TestPicture:
    @pytest.mark.parametrize("kind", ["image/jpeg", "image/x-anything", "IMAGE/PNG; q=1", "application/octet-stream"])
    def test_is_the_body_itself(self, kind: str) -> None:
        assert read_body(kind, PICTURE) == (PICTURE, {})
        assert is_picture(kind)

    @pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "images/jpeg", "video/mp4"])
    def test_is_refused_under_another_type_with_the_types_that_are_taken(self, kind: str) -> None:
        rule = "must be multipart/form-data, application/json, application/octet-stream or one of image/"

        assert violations(kind, PICTURE) == {"body.content_type": f'{rule}, got "{kind}"'}

    def test_is_refused_without_a_type(self) -> None:
        assert violations("", PICTURE)["body.content_type"].endswith("there is none")

    @pytest.mark.parametrize("kind", ["image/jpeg", JSON, FORM, "", "text/plain"])
    def test_is_missed_in_an_empty_body_whatever_its_type(self, kind: str) -> None:
        assert violations(kind, b"") == {"body": "is empty; the picture is missing"}

    def test_has_a_type_of_any_length(self) -> None:
        assert len(violations("a" * 16 * MIB, PICTURE)["body.content_type"]) < 200


class TestForm:
    def test_has_the_picture_and_fields_in_any_order(self) -> None:
        fields = [("conf_threshold", "0.5"), ("version", "v2"), ("classes", "a, b"), ("classes", "c")]
        expected = {"conf_threshold": 0.5, "version": "v2", "classes": ["a, b", "c"]}

        assert read_body(FORM, form(FILE, *fields)) == (PICTURE, expected)
        assert read_body(FORM, form(*fields, FILE)) == (PICTURE, expected)
        assert read_body(FORM, form(fields[2], FILE, fields[1], fields[0], fields[3])) == (PICTURE, expected)

    def test_reads_every_field(self) -> None:
        fields = {
            "conf_threshold": ("0.25", 0.25),
            "version": ("v1", "v1"),
            "model": ("street", "street"),
            "iou_threshold": ("1", 1.0),
            "classes": ("car", ["car"]),
            "multi_label": ("true", True),
            "class_agnostic_nms": ("false", False),
            "max_detections": ("7", 7),
        }

        body = read_body(FORM, form(FILE, *((name, text) for name, (text, _) in fields.items())))

        assert body.fields == {name: value for name, (_, value) in fields.items()}

    def test_takes_pictures_that_have_no_file_name(self) -> None:
        data = form(FILE).replace(b'; filename="picture.jpg"', b"")

        assert read_body(FORM, data).picture == PICTURE

    @pytest.mark.parametrize("boundary", ["x", "a b'()+_,-./:=?", "é" * 30])
    def test_has_any_boundary(self, boundary: str) -> None:
        kind = f'multipart/form-data; charset=utf-8; boundary="{boundary}"'

        assert read_body(kind, form(FILE, boundary=boundary)).picture == PICTURE

    @pytest.mark.parametrize(
        ("data", "wrong"),
        [
            (form(("version", "v1")), {"file": "the picture must be one part of the form, it is missing"}),
            (form(FILE, FILE), {"file": "the picture must be one part of the form, got 2 of them"}),
            (form(FILE, ("conf_threshold", "abc")), {"conf_threshold": 'must be a number, got "abc"'}),
            (form(FILE, ("conf_threshold", "")), {"conf_threshold": 'must be a number, got ""'}),
            (form(FILE, ("max_detections", "1.5")), {"max_detections": 'must be a whole number, got "1.5"'}),
            (form(FILE, ("max_detections", "0")), {"max_detections": 'must be in [1, 1000], got "0"'}),
            (form(FILE, ("max_detections", "9" * 99)), {"max_detections": f'must be in [1, 1000], got "{"9" * 39}…'}),
            (form(FILE, ("multi_label", "maybe")), {"multi_label": 'must be true or false, got "maybe"'}),
            (form(FILE, ("version", "v1"), ("version", "v1")), {"version": "must be given once, got it 2 times"}),
            (form(FILE, ("model", "m" * 1025)), {"model": f"must have at most {MAX_VALUE_BYTES} bytes, got 1025"}),
        ],
    )
    def test_says_which_part_is_wrong(self, data: bytes, wrong: dict[str, str]) -> None:
        assert violations(FORM, data) == wrong

    def test_names_unknown_fields_and_those_that_there_are(self) -> None:
        wrong = violations(FORM, form(("image", PICTURE), ("threshold", "0.5")))

        assert list(wrong) == ["file", "image", "threshold"]
        assert wrong["threshold"].startswith("there is no such field; there are conf_threshold, version, model")

    def test_names_all_faults_at_once(self) -> None:
        data = form(("conf_threshold", "x"), ("iou_threshold", "y"), ("model", "a"), ("model", "b"))

        assert violations(FORM, data).keys() == {"file", "conf_threshold", "iou_threshold", "model"}

    @pytest.mark.parametrize(
        ("kind", "data"),
        [
            ("multipart/form-data", form(FILE)),
            ("multipart/form-data; boundary=", form(FILE)),
            ("multipart/form-data; boundary=another", form(FILE)),
            (FORM, form(FILE)[:-4]),
            (FORM, form(FILE)[:40]),
            (FORM, part(*FILE)),
            (FORM, b"no form"),
            (FORM, form(FILE).replace(b'name="file"; ', b"")),
            (FORM, form(FILE).replace(b"form-data;", b"attachment;")),
            (FORM, form(FILE).replace(b"Content-Disposition", b"Content-Disposed")),
            (FORM, form(FILE).replace(b"\r\n\r\n", b"\n\n")),
            (FORM, form(FILE).replace(b"\r\n\r\n", b"\r\n" + b"X-Header: 1\r\n" * 9 + b"\r\n")),
            (FORM, form(FILE).replace(b"\r\n\r\n", b"\r\nX-Header: " + b"1" * 5000 + b"\r\n\r\n")),
            (FORM, form(FILE).replace(f"--{BOUNDARY}--".encode(), f"--{BOUNDARY}!".encode())),
            (FORM, form(FILE, *[("classes", "a")] * MAX_PARTS)),
        ],
    )
    def test_is_refused_where_it_is_broken(self, kind: str, data: bytes) -> None:
        wrong = violations(kind, data)

        assert list(wrong) == ["body"]
        assert wrong["body"].startswith(f"is no whole form of at most {MAX_PARTS} parts: ")


class TestObject:
    def test_has_the_picture_and_fields(self) -> None:
        members = {
            "conf_threshold": 0.5,
            "version": "v2",
            "model": "street",
            "iou_threshold": 1,
            "classes": ["a", "b, c"],
            "multi_label": True,
            "class_agnostic_nms": False,
            "max_detections": 7,
        }

        assert read_body(JSON, json_body(PICTURE, **members)) == (PICTURE, members)
        assert read_body(f"{JSON}; charset=utf-8", json_body(PICTURE)) == (PICTURE, {})

    def test_may_say_null_for_unset(self) -> None:
        assert read_body(JSON, json_body(PICTURE, conf_threshold=None, classes=None)).fields == {}

    @pytest.mark.parametrize("text", ["+/+/", "-_-_", "+w", "+w=="])
    def test_may_have_base64_for_addresses_and_no_padding(self, text: str) -> None:
        assert read_body(JSON, f'{{"image": "{text}"}}'.encode()).picture[:1] == b"\xfb"

    @pytest.mark.parametrize(
        ("members", "wrong"),
        [
            ({"image": None}, {"image": "must be a text in base64, got null"}),
            ({"image": 5}, {"image": "must be a text in base64, got 5"}),
            (
                {"image": "data:image/png;base64,AAAA"},
                {"image": 'must be a text in base64, got "data:image/png;base64,AAAA"'},
            ),
            ({"conf_threshold": "0.5"}, {"conf_threshold": 'must be a number, got "0.5"'}),
            ({"conf_threshold": True}, {"conf_threshold": "must be a number, got true"}),
            ({"max_detections": 1.5}, {"max_detections": "must be a whole number, got 1.5"}),
            ({"max_detections": 10**30}, {"max_detections": f"must be in [1, 1000], got {10**30}"}),
            ({"max_detections": 1001}, {"max_detections": "must be in [1, 1000], got 1001"}),
            ({"multi_label": 1}, {"multi_label": "must be true or false, got 1"}),
            ({"classes": "car"}, {"classes": 'must be a list of texts, got "car"'}),
            ({"classes": ["car", 2]}, {"classes.1": "must be a text, got 2"}),
            ({"model": {"name": "street"}}, {"model": 'must be a text, got {"name": "street"}'}),
        ],
    )
    def test_says_which_member_is_wrong(self, members: dict[str, Any], wrong: dict[str, str]) -> None:
        assert violations(JSON, json_body(PICTURE, **members)) == wrong

    def test_names_unknown_members_and_those_that_there_are(self) -> None:
        wrong = violations(JSON, b'{"picture": "AAAA", "threshold": 1}')

        assert list(wrong) == ["image", "picture", "threshold"]
        assert wrong["image"] == "is required: the picture file in base64"

    @pytest.mark.parametrize("data", [b"{", b"{}x", b"\xff", b"'a'", b'{"image": "AAAA"', b'{"model": "\\ud800"}'])
    def test_is_refused_where_it_is_no_json(self, data: bytes) -> None:
        wrong = violations(JSON, data)

        assert list(wrong) == ["body"]
        assert wrong["body"].startswith("is no JSON: ")

    @pytest.mark.parametrize("data", [b"[]", b"null", b'"AAAA"', b"5"])
    def test_is_refused_where_it_is_another_value(self, data: bytes) -> None:
        assert violations(JSON, data) == {"body": "must be a JSON object"}


class TestHostileBody:
    """Each of these has the size of the largest request, and takes seconds of a processor without bounds."""

    @pytest.mark.parametrize(
        ("kind", "data"),
        [
            (FORM, form(("file", f"\r\n--{BOUNDARY}"[:-1].encode() * (MIB * 15 // len(BOUNDARY))))),
            (FORM, b"".join([part("classes", "a")] * (MIB * 16 // 80))),
            (FORM, f"--{BOUNDARY}\r\n".encode() * (MIB * 16 // (len(BOUNDARY) + 4))),
            (FORM, f"--{BOUNDARY}\r\nX: ".encode() + bytes(MIB * 16)),
            (FORM, f"--{BOUNDARY}\r\n".encode() + b"A: b\r\n" * (MIB * 2)),
            (FORM, form(FILE, ("max_detections", "9" * MIB * 15))),
            ("multipart/form-data" + "; a=b" * (MIB * 3), form(FILE)),
            (JSON, b"[" * (MIB * 16)),
            (JSON, b'{"image": "", "classes": [' + b'"",' * (MIB * 5) + b'""]}'),
            (JSON, b"{" + b'"":1,' * (MIB * 3) + b'"":1}'),
            (JSON, b'{"image": "", "max_detections": ' + b"9" * (MIB * 16) + b"}"),
            (JSON, b'{"image": "' + b"\\u0041" * (MIB * 2) + b'"}'),
        ],
        ids=range(12),
    )
    def test_is_read_or_refused_within_a_moment(self, kind: str, data: bytes) -> None:
        started = time.thread_time()
        with suppress(InvalidRequest):
            read_body(kind, data)

        assert time.thread_time() - started < 0.5

    def test_has_room_for_all_classes_that_may_be_named(self) -> None:
        classes = [f"class {number}" for number in range(1000)]

        assert len(classes) < MAX_COMMAS
        assert read_body(JSON, json_body(PICTURE, classes=classes)).fields == {"classes": classes}
