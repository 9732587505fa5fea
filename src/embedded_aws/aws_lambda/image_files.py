"""An image in the registry, and its files."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import tarfile
import threading
from pathlib import Path

from ministack.services import ecr

from embedded_aws.aws_lambda.execution import Fault


class Image:
    """An image in the registry: its manifest and its configuration.

    Raises:
        Fault: there is no such image, or it lacks a blob.
    """

    def __init__(self, uri: str) -> None:
        name, _, reference = uri.partition("/")[2].rpartition("@" if "@" in uri else ":")
        self.name = name
        digest, manifest, _ = ecr._resolve_manifest(name, reference) if name in ecr._repositories else (None, b"", None)
        if digest is None:
            raise Fault("InvalidImage", f"Source image {uri} does not exist. Provide a valid source image.")
        self.digest: str = digest
        self.manifest = json.loads(manifest)
        self.config_digest: str = self.manifest["config"]["digest"]
        self.settings = json.loads(self.blob(self.config_digest))

    def blob(self, digest: str) -> bytes:
        content = ecr._layer_blobs.get(self.name, {}).get(digest)
        if content is None:
            raise Fault("InvalidImage", f"{self.name} lacks {digest}")
        return bytes(content)

    @property
    def size(self) -> int:
        return sum(layer["size"] for layer in self.manifest["layers"])

    @property
    def command(self) -> list[str]:
        config = self.settings["config"]
        return [*(config.get("Entrypoint") or []), *(config.get("Cmd") or [])]

    @property
    def variables(self) -> dict[str, str]:
        return dict(text.split("=", 1) for text in self.settings["config"].get("Env") or [])

    def archive(self) -> bytes:
        """The image in the format of ``docker load``."""
        out = io.BytesIO()
        names = [layer["digest"].partition(":")[2] + ".tar" for layer in self.manifest["layers"]]
        config = self.config_digest.partition(":")[2] + ".json"
        with tarfile.open(fileobj=out, mode="w") as archive:
            members = {config: self.blob(self.config_digest)}
            members |= {n: self.blob(d["digest"]) for n, d in zip(names, self.manifest["layers"], strict=True)}
            members["manifest.json"] = json.dumps([{"Config": config, "RepoTags": None, "Layers": names}]).encode()
            for name, content in members.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
        return out.getvalue()


_unpacking = threading.Lock()


def unpacked(image: Image, roots: Path) -> Path:
    """The folder with the files of an image, unpacked once per digest.

    https://github.com/opencontainers/image-spec/blob/main/layer.md
    """
    root = roots / image.digest.partition(":")[2]
    with _unpacking:
        if not root.exists():
            temporary = root.with_suffix(".new")
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            for layer in image.manifest["layers"]:
                content = image.blob(layer["digest"])
                content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
                with tarfile.open(fileobj=io.BytesIO(content)) as archive:
                    for entry in archive:
                        folder, _, name = entry.name.rpartition("/")
                        if name == ".wh..wh..opq":
                            for inner in (temporary / folder).iterdir():
                                _remove(inner)
                        elif name.startswith(".wh."):
                            _remove(temporary / folder / name.removeprefix(".wh."))
                        else:
                            archive.extract(entry, temporary, filter="tar")
            temporary.rename(root)
    return root


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
