"""Which models there are, and what runs them."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from detector_grpc.setting_sections.base import MIB, Numbers, Seconds, Section, Words, cache_folder


class ModelsSettings(Section):
    """Which models there are."""

    repository: Path | None = Field(
        None, description="Folder with `<model>/<version>/model.onnx`. Unset: no repository."
    )
    default_model: str | None = Field(
        None, description="Model that answers where a call names none. Unset: the only one there is, else `yolov9`."
    )
    default_version: str = Field("v1", description="Version that answers where nothing else chose one.")
    versions: Words = Field(
        (),
        description="Versions that this process holds from its start on, of all that it finds, so that processes with "
        "the same folder can hold one each. Unset: all.",
    )
    poll_s: Seconds = Field(
        0.0,
        description="Seconds between two looks at the repository, to load what is new or has changed, and to unload "
        "what is gone. 0: nobody looks.",
    )

    mirror: str = Field(
        "",
        description="Address of a folder (`https://`, `hf://`, `s3://`, `file://`) from which `models pull` and "
        "`models setup` bring the files of the catalogue, by their names. Empty: from their makers.",
    )

    @model_validator(mode="after")
    def _there_is_something_to_look_at(self) -> ModelsSettings:
        if self.poll_s and self.repository is None:
            raise ValueError("poll_s needs a repository")
        return self


class ConversionSettings(Section):
    """How checkpoints of PyTorch become models, in an environment of their own."""

    environment: Path | None = Field(
        None,
        description="Folder of a Python environment that has PyTorch and libreyolo. Unset: `models convert` makes one "
        "in the user's cache.",
    )
    index: str = Field(
        "https://download.pytorch.org/whl/cpu",
        description="Address of an index that has PyTorch for processors, beside that of pip, to make it from. Empty: "
        "none.",
    )
    timeout_s: Seconds = Field(900.0, gt=0, description="Seconds that a conversion may take at most.")
    memory_bytes: int = Field(
        8 * 1024 * MIB, ge=512 * MIB, description="Bytes of memory that a conversion may take at most."
    )

    @property
    def folder(self) -> Path:
        """Of the environment.

        Raises:
            SetupInvalid: It is not set, and the user has no home.
        """
        return self.environment or cache_folder("DETECTOR_CONVERSION_ENVIRONMENT") / "conversion"


class RuntimeSettings(Section):
    """What models run on."""

    provider: str = Field(
        "CPUExecutionProvider",
        min_length=1,
        description="ONNX Runtime execution provider that must run the models; `OpenVINOExecutionProvider` is OpenVINO "
        "itself.",
    )
    workers: int = Field(
        0,
        ge=0,
        le=1024,
        description="Pictures looked at at once. 0: one per processor that this process may use, and on GPUs as many "
        "more as are in their batches.",
    )
    intra_op_threads: int = Field(
        0,
        ge=0,
        le=1024,
        description="Threads of the model for one picture on the CPU, while no more than half of the workers have one; "
        "else each gets one thread. 0: one per processor that this process may use. 1: one, always.",
    )
    engine: Path | None = Field(
        None,
        description="Socket of an engine process, which runs the models for all servers of this machine. Unset: this "
        "process runs them itself.",
    )


class GpuSettings(Section):
    """How NVIDIA GPUs are used, where `runtime.provider` is one of theirs."""

    devices: Numbers = Field((0,), min_length=1, description="Numbers of the GPUs, as CUDA counts them.")
    engines: int = Field(
        2,
        ge=1,
        le=16,
        description="Batches of one model that each GPU has in work at once, so that one is copied while another is "
        "run. Each holds the weights.",
    )
    max_batch: int = Field(16, ge=1, le=1024, description="Most pictures in a batch.")
    max_delay_s: Seconds = Field(
        0.0,
        description="Seconds that a picture waits for others to make a batch with, while the GPU has nothing to do.",
    )
    graphs: bool = Field(
        default=False,
        description="Whether CUDA records what the GPU does as a graph, for every size of batch. Takes a model every "
        "step of which can be done on the GPU.",
    )
    fp16: bool = Field(
        default=False,
        description="Whether TensorRT may compute in half precision. For CUDA, that is a matter of the model file.",
    )
    cache: Path | None = Field(
        None, description="Folder in which TensorRT keeps what it has built, which takes minutes. Unset: nowhere."
    )
