"""Wheels made by hand, each with what a real one was seen to have, and a service that depends on them."""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path

import pytest
from tiny import Tiny

RUN, PLAIN, LINK, PRIVATE, WINDOWS = 0o100755, 0o100644, 0o120777, 0o100600, 0


class Wheels:
    """A folder of wheels, and a service whose lock names all of them."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder / "wheels"
        self.folder.mkdir()
        (folder / "state").mkdir()
        monkeypatch.setenv("PIPELINE_CACHE", str(folder / "cache"))
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(self.folder))
        self.service = Tiny(folder / "service", folder / "state", "packed")
        self.artifact = self.service.root / "build/artifact.zip"

    def make(
        self,
        name: str,
        files: dict[str, str | tuple[str, int]],
        *,
        needs: tuple[str, ...] = (),
        method: int = zipfile.ZIP_DEFLATED,
        version: str = "1",
    ) -> Path:
        """Write a wheel; ``files`` by their path, each with its content, or that and its mode."""
        about = f"{name}-{version}.dist-info"
        requires = "".join(f"Requires-Dist: {other}\n" for other in needs)
        metadata = {
            f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}",
            f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        path = self.folder / f"{name}-{version}-py3-none-any.whl"
        with zipfile.ZipFile(path, "w", method) as out:
            for member, content in {**files, **metadata}.items():
                text, mode = content if isinstance(content, tuple) else (content, PLAIN)
                info = zipfile.ZipInfo(member.replace("NAME", f"{name}-{version}"))
                info.external_attr, info.compress_type = mode << 16, method
                info.create_system = 3 if mode else 0
                out.writestr(info, text)
            rows = "".join(f"{member.filename},,\n" for member in out.infolist())
            out.writestr(f"{about}/RECORD", rows + f"{about}/RECORD,,\n")
        return path

    def lock(self) -> None:
        """Commit a lock of all wheels."""
        lines = []
        for wheel in sorted(self.folder.iterdir()):
            name = wheel.name.split("-")[0]
            lines.append(f"{name}==1 --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n")
        self.service.write("requirements/serve.txt", "".join(lines))
        self.service.commit()

    def rule(self, key: str, *patterns: str) -> None:
        """Set ``build.exclude`` or ``build.keep``."""
        listed = ", ".join(f'"{pattern}"' for pattern in patterns)
        self.service.write(
            "pipeline.toml", (self.service.root / "pipeline.toml").read_text() + f"\n[build]\n{key} = [{listed}]\n"
        )
        self.service.commit()

    def packed(self) -> dict[str, str]:
        """What is in the artifact, by its path, as text; no path may be there twice."""
        with zipfile.ZipFile(self.artifact) as made:
            names = made.namelist()
            assert len(names) == len(set(names))
            return {name: made.read(name).decode("utf-8", "replace") for name in names}

    def modes(self) -> dict[str, int]:
        with zipfile.ZipFile(self.artifact) as made:
            return {member.filename: member.external_attr >> 16 for member in made.infolist()}


def unpacked(archive: Path, folder: Path, *, sealed: bool = True) -> Path:
    """The archive's files in ``folder``, with the modes that it has; if it is sealed, without those to write."""
    with zipfile.ZipFile(archive) as made:
        for member in made.infolist():
            path = Path(made.extract(member, folder))
            path.chmod(member.external_attr >> 16 & (0o555 if sealed else 0o777))
    for top, _, _ in os.walk(folder):
        os.chmod(top, 0o555 if sealed else 0o755)
    return folder
