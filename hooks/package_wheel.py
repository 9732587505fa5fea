"""Packs the delivery package into a wheel that has the same bytes on every machine; standard library only.

Three callers share it, so that what a bake vendors, what a release publishes and what ``pip install .`` installs are one
file: the hook of a bake (``post_gen_project.py``), the release workflow, and pip or uv, to which this is the build backend
that ``pyproject.toml`` names (PEP 517 and PEP 660).

Members are stored, sorted, dated 1980 and readable by all: https://packaging.python.org/en/latest/specifications/binary-distribution-format/
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
import struct
import tarfile
import tomllib
import zipfile
import zlib
from pathlib import Path
from typing import Any

__all__ = ["build_editable", "build_sdist", "build_wheel", "digest", "name", "version", "wheel"]

PACKAGES = ("embedded_aws", "ml_delivery", "ml_pages")
# Caches and whatever else tools leave behind are no part of the package, whether or not git ignores them.
SUFFIXES = (".py", ".typed", ".txt", ".yaml", ".json", ".toml", ".md", ".html")
DATE = (1980, 1, 1, 0, 0, 0)


def version(root: Path) -> str:
    """``__version__`` of ``ml_delivery`` in the checkout ``root``, read without importing it."""
    text = (root / "src/ml_delivery/__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.M)
    if not found:
        raise SystemExit(f"✗ {root}/src/ml_delivery/__init__.py: no __version__")
    return found[1]


def name(root: Path) -> str:
    """The wheel's file name, such as ``ml_delivery-0.1.0-py3-none-any.whl``."""
    return f"ml_delivery-{version(root)}-py3-none-any.whl"


def wheel(root: Path) -> bytes:
    """The wheel of the checkout ``root``. Text files are packed with LF, whatever the checkout's line ends."""
    return _archive(root, _sources(root))


def digest(content: bytes) -> str:
    """The sha256 of ``content`` in hex, as a lock names it."""
    return hashlib.sha256(content).hexdigest()


def _sources(root: Path) -> dict[str, bytes]:
    found = {}
    for package in PACKAGES:
        for path in (root / "src" / package).rglob("*"):
            inside = path.relative_to(root / "src")
            hidden = any(part.startswith((".", "__pycache__")) for part in inside.parts)
            if path.suffix in SUFFIXES and path.is_file() and not hidden:
                found[inside.as_posix()] = _text(path)
    return found


def _text(path: Path) -> bytes:
    """The content as git has it, whatever line ends the checkout got."""
    return path.read_bytes().replace(b"\r\n", b"\n")


def _archive(root: Path, files: dict[str, bytes]) -> bytes:
    info = f"ml_delivery-{version(root)}.dist-info"
    metadata, entry_points = _metadata(root)
    files = files | {
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: packing\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/licenses/LICENSE": _text(root / "LICENSE"),
    }
    if entry_points:
        files[f"{info}/entry_points.txt"] = entry_points
    record = []
    for path, content in sorted(files.items()):
        sha256 = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        record.append(f"{path},sha256={sha256},{len(content)}\n")
    record.append(f"{info}/RECORD,,\n")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for path, content in [*sorted(files.items()), (f"{info}/RECORD", "".join(record).encode())]:
            member = zipfile.ZipInfo(path, DATE)
            member.create_system, member.external_attr = 3, 0o100644 << 16
            archive.writestr(member, content)
    return out.getvalue()


def _metadata(root: Path) -> tuple[bytes, bytes]:
    """The core metadata, and the entry points, that ``pyproject.toml`` declares."""
    project: dict[str, Any] = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [
        "Metadata-Version: 2.4",
        f"Name: {project['name']}",
        f"Version: {version(root)}",
        f"Summary: {project['description']}",
        f"License-Expression: {project['license']}",
        "License-File: LICENSE",
        f"Requires-Python: {project['requires-python']}",
        *(f"Requires-Dist: {requirement}" for requirement in project["dependencies"]),
    ]
    for extra, requirements in sorted(project.get("optional-dependencies", {}).items()):
        lines.append(f"Provides-Extra: {extra}")
        for requirement in requirements:
            words, _, marker = requirement.partition(";")
            condition = f'({marker.strip()}) and extra == "{extra}"' if marker else f'extra == "{extra}"'
            lines.append(f"Requires-Dist: {words.strip()}; {condition}")
    scripts = [f"{script} = {target}\n" for script, target in sorted(project.get("scripts", {}).items())]
    return ("\n".join(lines) + "\n").encode(), ("[console_scripts]\n" + "".join(scripts)).encode() if scripts else b""


# -- what pip and uv call: https://peps.python.org/pep-0517/ and https://peps.python.org/pep-0660/


def build_wheel(folder: str, settings: Any = None, metadata_folder: Any = None) -> str:
    """Write the wheel into ``folder``; its file name."""
    Path(folder, name(Path())).write_bytes(wheel(Path()))
    return name(Path())


def build_editable(folder: str, settings: Any = None, metadata_folder: Any = None) -> str:
    """Write a wheel that leads to ``src``; its file name."""
    Path(folder, name(Path())).write_bytes(_archive(Path(), {"ml_delivery.pth": f"{Path('src').resolve()}\n".encode()}))
    return name(Path())


def build_sdist(folder: str, settings: Any = None) -> str:
    """Write what a wheel is made from, as a source archive with the same bytes everywhere; its file name."""
    stem = f"ml_delivery-{version(Path())}"
    metadata, _ = _metadata(Path())
    files = {f"src/{path}": content for path, content in _sources(Path()).items()}
    files |= {path: _text(Path(path)) for path in ("pyproject.toml", "LICENSE", "hooks/package_wheel.py")}
    files["PKG-INFO"] = metadata
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, content in sorted(files.items()):
            member = tarfile.TarInfo(f"{stem}/{path}")
            member.size, member.mode = len(content), 0o644
            archive.addfile(member, io.BytesIO(content))
    Path(folder, f"{stem}.tar.gz").write_bytes(_stored(tar.getvalue()))
    return f"{stem}.tar.gz"


def _stored(content: bytes) -> bytes:
    """A gzip file of ``content``, stored: what zlib makes of it, and Python of the header, differs between versions.

    https://www.rfc-editor.org/rfc/rfc1952 and https://www.rfc-editor.org/rfc/rfc1951#section-3.2.4
    """
    out = [b"\x1f\x8b\x08\0\0\0\0\0\0\xff"]  # deflated; no name, no time, no particular system
    for at in range(0, len(content), 0xFFFF):
        block = content[at : at + 0xFFFF]
        last = at + 0xFFFF >= len(content)
        out += [struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF), block]
    return b"".join([*out, struct.pack("<II", zlib.crc32(content), len(content))])
