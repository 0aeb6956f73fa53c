"""Installs what extras of this project need into the environment of an image, without the project, and prunes it."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ENVIRONMENT = Path("/opt/detector")

# Below site-packages.
LEFT_OUT = (
    "**/*.pyi",
    "**/*.pxd",
    "**/*.a",
    *(f"{package}/**/tests" for package in ("numpy", "pandas", "pyarrow", "scipy", "sklearn", "statsmodels")),
    "boto3/data/[!s]*",
    "boto3/examples",
    "numpy/_core/include",
    "onnxruntime/capi/libonnxruntime.so*",  # for programs in C: Python's module has all of it in itself
    "onnxruntime/datasets",
    "onnxruntime/quantization",
    "onnxruntime/tools",
    "onnxruntime/transformers",
    "pygments/lexers/[a-z]*.py",
)

# Of SciPy, where nothing needs it but this project.
LEFT_OUT_OF_SCIPY = ("cluster", "datasets", "differentiate", "fftpack", "io", "misc", "odr", "signal")

# The services of AWS that are called: S3, and what credentials come from.
AWS_SERVICES = ("s3", "sso", "sso-oidc", "sts")

# Have debug symbols, several times as large as their code.
STRIPPED = ("aiohttp", "frozenlist", "multidict", "propcache", "uvloop", "yaml")

# What must still be there, by the package that is installed with it.
NEEDED = {
    "aiohttp": "import aiohttp.web",
    "boto3": "import boto3; boto3.client('s3', 'us-west-2'); boto3.client('sts', 'us-west-2')",
    "cv2": "import cv2",
    "evidently": "import evidently.presets",
    "onnxruntime": "import onnxruntime",
    "scipy": "import scipy.optimize, scipy.special, scipy.stats",
}


def main() -> None:
    """Makes the environment, in the folder of pyproject.toml and constraints.txt."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("extras", nargs="+")
    parser.add_argument("--without", nargs="*", default=[], help="packages of these extras that are left out")
    parser.add_argument("--also", nargs="*", default=[], help="requirements beyond them")
    parser.add_argument("--constraints", nargs="*", default=[], help="files of constraints beside constraints.txt")
    arguments = parser.parse_args()
    wanted = [line for line in requirements(arguments.extras) if not line.startswith(tuple(arguments.without))]
    install([*wanted, *arguments.also], ["constraints.txt", *arguments.constraints])
    (packages,) = ENVIRONMENT.glob("lib/python3.*/site-packages")
    prune(packages)
    # The times of files change when they are copied, so bytecode is not compared with its source.
    python("-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", str(ENVIRONMENT))
    for package, statements in NEEDED.items():
        if (packages / package).exists():
            python("-c", statements)


def requirements(extras: list[str]) -> list[str]:
    """Those of the project, with these extras."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = project["optional-dependencies"]
    return [*project["dependencies"], *(line for extra in extras for line in optional[extra])]


def install(wanted: list[str], constraints: list[str]) -> None:
    """Into the environment, which has no pip of its own."""
    options = [option for file in constraints for option in ("--constraint", file)]
    pip = [sys.executable, "-m", "pip", "--python", str(ENVIRONMENT / "bin/python")]
    subprocess.run([*pip, "install", "--quiet", "--no-compile", *options, *wanted], check=True)


def prune(packages: Path) -> None:
    """Removes what no process of an image loads, and the programs of other packages."""
    unused = [path for pattern in LEFT_OUT for path in packages.glob(pattern)]
    unused += [path for path in packages.glob("botocore/data/*/") if path.name not in AWS_SERVICES]
    unused += [path for path in ENVIRONMENT.glob("bin/*") if not path.name.startswith("python")]
    if not (packages / "evidently").exists():
        unused += [packages / "scipy" / name for name in LEFT_OUT_OF_SCIPY]
    for path in unused:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)  # may have gone with its folder
    for package in STRIPPED:
        for path in packages.glob(f"{package}/**/*.so"):
            subprocess.run(["/usr/bin/strip", "--strip-unneeded", path], check=True)


def python(*arguments: str) -> None:
    """Runs the environment's Python, which writes no bytecode by itself."""
    subprocess.run([str(ENVIRONMENT / "bin/python"), "-B", *arguments], check=True)


if __name__ == "__main__":
    main()
