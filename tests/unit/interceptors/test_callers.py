"""The file of callers."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from detector_grpc.errors import SetupInvalid
from detector_grpc.interceptors.auth import Callers, Grant
from detector_grpc.interceptors.callers import read_callers

if TYPE_CHECKING:
    from pathlib import Path

DIGEST = hashlib.sha256(b"token").hexdigest()


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "callers.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def faults(path: Path) -> tuple[str, ...]:
    with pytest.raises(SetupInvalid) as caught:
        read_callers(path)
    return caught.value.faults


def test_callers_are_known_by_token_or_by_identity(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        f"""
- {{caller: ann, token_sha256: {DIGEST}, classes: [infer, read]}}
- {{caller: bob, identity: bob.example.com, classes: [admin]}}
""",
    )
    assert read_callers(path) == Callers(
        by_token={DIGEST: Grant("ann", frozenset({"infer", "read"}))},
        by_identity={"bob.example.com": Grant("bob", frozenset({"admin"}))},
    )


def test_an_empty_list_knows_nobody(tmp_path: Path) -> None:
    assert read_callers(written(tmp_path, "[]")) == Callers()


def test_every_fault_is_named_with_its_entry_and_field(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
- {caller: "", token_sha256: abc, classes: [infer]}
- {caller: bob, identity: "", classes: [everything]}
- {identity: x, class: [infer]}
- text
""",
    )
    assert [fault.removeprefix(f"{path}: ").split(":")[0] for fault in faults(path)] == [
        "0.caller",
        "0.token_sha256",
        "1.identity",
        "1.classes.0",
        "2.caller",
        "2.classes",
        "2.class",
        "3",
    ]


def test_a_caller_has_either_a_token_or_an_identity(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        f"""
- {{caller: both, token_sha256: {DIGEST}, identity: x, classes: [infer]}}
- {{caller: right, identity: y, classes: [infer]}}
- {{caller: neither, classes: [infer]}}
""",
    )
    assert faults(path) == (
        f"{path}: both: set either token_sha256 or identity",
        f"{path}: neither: set either token_sha256 or identity",
    )


@pytest.mark.parametrize(
    "digest", [DIGEST.upper(), DIGEST[:-1], DIGEST + "0", f"{DIGEST[:-1]}g", "token", f'"{DIGEST}\\n"']
)
def test_a_token_is_given_as_the_digest_in_lower_case(tmp_path: Path, digest: str) -> None:
    (fault,) = faults(written(tmp_path, f"- {{caller: ann, token_sha256: {digest}, classes: [infer]}}"))
    assert "0.token_sha256" in fault


@pytest.mark.parametrize(
    "content",
    [b"", b"caller: ann", b"[", b"\xff\xfe\xfa", b"- 2024-13-45"],
    ids=["empty", "a mapping", "broken", "no UTF-8", "no date"],
)
def test_a_file_that_is_no_list_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "callers.yaml"
    path.write_bytes(content)
    (fault,) = faults(path)
    assert str(path) in fault


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path / "callers.yaml")
    assert str(tmp_path / "callers.yaml") in fault


def test_one_token_or_identity_for_two_callers_is_refused(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        f"""
- {{caller: ann, token_sha256: {DIGEST}, classes: [infer]}}
- {{caller: bob, token_sha256: {DIGEST}, classes: [admin]}}
- {{caller: eve, identity: x, classes: [infer]}}
- {{caller: dan, identity: x, classes: [admin]}}
""",
    )
    assert faults(path) == tuple(
        f"{path}: {name}: another caller has the same token or identity" for name in ("ann", "bob", "eve", "dan")
    )
