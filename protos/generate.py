"""Writes the Python code of the contract and of model files; with --check, only says whether it is current."""

from __future__ import annotations

import re
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parent
GENERATED = PROTOS.parent / "src" / "detector_grpc" / "_gen"


def generate(folder: Path) -> None:
    """Runs protoc, moves the result below the package's own name and makes it importable."""
    well_known = files("grpc_tools") / "_proto"
    for sources, kinds in (
        ("detector/**/*.proto", ("python", "pyi", "grpc_python")),
        ("onnx/*.proto", ("python", "pyi")),
    ):
        paths = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.glob(sources))
        outputs = [f"--{kind}_out={folder}" for kind in kinds]
        if protoc.main(["protoc", f"-I{PROTOS}", f"-I{well_known}", *outputs, *paths]) != 0:
            raise SystemExit("protoc failed")
    for path in folder.rglob("*.py*"):
        text = re.sub(r"^from detector\.", "from detector_grpc._gen.detector.", path.read_text(), flags=re.MULTILINE)
        path.write_text(text)
    for package in (folder, folder / "detector", folder / "detector" / "v1", folder / "onnx"):
        (package / "__init__.py").write_text('"""Generated from protos/ by `make proto`."""\n')


def contents(folder: Path) -> dict[str, str]:
    """The generated files by their path in the folder."""
    paths = (path for pattern in ("*.py", "*.pyi") for path in folder.rglob(pattern))
    return {str(path.relative_to(folder)): path.read_text() for path in paths}


def main() -> None:
    """Generates, or compares."""
    with tempfile.TemporaryDirectory() as temporary:
        generate(Path(temporary))
        fresh = contents(Path(temporary))
    current = contents(GENERATED)
    if "--check" in sys.argv:
        stale = sorted(name for name in fresh.keys() | current.keys() if fresh.get(name) != current.get(name))
        if stale:
            raise SystemExit(f"generated code is not current, run `make proto`: {', '.join(stale)}")
        return
    for name in current.keys() - fresh.keys():
        (GENERATED / name).unlink()
    for name, text in fresh.items():
        path = GENERATED / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    print(f"{len(fresh)} files in {GENERATED.relative_to(PROTOS.parent)}")


if __name__ == "__main__":
    main()
