"""Lays out the file system that the images begin with: the libraries of Debian that Python needs, Python, and no tool.

There is no shell, no package manager and no pip in it. Runs as root in an image of Debian with Python below /usr/local.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

# What the programs of the images link to or read.
PACKAGES = (
    "base-files",
    "ca-certificates",
    "libbz2-1.0",
    "libc6",
    "libcrypt1",
    "libffi8",
    "libgcc-s1",
    "liblzma5",
    "libsqlite3-0",
    "libssl3",
    "libstdc++6",
    "libuuid1",
    "netbase",
    "tini",
    "tzdata",
    "zlib1g",
)

# What is made when packages are installed, and so belongs to none.
MADE = ("/etc/ssl/certs/ca-certificates.crt", "/etc/nsswitch.conf")

# Licences stay. Python converts characters itself.
LEFT_OUT = (
    "/usr/share/man/",
    "/usr/share/doc/",
    "/usr/share/locale/",
    "/usr/share/lintian/",
    "/usr/share/bug/",
    "/usr/lib/x86_64-linux-gnu/gconv/",
)

# Of Python, what is for developers, or links to libraries that are left out.
PYTHON_LEFT_OUT = (
    "__pycache__",
    "config-3.*",
    "ensurepip",
    "idlelib",
    "lib2to3",
    "pydoc_data",
    "site-packages",
    "test",
    "tkinter",
    "turtledemo",
    "_curses*.so",
    "_dbm*.so",
    "_gdbm*.so",
    "_test*.so",
    "_tkinter*.so",
    "_xxtestfuzz*.so",
    "nis*.so",
    "readline*.so",
)

USER_ID = 10001


def main() -> None:
    """Lays it out in the folder that is given."""
    root = Path(sys.argv[1])
    for folder in ("usr/bin", "usr/lib", "usr/lib64", "usr/sbin", "proc", "sys", "dev", "run"):
        (root / folder).mkdir(parents=True)
    for folder in ("bin", "lib", "lib64", "sbin"):
        (root / folder).symlink_to(f"usr/{folder}")
    for package in PACKAGES:
        copy_package(package, root)
    for path in map(Path, MADE):
        copy(path, root)
    copy_python(root)
    add_user(root)
    subprocess.run(["/sbin/ldconfig", "-r", root, "/usr/local/lib"], check=True)  # where libpython is
    check_libraries(root)


def copy_package(package: str, root: Path) -> None:
    """Its files, and what it is, where scanners look for it in images without dpkg."""
    for line in output("dpkg-query", "--listfiles", package).splitlines():
        path = Path(line)
        if line.startswith(LEFT_OUT) and path.name != "copyright":
            continue
        if path.is_symlink() or path.is_file():
            copy(path, root)
    status = root / "var/lib/dpkg/status.d" / package
    status.parent.mkdir(parents=True, exist_ok=True)
    status.write_text(output("dpkg-query", "--status", package), encoding="utf-8")


def copy_python(root: Path) -> None:
    """The interpreter and its library."""
    local = Path("/usr/local")
    library = Path(f"lib/python3.{sys.version_info.minor}")
    for path in (*local.glob("bin/python*"), *local.glob("lib/libpython3*.so*")):
        if not path.name.endswith("-config"):
            copy(path, root)
    left_out = shutil.ignore_patterns(*PYTHON_LEFT_OUT)
    shutil.copytree(local / library, root / "usr/local" / library, symlinks=True, ignore=left_out)


def add_user(root: Path) -> None:
    """Whom everything runs as, and the folders that are his."""
    users = ("root:x:0:0:root:/root", f"detector:x:{USER_ID}:{USER_ID}::/var/lib/detector-grpc")
    (root / "etc/passwd").write_text("".join(f"{user}:/sbin/nologin\n" for user in users), encoding="ascii")
    (root / "etc/group").write_text(f"root:x:0:\ndetector:x:{USER_ID}:\n", encoding="ascii")
    for folder in ("var/lib/detector-grpc", "etc/envoy"):
        own = root / folder
        own.mkdir(parents=True)
        shutil.chown(own, USER_ID, USER_ID)
    temporary = root / "tmp"
    temporary.mkdir()
    temporary.chmod(0o1777)


def check_libraries(root: Path) -> None:
    """Ends the build where a module of Python links to what is not there."""
    missed = {
        library
        for module in (root / "usr/local").rglob("*.so")
        for library in re.findall(r"=> (/\S+)", output("ldd", str(module)))
        if not (root / library.lstrip("/")).exists()
    }
    if missed:
        raise SystemExit(f"PACKAGES or PYTHON_LEFT_OUT must have {', '.join(sorted(missed))}")


def copy(path: Path, root: Path) -> None:
    """One file or link, through the links that its folder may be below."""
    target = root / path.parent.resolve().relative_to("/") / path.name
    if not target.is_symlink():  # /lib and its like are there before what is in them
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target, follow_symlinks=False)


def output(*command: str) -> str:
    """What a command prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
