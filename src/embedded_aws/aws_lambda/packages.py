"""ZIP files of functions, unpacked once per digest; and the libraries that Lambda's runtimes include."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import shutil
import threading
import zipfile
from pathlib import Path

from ministack.services import lambda_svc as lambda_

UNIX = 3  # the system that made a ZIP: section 4.4.2 of PKWARE's APPNOTE.TXT
ELF = {62: "x86_64", 183: "arm64"}  # a program's architecture, by Lambda's name
_unpacking = threading.Lock()


def unpack(package: bytes, packages: Path) -> Path:
    """The read-only folder of a package, one per digest; unpacking one removes those that no version uses any more."""
    digest = hashlib.sha256(package).hexdigest()
    folder = packages / digest
    with _unpacking:
        if not folder.exists():
            _sweep(packages)
            temporary = packages / f"{digest}.new"
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            with zipfile.ZipFile(io.BytesIO(package)) as archive:
                for info in archive.infolist():
                    path = Path(archive.extract(info, temporary))
                    if not info.is_dir():
                        path.chmod(_mode(info))
            for path in [temporary, *temporary.rglob("*")]:
                if path.is_dir():
                    path.chmod(0o555)
            temporary.rename(folder)
    return folder


def native(folder: Path, machine: str) -> str:
    """The first file in ``folder`` with code for another architecture than ``machine``; empty for none.

    https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html
    """
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                head = file.read(20)
            found = ELF.get(int.from_bytes(head[18:20], "little")) if head[:4] == b"\x7fELF" else machine
            if found != machine:
                return str(path.relative_to(folder))
    return ""


def _mode(member: zipfile.ZipInfo) -> int:
    """Its mode on a read-only file system: what the ZIP allows to every user, since the function runs as none of its own.

    Lambda needs 644, and 755 to run a file. A ZIP that was not made on Unix has no modes, and its files can be read.
    https://docs.aws.amazon.com/lambda/latest/dg/troubleshooting-deployment.html
    """
    all_users = member.external_attr >> 16 & 0o5 if member.create_system == UNIX else 0o4
    return all_users * 0o111


def _sweep(packages: Path) -> None:
    needed = set()
    for function in list(lambda_._functions._data.values()):
        for record in (function, *function.get("versions", {}).values()):
            if code := record.get("code_zip"):
                needed.add(hashlib.sha256(code).hexdigest())
    for folder in packages.iterdir():
        if folder.name not in needed:
            folder.chmod(0o755)
            for inner in folder.rglob("*"):
                if inner.is_dir():
                    inner.chmod(0o755)
            shutil.rmtree(folder, ignore_errors=True)


def provide_sdk(folder: Path) -> Path:
    """Fill ``folder`` with the libraries that Lambda's Python includes, AWS's SDK, and no others; returns it.

    https://docs.aws.amazon.com/lambda/latest/dg/lambda-python.html#python-sdk-included
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("botocore", "dateutil", "jmespath", "six", "urllib3"):
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        origin = Path(spec.origin)
        origin = origin.parent if origin.name == "__init__.py" else origin
        if not (folder / origin.name).exists():
            (folder / origin.name).symlink_to(origin)
    return folder
