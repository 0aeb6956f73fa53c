"""What becomes of the bodies of REST calls."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from support.forms import BOUNDARY, FORM, JSON, form, json_body, part

from detector_grpc.errors import InvalidRequest
from detector_grpc.rpc.body import MAX_BESIDE_BYTES, MAX_COMMAS, MAX_PARTS, MAX_VALUE_BYTES, is_picture, read_body
from detector_grpc.rpc.fields import Fields

PICTURE = b"\xff\xd8 a picture \r\n with line ends \r\n-- and dashes \x00"
FILE = ("file", PICTURE)
MIB = 1024 * 1024


def read(content_type: str, data: bytes) -> tuple[bytes, dict[str, Any]]:
    """The picture, and what is said beside it."""
    picture, said = read_body(content_type, data)
    assert len(dict(said)) == len(said)
    return picture, dict(said)


def violations(content_type: str, data: bytes) -> dict[str, str]:
    with pytest.raises(InvalidRequest) as caught:
        read_body(content_type, data)
    return {violation.field: violation.description for violation in caught.value.violations}


class TestPicture:
    @pytest.mark.parametrize("kind", ["image/jpeg", "image/x-anything", "IMAGE/PNG; q=1", "application/octet-stream"])
    def test_is_the_body_itself(self, kind: str) -> None:
        assert read_body(kind, PICTURE) == (PICTURE, [])
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

        assert read(FORM, form(FILE, *fields)) == (PICTURE, expected)
        assert read(FORM, form(*fields, FILE)) == (PICTURE, expected)
        assert read(FORM, form(fields[2], FILE, fields[1], fields[0], fields[3])) == (PICTURE, expected)

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

        _, said = read(FORM, form(FILE, *((name, text) for name, (text, _) in fields.items())))

        assert said == {name: value for name, (_, value) in fields.items()}

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
            (form(FILE, ("max_detections", "1.5")), {"max_detections": 'must be a whole number, got "1.5"'}),
            (form(FILE, ("max_detections", "0")), {"max_detections": 'must be in [1, 1000], got "0"'}),
            (form(FILE, ("max_detections", "9" * 99)), {"max_detections": f'must be in [1, 1000], got "{"9" * 39}…'}),
            (form(FILE, ("multi_label", "maybe")), {"multi_label": 'must be true or false, got "maybe"'}),
            (form(FILE, ("model", "m" * 1025)), {"model": f"must have at most {MAX_VALUE_BYTES} bytes, got 1025"}),
        ],
    )
    def test_says_which_part_is_wrong(self, data: bytes, wrong: dict[str, str]) -> None:
        assert violations(FORM, data) == wrong

    @pytest.mark.parametrize("size", [1, MAX_VALUE_BYTES, 10 * MAX_VALUE_BYTES])
    def test_names_unknown_fields_and_those_that_there_are(self, size: int) -> None:
        wrong = violations(FORM, form(("image", b"\xff" * size), ("threshold", "0.5")))

        assert list(wrong) == ["file", "image", "threshold"]
        for name in ("image", "threshold"):
            assert wrong[name].startswith("there is no such field; there are conf_threshold, version, model")

    def test_leaves_out_what_is_empty_as_forms_of_html_have_it(self) -> None:
        empty = [(name, "") for name in Fields.model_fields]

        assert read(FORM, form(FILE, *empty)) == (PICTURE, {})
        assert read(FORM, form(FILE, ("classes", "a"), ("classes", ""))) == (PICTURE, {"classes": ["a"]})
        assert list(violations(FORM, form(FILE, ("threshold", "")))) == ["threshold"]

    def test_names_all_faults_at_once(self) -> None:
        data = form(("conf_threshold", "x"), ("iou_threshold", "y"), ("model", "a"), ("max_detections", "b"))

        assert violations(FORM, data).keys() == {"file", "conf_threshold", "iou_threshold", "max_detections"}

    @pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary="])
    def test_is_refused_without_a_boundary(self, kind: str) -> None:
        assert list(violations(kind, form(FILE))) == ["body.content_type"]

    @pytest.mark.parametrize(
        ("kind", "data", "how"),
        [
            ("multipart/form-data; boundary=a%nother", form(FILE), 'part 1 cannot be read, by the boundary "a%nother"'),
            (FORM, form(FILE)[:-4], "part 1 breaks off"),
            (FORM, form(FILE)[:40], "part 1 breaks off"),
            (FORM, part(*FILE), "part 1 breaks off"),
            (FORM, form(("version", "v1"), FILE)[:-30], "part 2 breaks off"),
            (FORM, b"no form", "part 1 "),
            (FORM, form(FILE).replace(b'name="file"; ', b""), "part 1 cannot be read"),
            (FORM, form(FILE).replace(b"form-data;", b"attachment;"), "part 1 cannot be read"),
            (FORM, form(FILE).replace(b"Content-Disposition", b"Content-Disposed"), "part 1 cannot be read"),
            (FORM, form(FILE).replace(b"\r\n\r\n", b"\n\n"), "part 1 cannot be read"),
            (FORM, form(("version", "v1"), FILE).replace(b'name="file"', b"name"), "part 2 cannot be read"),
            (FORM, form(FILE).replace(f"--{BOUNDARY}--".encode(), f"--{BOUNDARY}!".encode()), "part 1 "),
        ],
    )
    def test_is_refused_where_it_is_broken_with_the_part(self, kind: str, data: bytes, how: str) -> None:
        wrong = violations(kind, data)

        assert list(wrong) == ["body"]
        assert wrong["body"].startswith(f"is no whole form: {how}")

    @pytest.mark.parametrize(
        "data",
        [
            form(FILE).replace(b"\r\n\r\n", b"\r\n" + b"X-Header: 1\r\n" * 9 + b"\r\n"),
            form(FILE).replace(b"\r\n\r\n", b"\r\nX-Header: " + b"1" * 5000 + b"\r\n\r\n"),
            form(FILE, *[("classes", "a")] * MAX_PARTS),
        ],
        ids=["headers", "a long header", "parts"],
    )
    def test_is_refused_beyond_a_limit_which_is_told(self, data: bytes) -> None:
        rule = f"must have at most {MAX_PARTS} parts of at most 8 short headers each, got more"

        assert violations(FORM, data) == {"body": rule}


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

        assert read(JSON, json_body(PICTURE, **members)) == (PICTURE, members)
        assert read(f"{JSON}; charset=utf-8", json_body(PICTURE)) == (PICTURE, {})

    def test_may_begin_with_the_mark_that_some_systems_put_before_texts(self) -> None:
        assert read(JSON, b"\xef\xbb\xbf" + json_body(PICTURE)) == (PICTURE, {})

    @pytest.mark.parametrize(
        "text", [b"QUJD QUJD", b"QUJD\nQUJD", rb"QUJD\nQUJD", b"QQ==QUJD", b"A" * (MIB - 2) + b"==" + b"QUJD", b"Q"]
    )
    def test_has_nothing_but_letters_of_base64_in_its_picture(self, text: bytes) -> None:
        wrong = violations(JSON, b'{"image": "%s"}' % text)

        assert list(wrong) == ["image"]
        assert wrong["image"].startswith("must be a text in base64, without blanks and line breaks, got ")

    def test_may_say_null_for_unset(self) -> None:
        assert read(JSON, json_body(PICTURE, conf_threshold=None, classes=None)) == (PICTURE, {})

    @pytest.mark.parametrize("text", ["+/+/", "-_-_", "+w", "+w=="])
    def test_may_have_base64_for_addresses_and_no_padding(self, text: str) -> None:
        assert read_body(JSON, f'{{"image": "{text}"}}'.encode()).picture[:1] == b"\xfb"

    @pytest.mark.parametrize("text", [r"\/+\/\u002b", r"\u002F\u002B\u002f+", r"\/+\/+\/w\u003D\u003d"])
    def test_may_have_letters_of_base64_escaped_as_some_languages_have_them(self, text: str) -> None:
        assert read_body(JSON, f'{{"image": "{text}"}}'.encode()).picture[:3] == b"\xff\xef\xfe"

    @pytest.mark.parametrize("size", [MIB * 3 // 4 - 1, MIB * 3 // 4, MIB * 3 // 4 + 1, MIB * 5])
    def test_has_a_picture_of_any_size(self, size: int) -> None:
        picture = np.random.default_rng(size).bytes(size)

        assert read(JSON, json_body(picture, conf_threshold=0.5)) == (picture, {"conf_threshold": 0.5})

    @pytest.mark.parametrize(
        "data",
        [
            b'{"model": "image", "image": "QUJD"}',
            b'{"model": "\\"image\\":\\"", "image": "QUJD"}',
            b'{"classes": ["image", ":"], "image" \t\r\n : "QUJD"}',
            b'{"im\\u0061ge": "QUJD"}',
        ],
    )
    def test_has_its_picture_wherever_else_the_word_is(self, data: bytes) -> None:
        assert read_body(JSON, data).picture == b"ABC"

    @pytest.mark.parametrize(
        ("data", "field"),
        [
            (b'{"\\"image": "QUJD", "image": ""}', '"image'),
            (b'{"model": {"image": "QUJD"}, "image": ""}', "model"),
            (b'{"classes": [{"image": "QUJD"}], "image": "QQ"}', "classes.0"),
            (b'{"image": "QUJD", "image": "QUJD"}', "image"),
            (b'{"image": "QUJD", "im\\u0061ge": "QQ"}', "image"),
            (b'{"image": {"image": "QUJD"}}', "image"),
        ],
    )
    def test_has_no_other_picture(self, data: bytes, field: str) -> None:
        assert list(violations(JSON, data)) == [field]

    @pytest.mark.parametrize(
        ("members", "wrong"),
        [
            ({"image": None}, {"image": "must be a text in base64, without blanks and line breaks, got null"}),
            ({"image": 5}, {"image": "must be a text in base64, without blanks and line breaks, got 5"}),
            (
                {"image": "data:image/png;base64,AAAA"},
                {"image": 'must be a text in base64, without blanks and line breaks, got "data:image/png;base64,AAAA"'},
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

        assert wrong.keys() == {"image", "picture", "threshold"}
        assert wrong["image"] == "is required: the picture file in base64"

    @pytest.mark.parametrize(
        ("data", "how"),
        [
            (b"{", "it breaks off"),
            (b'{"image": "AAAA"', "it breaks off"),
            (b'{"image": "AAAA', "it breaks off"),
            (b"{}x", 'wrong from "x" on'),
            (b"'a'", "wrong from \"'a'\" on"),
            (b'{"image": "AAAA", conf_threshold: 1}', 'wrong from "conf_threshold: 1}" on'),
            (b'{"image": "AAAA\xff", "model": "\xff"}', "it must be in UTF-8"),
        ],
    )
    def test_is_refused_where_it_is_no_json_with_the_place(self, data: bytes, how: str) -> None:
        assert violations(JSON, data) == {"body": f"is no JSON: {how}"}

    @pytest.mark.parametrize(
        ("data", "field"), [(b'{"image": "", "model": "\\ud800"}', "model"), (b'{"image": "", "\\ud800": 1}', '""')]
    )
    def test_has_whole_characters(self, data: bytes, field: str) -> None:
        wrong = violations(JSON, data)

        assert list(wrong) == [field]
        assert wrong[field].encode()

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
            (JSON, b'{"image": "' + b"\\u002B" * (MIB * 2) + b'"}'),
            (JSON, b'{"image": "' + b"=" * (MIB * 15) + b'"}'),
            (JSON, b'"image"' * (MIB * 2)),
            (JSON, b'{"image": "", "model": "' + b"\\u0041" * (MAX_BESIDE_BYTES // 6 - 10) + b'"}'),
            (JSON, b'{"image": "", "classes": ' + b"[" * (MIB // 2)),
            (JSON, b'{"image": "", ' + b'"image": "",' * 1990 + b'"image": ""}'),
        ],
        ids=range(18),
    )
    def test_is_read_or_refused_within_a_moment(self, kind: str, data: bytes) -> None:
        started = time.thread_time()
        with suppress(InvalidRequest):
            read_body(kind, data)

        assert time.thread_time() - started < 0.5

    def test_has_room_for_all_classes_that_may_be_named(self) -> None:
        classes = [f"class {number}" for number in range(1000)]

        assert len(classes) < MAX_COMMAS
        assert read(JSON, json_body(PICTURE, classes=classes)) == (PICTURE, {"classes": classes})

    @pytest.mark.parametrize(
        ("data", "wrong"),
        [
            (
                b'{"image": "", "model": "' + b"m" * MAX_BESIDE_BYTES + b'"}',
                {"body": f"must have at most {MAX_BESIDE_BYTES} bytes beside the picture, got {MAX_BESIDE_BYTES + 26}"},
            ),
            (
                b'{"picture": "' + b"A" * MAX_BESIDE_BYTES + b'"}',
                {"image": "is required: the picture file in base64"},
            ),
            (b'{"image": "", "max_detections": ' + b"9" * 5000 + b"}", {"body": "must have numbers of fewer digits"}),
            (b'{"image": "", "model": ' + b"[" * 5000, {"body": "must not be nested so deeply"}),
        ],
        ids=["long", "another name", "digits", "nested"],
    )
    def test_is_told_the_limit(self, data: bytes, wrong: dict[str, str]) -> None:
        assert violations(JSON, data) == wrong
