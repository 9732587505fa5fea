"""Packs a container image: three archives, one layer each, which the service's Dockerfile adds to its base image."""

from __future__ import annotations

import gzip
import os
import shutil
import tarfile
import zipfile
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

from ml_delivery.containers import engines
from ml_delivery.dependencies.wheels import sha256
from ml_delivery.errors import BuildError
from ml_delivery.packing.bundle import altered
from ml_delivery.records import Layer, Packed

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ml_delivery.config import Config
    from ml_delivery.packing.bundle import Bundle
    from ml_delivery.packing.ingredients import Ingredients

__all__ = ["DATE", "Recipe", "dependencies", "pack", "share"]

DATE = 315532800  # 1 January 1980, as in the ZIP
PLATFORMS = {"x86_64": "amd64", "arm64": "arm64"}


@dataclass(frozen=True)
class Recipe:
    """How a target's images are built.

    Attributes:
        file: the Dockerfile, in the service's folder.
        base: the name of the base image, as in that file, with ``{}`` for the Python version.
        folder: the folder of the image that holds the service, such as ``var/task``.
    """

    file: str
    base: str
    folder: str


def pack(config: Config, made: Ingredients, scratch: Path, recipe: Recipe) -> Packed:
    """Build the image ``<service>:<version>`` with this machine's container engine.

    Raises:
        SetupError: no engine answers, or it stopped answering, or its disk is full.
        BuildError: the base image can't be had, the engine could not build, or the kept dependencies were altered.
    """
    service = config.service
    engine = engines.find(made.time)
    share(dependencies(made.bundle, recipe.folder), scratch / "dependencies.tar.gz")
    for name, files in (("model", made.model), ("source", made.source)):
        _write(scratch / f"{name}.tar", files, made.programs, recipe.folder)
    layers = made.weights()
    tag = f"{service.name}:{made.version}"
    arguments = {"PYTHON": service.python, "PLATFORM": f"linux/{PLATFORMS[service.architecture]}"}
    if config.build.base:
        arguments["BASE"] = config.build.base
    labels = {
        "org.opencontainers.image.title": service.name,
        "org.opencontainers.image.revision": made.commit,
        "org.opencontainers.image.version": made.version,
    }
    file = scratch / recipe.file
    file.write_bytes(made.files.one(recipe.file))
    image = engine.build(file, scratch, tag, arguments, labels)
    if image.architecture != PLATFORMS[service.architecture]:
        raise BuildError(
            f"the base image is for {image.architecture}, service.architecture is {service.architecture}",
            next="set build.base in pipeline.toml to an image for it, or change service.architecture",
        )
    ours = image.layers[-len(layers) :]
    return Packed(
        digest=image.id,
        size=sum(layers.values()),
        contents=made.contents(service.name),
        image=tag,
        layers=tuple(Layer(name, digest, size) for (name, size), digest in zip(layers.items(), ours, strict=True)),
        base=_resolved(engine, config.build.base or recipe.base.format(service.python), image.layers[: -len(layers)]),
        base_layers=image.layers[: -len(layers)],
    )


def _resolved(engine: engines.Engine, base: str, layers: tuple[str, ...]) -> str:
    """The base's name, with its digest where the engine knows it; empty where the engine can't confirm that it is the base.

    The service's Dockerfile may name another one, and not every builder keeps its bases.
    """
    try:
        found = engine.inspect(base)
    except BuildError:
        return ""
    if found.layers != layers:
        return ""
    return base if "@" in base or not found.digest else f"{base}@{found.digest}"


def dependencies(bundle: Bundle, folder: str) -> Path:
    """The bundle as an archive for the image; made once, and kept next to the bundle.

    It is compressed because the engine's client sends it again for each build.
    """
    path = bundle.archive.with_suffix(f".{folder.replace('/', '-')}.tar.gz")
    seal = path.with_name(f"{path.name}.sha256")
    if not (path.exists() and seal.exists()):
        plain = path.with_name(f"{path.name}.{os.getpid()}")
        with zipfile.ZipFile(bundle.checked()) as archive:
            files = ((name, archive.read(name)) for name in sorted(archive.namelist()))
            programs = frozenset(m.filename for m in archive.infolist() if m.external_attr >> 16 & 0o111)
            _write(plain, files, programs, folder)
        packed = plain.with_suffix(".new")
        with plain.open("rb") as content, packed.open("wb") as file, gzip.GzipFile("", "wb", 6, file, DATE) as out:
            shutil.copyfileobj(content, out, 1 << 20)
        plain.unlink()
        written = seal.with_name(f"{seal.name}.{os.getpid()}")
        written.write_text(sha256(packed))
        packed.replace(path)
        written.replace(seal)
    if sha256(path) != seal.read_text():
        raise altered(path)
    return path


def _write(path: Path, files: Iterable[tuple[str, bytes]], programs: frozenset[str], root: str) -> None:
    """Write an archive of ``files`` below ``root``, each folder before its contents; dates, owners, modes are fixed."""
    # Belong to the base image, and an entry here would change them.
    known = {"/".join(root.split("/")[:depth]) for depth in range(1, root.count("/") + 1)}
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:

        def add(name: str, kind: bytes, mode: int, data: bytes = b"") -> None:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode, entry.size, entry.mtime = kind, mode, len(data), DATE
            archive.addfile(entry, BytesIO(data))

        known.add(root)
        add(root, tarfile.DIRTYPE, 0o755)  # an empty archive would be treated as a file
        for name, data in sorted(files):
            folders = f"{root}/{name}".split("/")[:-1]
            for depth in range(1, len(folders) + 1):
                if (folder := "/".join(folders[:depth])) not in known:
                    known.add(folder)
                    add(folder, tarfile.DIRTYPE, 0o755)
            add(f"{root}/{name}", tarfile.REGTYPE, 0o755 if name in programs else 0o644, data)


def share(kept: Path, path: Path) -> None:
    """Make the kept file available at ``path``: as a hard link if the file system supports it, else as a copy."""
    try:
        path.hardlink_to(kept)
    except OSError:
        shutil.copyfile(kept, path)
