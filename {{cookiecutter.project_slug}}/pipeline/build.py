"""The artifact: dependencies, source, models and what release they are of, as one reproducible ZIP."""

from __future__ import annotations

import base64
import errno
import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import bundle as bundling
from pipeline import models, source
from pipeline.archive import Writer
from pipeline.envs import find_python
from pipeline.errors import BuildError, SetupError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.bundle import Bundle
    from pipeline.config import Config
    from pipeline.source import Source

__all__ = ["DIRECT_LIMIT", "UNZIPPED_LIMIT", "Content", "Manifest", "build"]

FOLDER = "build"
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html: 250 MB unzipped, however it is uploaded.
UNZIPPED_LIMIT = 250 * 1024 * 1024
DIRECT_LIMIT = 50 * 1024 * 1024  # zipped, in a request; a larger one goes through S3
LOCK = "requirements/serve.txt"


@dataclass(frozen=True)
class Content:
    """A package's share of the artifact: files, and bytes unzipped and zipped."""

    package: str
    files: int
    size: int
    zipped: int


@dataclass(frozen=True)
class Manifest:
    """What was built, and from what; ``build/manifest.json``.

    Attributes:
        version: the source's (``Source.version``); ``commit``, ``tree`` and ``dirty`` are its parts.
        digest: sha256 of the ZIP; ``code_sha256`` is the same as Lambda writes it.
        size, unzipped: bytes.
        content: digest of what is in it, which the service answers at ``/version``.
        lock: digest of the dependency lock; ``sbom``: of the bill of materials beside it.
        model: digest of the primary model.
    """

    version: str
    commit: str
    tree: str
    dirty: bool
    digest: str
    code_sha256: str
    size: int
    unzipped: int
    content: str
    lock: str
    sbom: str
    model: str
    python: str
    architecture: str
    contents: tuple[Content, ...]

    @classmethod
    def load(cls, root: Path) -> Manifest:
        """The manifest of the last build in ``root``.

        Raises:
            BuildError: there is none, or its artifact is gone.
        """
        path = root / FOLDER / "manifest.json"
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            manifest = cls(**{**fields, "contents": tuple(Content(**c) for c in fields["contents"])})
        except FileNotFoundError as error:
            raise BuildError("nothing has been built yet", next="invoke build") from error
        except (ValueError, TypeError, KeyError) as error:
            raise BuildError(f"{FOLDER}/manifest.json is damaged", next="invoke build") from error
        if not (root / FOLDER / "artifact.zip").is_file():
            raise BuildError(f"{FOLDER}/artifact.zip is gone", next="invoke build")
        return manifest


def build(config: Config) -> Manifest:
    """Build ``build/artifact.zip`` from the lock and the tree; write its manifest and its SBOM beside it.

    The former build stays as it is until the new one is whole.

    Raises:
        BuildError: a dependency has no wheel for Lambda, or the artifact is over Lambda's limit; names what weighs most.
        ModelError: no model, or not the one that ``model.lock`` names.
        SourceError: no repository or no commit.
        SetupError: wheels can't be fetched, no interpreter of the target's version, or the disk is full.
    """
    try:
        return _build(config)
    except OSError as error:
        what = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "a file can't be read or written"
        raise SetupError(f"{what}: {error}", next="mend that, then invoke build; the former build is whole") from error


def _build(config: Config) -> Manifest:
    root = config.root
    tree = source.read(root)
    promoted = models.promoted(root)
    bundle = bundling.make(config, root / LOCK)
    folder = root / FOLDER
    folder.mkdir(exist_ok=True)
    temporary = folder / "artifact.zip.new"
    try:
        digest, content, contents = _write(config, tree, bundle, promoted, temporary)
        unzipped = sum(c.size for c in contents)
        if unzipped > UNZIPPED_LIMIT:
            raise BuildError(
                f"the artifact has {unzipped / 2**20:.0f} MB unzipped, Lambda takes 250 MB; most weigh "
                + ", ".join(f"{c.package} {c.size / 2**20:.0f} MB" for c in contents[:5]),
                next="drop a dependency, or leave files out with build.exclude in pipeline.toml",
            )
        manifest = Manifest(
            version=tree.version,
            commit=tree.commit,
            tree=tree.tree,
            dirty=tree.dirty,
            digest=f"sha256:{digest.hex()}",
            code_sha256=base64.b64encode(digest).decode(),
            size=temporary.stat().st_size,
            unzipped=unzipped,
            content=content,
            lock=_digest((root / LOCK).read_bytes()),
            sbom=_digest(bundle.sbom.encode()),
            model=promoted[0].digest,
            python=config.service.python,
            architecture=config.service.architecture,
            contents=tuple(contents),
        )
        (folder / "manifest.json").unlink(missing_ok=True)  # never beside an artifact that it does not describe
        temporary.replace(folder / "artifact.zip")
    finally:
        temporary.unlink(missing_ok=True)
    (folder / "sbom.cdx.json").write_text(bundle.sbom, encoding="utf-8")
    written = folder / "manifest.json.new"
    written.write_text(json.dumps(asdict(manifest), indent=1) + "\n", encoding="utf-8")
    written.replace(folder / "manifest.json")
    return manifest


def _write(
    config: Config, tree: Source, bundle: Bundle, promoted: list[models.Promoted], path: Path
) -> tuple[bytes, str, list[Content]]:
    """Write the archive; its sha256, the digest of its content, and each package's share, heaviest first."""
    root = config.root
    parts = [(p.package, p.entry.path, p.digest, p.entry) for p in bundle.parts]
    with path.open("wb") as out, Writer(out) as writer:
        with bundle.archive.open("rb") as dependencies:
            writer.adopt(dependencies, [p.entry for p in bundle.parts])
        files = list(_source(root))
        files += [(model.file, root / model.file) for model in promoted] + [(models.LOCK, root / models.LOCK)]
        contents = [(name, file.read_bytes()) for name, file in files]
        modules = [(name, "", str(file)) for name, file in files if name.endswith(".py")]
        contents += bundling.compiled(modules, find_python(config.service.python))
        for name, data in contents:
            package = "models" if name.startswith("models/") else config.service.name
            parts.append((package, name, hashlib.sha256(data).hexdigest(), writer.add(name, data)))
        listing = "".join(f"{digest}  {name}\n" for _, name, digest, _ in sorted(parts, key=lambda p: p[1]))
        content = _digest(listing.encode())
        release = {"commit": tree.commit, "version": tree.version, "model": promoted[0].digest, "content": content}
        entry = writer.add("release.json", json.dumps(release, indent=1).encode() + b"\n")
        parts.append((config.service.name, "release.json", "", entry))
    shares: dict[str, list[int]] = {}
    for package, _, _, entry in parts:
        share = shares.setdefault(package, [0, 0, 0])
        for i, amount in enumerate((1, entry.size, entry.zipped)):
            share[i] += amount
    return (
        writer.digest.digest(),
        content,
        sorted((Content(name, *share) for name, share in shares.items()), key=lambda c: (-c.size, c.package)),
    )


def _source(root: Path) -> Iterator[tuple[str, Path]]:
    """The service's own files that git knows or would, sorted: (path in the artifact, file).

    What git ignores is not in the source's digest, so it must not be in the artifact either.
    """
    for name in source.files(root, "src/service"):
        if (root / name).is_file():
            yield name.removeprefix("src/"), root / name


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
