"""Base images, read from their registries: manifest and configuration for a build, layers for a push; kept by digest.

The protocol: https://github.com/opencontainers/distribution-spec/blob/main/spec.md. Everything is compared with its digest
when it arrives, and again when it is used.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_delivery.containers.reading import DIGEST, Name, Reader
from ml_delivery.dependencies import envs
from ml_delivery.errors import BuildError, SetupError
from ml_delivery.packing.bundle import altered

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Base", "Descriptor", "layer", "read"]

OCI = "application/vnd.oci.image"
DOCKER = "application/vnd.docker"
INDEXES = (f"{OCI}.index.v1+json", f"{DOCKER}.distribution.manifest.list.v2+json")
MANIFESTS = (f"{OCI}.manifest.v1+json", f"{DOCKER}.distribution.manifest.v2+json")
# The same bytes under OCI's names: https://github.com/opencontainers/image-spec/blob/main/media-types.md#compatibility-matrix
LAYERS = {
    f"{DOCKER}.image.rootfs.diff.tar.gzip": f"{OCI}.layer.v1.tar+gzip",
    f"{DOCKER}.image.rootfs.diff.tar": f"{OCI}.layer.v1.tar",
    **{name: name for name in (f"{OCI}.layer.v1.tar+gzip", f"{OCI}.layer.v1.tar", f"{OCI}.layer.v1.tar+zstd")},
}
SMALL = 4 << 20  # bytes of a manifest or a configuration, at most


@dataclass(frozen=True)
class Descriptor:
    """A blob: OCI's media type of it, its digest, and its size in bytes."""

    media: str
    digest: str
    size: int

    @property
    def document(self) -> dict[str, Any]:
        """As it is written in a manifest."""
        return {"mediaType": self.media, "digest": self.digest, "size": self.size}


@dataclass(frozen=True)
class Base:
    """A base image: its name with the digest that it was found under, its layers, and its configuration."""

    name: str
    layers: tuple[Descriptor, ...]
    config: dict[str, Any]

    @property
    def unpacked(self) -> tuple[str, ...]:
        """The digests of its unpacked layers."""
        return tuple(self.config["rootfs"]["diff_ids"])


def read(root: Path, name: str, architecture: str) -> Base:
    """The base image ``name`` for ``architecture``, ``amd64`` or ``arm64``.

    A tag is looked up at each build; where its registry does not answer, it is what it was when it last did. What a digest
    names is read from the cache.

    Raises:
        SetupError: it can't be had from here: no registry answers, or it has no such image, or not for everyone.
        BuildError: it is not for this architecture, is damaged, or a kept part of it was altered.
    """
    image, kept = Name.parse(name), _Kept(root)
    reader = Reader(image)
    found = image.digest or _named(reader, kept)
    try:
        manifest = json.loads(kept.document(reader, f"manifests/{found}", found))
        if manifest.get("mediaType") in INDEXES or "manifests" in manifest:
            one = _chosen(image, manifest, architecture)
            manifest = json.loads(kept.document(reader, f"manifests/{one}", one))
        digest = manifest["config"]["digest"]
        config = json.loads(kept.document(reader, f"blobs/{digest}", digest))
        layers = tuple(
            Descriptor(LAYERS[one["mediaType"]], _digest(one["digest"]), int(one["size"])) for one in manifest["layers"]
        )
        whole = len(config["rootfs"]["diff_ids"]) == len(layers) and not any(
            "urls" in one for one in manifest["layers"]
        )
        made_for = config["architecture"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _strange(image, f"{type(error).__name__}: {error}") from error
    if not whole:
        raise _strange(image, "its layers are not those that its configuration names")
    if made_for != architecture:
        raise other_architecture(made_for, architecture)
    return Base(f"{name.partition('@')[0]}@{found}", layers, config)


def layer(root: Path, base: str, wanted: Descriptor) -> Path:
    """The file of a layer of the base image ``base``, downloaded if it is not kept.

    Raises:
        SetupError, BuildError: as ``read``.
    """
    image, kept = Name.parse(base), _Kept(root)
    path = kept.path(wanted.digest)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.{os.getpid()}")
        try:
            Reader(image).download(f"blobs/{wanted.digest}", wanted.digest, wanted.size, temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        return path
    with path.open("rb") as file:
        if f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}" != wanted.digest:
            raise altered(path)
    return path


def other_architecture(found: str, wanted: str) -> BuildError:
    """The fault of a base image that is for another architecture."""
    ours = {"amd64": "x86_64"}.get(wanted, wanted)
    return BuildError(
        f"the base image is for {found}, service.architecture is {ours}",
        next="set build.base in pipeline.toml to an image for it, or change service.architecture",
    )


class _Kept:
    """What is kept of base images: blobs and manifests by their digest, and the last digest of each tag."""

    def __init__(self, root: Path) -> None:
        self._folder = envs.cache(root) / "bases"

    def path(self, digest: str) -> Path:
        return self._folder / "blobs" / _digest(digest).replace(":", "-")

    def document(self, reader: Reader, path: str, digest: str) -> bytes:
        """A manifest or a configuration."""
        file = self.path(digest)
        if file.exists():
            content = file.read_bytes()
            if f"sha256:{hashlib.sha256(content).hexdigest()}" != digest:
                raise altered(file)
            return content
        content = reader.document(path, digest, (*INDEXES, *MANIFESTS), SMALL)
        _write(file, content)
        return content

    def tag(self, image: Name) -> Path:
        return self._folder / "tags" / hashlib.sha256(str(image).encode()).hexdigest()


def _digest(text: str) -> str:
    """The text, which must be a sha256 with its name: it becomes a part of addresses and file names."""
    if not DIGEST.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is not a sha256")
    return text


def _named(reader: Reader, kept: _Kept) -> str:
    """The digest of the image's tag; where the registry can't be asked, the last one that it had."""
    file = kept.tag(reader.image)
    try:
        found = reader.digest((*INDEXES, *MANIFESTS), SMALL)
    except SetupError as error:
        if not reader.unanswered or not file.exists():
            raise error
        return file.read_text(encoding="utf-8")
    _write(file, found.encode())
    return found


def _chosen(image: Name, index: dict[str, Any], architecture: str) -> str:
    """The digest of an index's manifest for this architecture."""
    platforms = [(one.get("platform", {}), str(one["digest"])) for one in index["manifests"]]
    for platform, digest in platforms:
        if (platform.get("os"), platform.get("architecture")) == ("linux", architecture):
            return digest
    known = {str(p.get("architecture")) for p, _ in platforms} - {"unknown"}  # that of attestations
    raise other_architecture(" and ".join(sorted(known)) or "no architecture", architecture)


def _strange(image: Name, why: str) -> BuildError:
    return BuildError(
        f"the base image {image} can't be read: {why}",
        next="set build.base in pipeline.toml to an image in OCI's format or Docker's version 2",
    )


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(path)
