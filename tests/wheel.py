"""Builds the wheel, installs it into a clean environment, and runs the tests against it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


def run(*command: str | Path) -> None:
    """Runs a command in the project's folder; its failure is ours."""
    subprocess.run(command, cwd=PROJECT, check=True)


def main() -> None:
    """Builds, installs, tests. The fuzzers are left out: packaging has no say in what they test."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        run(sys.executable, "-m", "build", "--wheel", "--outdir", folder, PROJECT)
        (wheel,) = folder.glob("*.whl")
        venv.create(folder / "venv", with_pip=True)
        python = folder / "venv" / "bin" / "python"
        pip = (
            python,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--constraint",
            "constraints.txt",
        )
        run(*pip, "--upgrade", "pip")
        run(*pip, f"{wheel}[cpu,tracking,gateway]", "--group", "test")
        # From the newcomer's side of the wheel: README's commands and the examples, which need the project's own
        # environment, stay out.
        left_out = [f"--ignore=tests/{folder}" for folder in ("fuzz", "docs", "examples")]
        run(python, "-m", "pytest", "-p", "no:cacheprovider", *left_out)


if __name__ == "__main__":
    main()
