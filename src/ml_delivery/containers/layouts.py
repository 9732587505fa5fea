"""An image as files, in OCI's layout: written by a build without a container engine, read by a push.

https://github.com/opencontainers/image-spec/blob/main/image-layout.md. The base's layers are not among the files, as the
layout permits: a build does not need them, and a push takes them from the base's registry when they are missing in ECR.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ml_delivery.containers.bases import OCI, Descriptor
from ml_delivery.errors import BuildError

if TYPE_CHECKING:
    from pathlib import Path

    from ml_delivery.containers.bases import Base
    from ml_delivery.containers.layers import Archive

__all__ = ["LAYOUT", "Layout", "share", "write"]

LAYOUT = "image"  # its folder in build/
GZIP = f"{OCI}.layer.v1.tar+gzip"
COMMENT = "ml-delivery"


@dataclass(frozen=True)
class Layout:
    """An image in the layout ``folder``: the bytes of its manifest, what that refers to, and the ids of its layers."""

    folder: Path
    manifest: bytes
    config: Descriptor
    layers: tuple[Descriptor, ...]
    unpacked: tuple[str, ...]

    @classmethod
    def open(cls, folder: Path, digest: str) -> Layout:
        """The image whose manifest has this digest.

        Raises:
            BuildError: it is not there, or was altered.
        """
        manifest = _checked(folder, digest)
        document = json.loads(manifest)
        config, *layers = (
            Descriptor(one["mediaType"], one["digest"], one["size"])
            for one in (document["config"], *document["layers"])
        )
        ids = json.loads(_checked(folder, config.digest))["rootfs"]["diff_ids"]
        return cls(folder, manifest, config, tuple(layers), tuple(ids))

    def file(self, blob: Descriptor) -> Path | None:
        """The file of a blob; None for a layer of the base.

        Raises:
            BuildError: it was altered.
        """
        path = _blob(self.folder, blob.digest)
        if not path.exists():
            return None
        with path.open("rb") as file:
            if f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}" != blob.digest:
                raise _altered(path)
        return path


def write(
    folder: Path,
    base: Base,
    added: dict[str, Archive],
    config: dict[str, Any],
    history: list[tuple[str, str]],
    created: int,
    name: str,
) -> str:
    """Write an image into ``folder``, which is emptied; returns its manifest's digest.

    Args:
        folder: the layout.
        base: its base image.
        added: the archives by the names that ``history`` has for them.
        config, history: as ``dockerfile.configured`` returned them.
        created: its time, in seconds since 1970.
        name: what it is called in the layout's index.
    """
    shutil.rmtree(folder, ignore_errors=True)
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)
    layers = [added[archive] for _, archive in history if archive]
    for layer in layers:
        share(layer.path, _blob(folder, layer.digest))
    time = datetime.fromtimestamp(created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    steps = [
        {"created": time, "created_by": step, "comment": COMMENT, "empty_layer": not archive}
        for step, archive in history
    ]
    platform: dict[str, Any] = {
        n: base.config[n] for n in ("architecture", "os", "os.version", "variant") if n in base.config
    }
    image = {
        **platform,
        "created": time,
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [*base.unpacked, *(layer.unpacked for layer in layers)]},
        "history": [*base.config.get("history", ()), *steps],
    }
    described = _put(folder, f"{OCI}.config.v1+json", image)
    ours = [Descriptor(GZIP, layer.digest, layer.size) for layer in layers]
    manifest = _put(
        folder,
        f"{OCI}.manifest.v1+json",
        {
            "schemaVersion": 2,
            "mediaType": f"{OCI}.manifest.v1+json",
            "config": described.document,
            "layers": [layer.document for layer in (*base.layers, *ours)],
        },
    )
    (folder / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))
    entry = {**manifest.document, "annotations": {"org.opencontainers.image.ref.name": name}, "platform": platform}
    index = {"schemaVersion": 2, "mediaType": f"{OCI}.index.v1+json", "manifests": [entry]}
    (folder / "index.json").write_bytes(_json(index))
    return manifest.digest


def _put(folder: Path, media: str, document: dict[str, Any]) -> Descriptor:
    content = _json(document)
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    _blob(folder, digest).write_bytes(content)
    return Descriptor(media, digest, len(content))


def _json(document: dict[str, Any]) -> bytes:
    """The same bytes for the same document."""
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _blob(folder: Path, digest: str) -> Path:
    return folder / "blobs" / digest.replace(":", "/")


def _checked(folder: Path, digest: str) -> bytes:
    path = _blob(folder, digest)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BuildError(f"build/{folder.name} is not of the last build", next="invoke build") from error
    if f"sha256:{hashlib.sha256(content).hexdigest()}" != digest:
        raise _altered(path)
    return content


def _altered(path: Path) -> BuildError:
    return BuildError(f"{path} was altered after it was built", next="invoke build")


def share(kept: Path, path: Path) -> None:
    """Make the kept file available at ``path``: as a hard link if the file system supports it, else as a copy."""
    try:
        path.hardlink_to(kept)
    except OSError:
        shutil.copyfile(kept, path)
