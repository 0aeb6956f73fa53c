"""Builds the wheel, installs it into a clean environment, and runs what users run of it.

Whether the code is right the tests have said; here it is what packaging can break: a file that is not in the wheel, a
command that is not installed, a package that nobody depends on.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from zipfile import ZipFile

from support.servers import DEFAULTS
from support.ups import FREE_PORTS

PROJECT = Path(__file__).resolve().parent.parent
SOURCES = PROJECT / "src"

# What needs packages and files beside the code: all processes behind a gateway with the bundled models, the page and
# the pages of documentation, tracking, and the process that watches for drift and makes Evidently's reports.
TESTS = (
    "tests/integration/test_up.py::test_everything_is_served_and_each_says_who_it_is",
    "tests/integration/test_up.py::test_the_smoke_test_of_rest_passes_and_fails_where_something_is_wrong",
    "tests/integration/test_detect.py::TestBundledModels",
    "tests/integration/test_gateway_http.py::TestPages",
    "tests/integration/test_page.py",
    "tests/integration/test_tracking.py",
    "tests/integration/test_drift_service.py::test_what_servers_tell_becomes_a_state_in_words",
    "tests/unit/drift/test_reports.py",
)


def run(*command: str | Path) -> None:
    """Runs a command in the project's folder; its failure is ours."""
    subprocess.run(command, cwd=PROJECT, check=True)


def left_out(wheel: Path) -> set[str]:
    """Files of the package that are not in the wheel."""
    files = (path for path in SOURCES.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(SOURCES).as_posix() for path in files} - set(ZipFile(wheel).namelist())


def demonstrate(program: Path, state: Path) -> None:
    """Starts what `make run` starts, until it says that all is there."""
    ports = {name: value for name, value in {**DEFAULTS, **FREE_PORTS}.items() if name != "PYTHONPATH"}
    environment = {**ports, "DETECTOR_GATEWAY_STATE": str(state), "LOG_LEVEL": "warning"}
    with subprocess.Popen([program, "up", "--demo"], env=environment, stdout=subprocess.PIPE, text=True) as process:
        shown = any("Ctrl-C" in line for line in process.stdout or ())
        process.send_signal(signal.SIGINT)
    if not shown or process.returncode != 0:
        sys.exit(f"the demonstration ended with {process.returncode}")


def main() -> None:
    """Builds, installs, tests."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        run(sys.executable, "-m", "build", "--wheel", "--outdir", folder, PROJECT)
        (wheel,) = folder.glob("*.whl")
        if missing := left_out(wheel):
            sys.exit(f"the wheel lacks {', '.join(sorted(missing))}")
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
        run(*pip, f"{wheel}[cpu,tracking,gateway]")
        # Before the packages of the tests are there, which would stand in for one that nobody depends on.
        demonstrate(python.with_name("detector-grpc"), folder / "state")
        run(*pip, "--group", "test")
        run(python, "-m", "pytest", "-p", "no:cacheprovider", *TESTS)


if __name__ == "__main__":
    main()
