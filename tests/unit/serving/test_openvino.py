"""OpenVINO answers as ONNX Runtime does, in the precision that it was told, and tells nobody."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import yaml
from support.servers import BUNDLED_MODELS

from detector_grpc.errors import InferenceFailed, ModelInvalid
from detector_grpc.serving import openvino, repository
from detector_grpc.serving.manifest import read_manifest
from detector_grpc.serving.openvino import OpenVinoSession, open_pair
from detector_grpc.serving.session import Model, OnnxFile
from detector_grpc.serving.spec import resolve

if TYPE_CHECKING:
    from pathlib import Path

    from detector_grpc.serving.session import Session
    from detector_grpc.serving.spec import ModelSpec

CODES = repository.stored(BUNDLED_MODELS / "codes" / "v1")


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    return resolve(read_manifest(CODES.manifest_path), OnnxFile(CODES.path))


@pytest.fixture(scope="module")
def expected(spec: ModelSpec) -> np.ndarray:
    return answer(OnnxFile(CODES.path).taking(spec.input), spec)


def answer(session: Session, spec: ModelSpec) -> np.ndarray:
    """To a picture of noise."""
    picture = np.random.default_rng(0).integers(0, 256, (*spec.input.hw, 3), np.uint8)
    (found,) = session.run(spec.input.feeds(picture), spec.layout.outputs)
    return found


def test_the_same_is_answered(spec: ModelSpec, expected: np.ndarray) -> None:
    session = OnnxFile(CODES.path, open_session=OpenVinoSession).taking(spec.input)
    assert session.provider == "OpenVINOExecutionProvider"
    np.testing.assert_allclose(answer(session, spec), expected, atol=0.01)


def test_narrow_and_wide_answer_the_same(spec: ModelSpec, expected: np.ndarray) -> None:
    opened: list[Session] = []

    def both(model: Model) -> Session:
        opened.extend(open_pair(2, model, (1, 2)))
        return opened[0]

    OnnxFile(CODES.path, open_session=both).taking(spec.input)
    for session in opened:
        np.testing.assert_allclose(answer(session, spec), expected, atol=0.01)
        session.close()


@pytest.mark.parametrize(("may", "can"), [(True, True), (True, False), (False, True)])
def test_only_what_was_measured_is_rounded_and_only_where_that_is_fast(
    spec: ModelSpec, expected: np.ndarray, monkeypatch: pytest.MonkeyPatch, *, may: bool, can: bool
) -> None:
    can = can and openvino.has_bf16()  # what this processor cannot do it is not asked for
    monkeypatch.setattr(openvino, "has_bf16", lambda: can)
    found = answer(OnnxFile(CODES.path, open_session=OpenVinoSession).taking(spec.input, bf16=may), spec)
    assert (np.abs(found - expected).max() > 0.05) == (may and can)


@pytest.mark.parametrize(("form", "bf16"), [("bf16", True), ("int8", False)])
def test_the_manifest_says_whether_bfloat16_was_measured(tmp_path: Path, form: str, *, bf16: bool) -> None:
    file = OnnxFile(CODES.path)
    measured = {"form": form, "digest": file.signature.digest, "original": file.signature.digest}
    numbers = {"pictures": 100, "map50_95": 0.5, "original_map50_95": 0.5, "max_drop": 0.5}
    (tmp_path / "manifest.yaml").write_text(yaml.safe_dump({"measured": {**measured, **numbers}}))
    assert resolve(read_manifest(tmp_path / "manifest.yaml"), file).bf16 == bf16


def test_what_it_cannot_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid, match="OpenVINO cannot load it"):
        OpenVinoSession(Model(tmp_path / "model.onnx", b"no model"))


def test_what_it_would_run_otherwise_is_an_error(spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    def narrowed(self: object, key: str) -> object:
        del self
        return 7 if key == "NUM_STREAMS" else None

    monkeypatch.setattr(openvino.import_openvino().CompiledModel, "get_property", narrowed)
    with pytest.raises(ModelInvalid, match="would run it with"):
        OnnxFile(CODES.path, open_session=OpenVinoSession).taking(spec.input)


def test_a_run_that_fails_says_so(spec: ModelSpec) -> None:
    session = OnnxFile(CODES.path, open_session=OpenVinoSession).taking(spec.input)
    with pytest.raises(InferenceFailed):
        session.run({"other": np.zeros(1, np.uint8)}, spec.layout.outputs)


def test_nobody_is_told_of_its_use() -> None:
    told = (
        "from detector_grpc.serving.openvino import import_openvino; import_openvino(); import sys; "
        "print(sorted(name for name in sys.modules if name.startswith('openvino_telemetry.')))"
    )
    assert subprocess.check_output([sys.executable, "-c", told], text=True).strip() == "[]"
