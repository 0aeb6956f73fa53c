"""What can be served, and what is refused with a reason."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import weakref
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto

from detector_grpc.errors import InferenceFailed, ModelInvalid, SetupInvalid
from detector_grpc.serving import session as module
from detector_grpc.serving.session import (
    CPU_PROVIDER,
    CUDA,
    TENSORRT,
    Model,
    OnnxFile,
    OnnxSession,
    TensorInfo,
    check_provider,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Make = Callable[..., Path]


def model_of(path: Path) -> Model:
    return Model(path, path.read_bytes())


def test_the_signature_says_what_the_file_is(make_onnx: Make) -> None:
    path = make_onnx(metadata={"names": '["a", "b"]', "model_family": "yolo9"})
    signature = OnnxFile(path).signature
    assert signature.inputs == (TensorInfo("images", "float32", (1, 3, 32, 48)),)
    assert signature.outputs == (TensorInfo("output", "float32", (1, 6, 21)),)
    assert signature.metadata == {"names": '["a", "b"]', "model_family": "yolo9"}
    assert signature.digest == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def test_files_that_differ_have_different_digests(make_onnx: Make) -> None:
    first, second = make_onnx(name="a.onnx"), make_onnx(name="b.onnx", metadata={"x": "y"})
    assert OnnxFile(first).signature.digest != OnnxFile(second).signature.digest


def test_a_tensor_is_run(make_onnx: Make) -> None:
    outputs = OnnxFile(make_onnx()).run({"images": np.full((1, 3, 32, 48), 0.5, np.float32)}, ["output"])
    assert len(outputs) == 1
    np.testing.assert_allclose(outputs[0], np.full((1, 6, 21), 0.5, np.float32))


def test_sizes_that_the_file_leaves_open_are_none(make_onnx: Make) -> None:
    path = make_onnx(inputs=(("images", TensorProto.FLOAT16, ("batch", 3, None, 48)),))
    assert OnnxFile(path).signature.inputs == (TensorInfo("images", "float16", (None, 3, None, 48)),)


@pytest.mark.parametrize("content", [b"", b"not a model", bytes(1000)], ids=["empty", "text", "zeros"])
def test_a_file_that_is_no_model_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelInvalid) as caught:
        OnnxFile(path)
    assert str(path) in caught.value.message


def test_a_truncated_model_is_refused(make_onnx: Make) -> None:
    path = make_onnx()
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ModelInvalid, match="ONNX Runtime cannot load it"):
        OnnxFile(path)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid, match=r"model\.onnx: cannot be read: No such file"):
        OnnxFile(tmp_path / "model.onnx")


def test_a_provider_that_is_not_available_is_refused_with_those_that_are(make_onnx: Make) -> None:
    with pytest.raises(SetupInvalid, match=rf"NoSuchProvider is not available .* it has .*{CPU_PROVIDER}"):
        OnnxSession(model_of(make_onnx()), provider="NoSuchProvider")


@pytest.mark.parametrize(
    ("available", "advised"), [([CPU_PROVIDER], True), ([TENSORRT, CUDA, CPU_PROVIDER], False)], ids=["CPU", "GPU"]
)
def test_where_providers_of_gpus_come_from_is_said_where_there_are_none(
    available: list[str], monkeypatch: pytest.MonkeyPatch, *, advised: bool
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: available)
    with pytest.raises(SetupInvalid) as caught:
        check_provider("cuda", "--provider")
    assert caught.value.message.startswith("cuda (--provider) is not available in this ONNX Runtime; it has ")
    assert ("`pip uninstall onnxruntime`, then `pip install 'detector-grpc[gpu]'`" in caught.value.message) is advised


def test_a_provider_that_would_silently_be_another_is_refused(make_onnx: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    # What ONNX Runtime does when a GPU library cannot be loaded: it lists the provider, and runs on the CPU.
    path = make_onnx()
    plain = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", CPU_PROVIDER])
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda name, options, **_: plain(name, options, providers=[CPU_PROVIDER])
    )
    with pytest.raises(ModelInvalid, match="CUDAExecutionProvider was asked for, CPUExecutionProvider would run it"):
        OnnxSession(model_of(path), provider="CUDAExecutionProvider")


def test_the_provider_that_runs_it_is_told(make_onnx: Make) -> None:
    assert OnnxSession(model_of(make_onnx())).provider == CPU_PROVIDER


def test_each_run_gets_the_threads_that_were_given(make_onnx: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    path, given = make_onnx(), []
    plain = onnxruntime.InferenceSession

    def spy(name: str, options: onnxruntime.SessionOptions, **kwargs: object) -> onnxruntime.InferenceSession:
        given.append((options.intra_op_num_threads, options.inter_op_num_threads))
        return plain(name, options, **kwargs)

    monkeypatch.setattr(onnxruntime, "InferenceSession", spy)
    OnnxSession(model_of(path), intra_op_threads=3)
    assert given == [(3, 1)]


def test_a_tensor_that_the_runtime_refuses_is_a_failed_inference_with_its_cause(make_onnx: Make) -> None:
    with pytest.raises(InferenceFailed) as caught:
        OnnxFile(make_onnx()).run({"images": np.zeros((1, 3, 5, 5), np.float32)}, ["output"])
    assert caught.value.__cause__ is not None
    assert caught.value.message == "the model could not be run on this picture"


def test_without_a_runtime_the_operator_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(SetupInvalid, match=r"detector-grpc\[cpu\]"):
        module.import_onnxruntime()


def test_a_session_that_is_closed_has_freed_the_model_and_runs_nothing(make_onnx: Make) -> None:
    session = OnnxSession(model_of(make_onnx()))
    model = weakref.ref(session._session._sess)
    session.close()
    assert model() is None
    with pytest.raises(InferenceFailed):
        session.run({"images": np.zeros((1, 3, 32, 48), np.float32)}, ["output"])


def test_onnx_runtime_tells_nobody_of_its_use(make_onnx: Make, tmp_path: Path) -> None:
    # It writes who it is into the folder for temporary files when it begins to report; not on machines that say CI.
    folder = tmp_path / "temporary"
    folder.mkdir()
    code = (
        "import sys; from pathlib import Path; from detector_grpc.serving.session import OnnxFile; "
        "OnnxFile(Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", code, str(make_onnx())], env={"TMPDIR": str(folder)}, check=True)
    assert list(folder.iterdir()) == []
