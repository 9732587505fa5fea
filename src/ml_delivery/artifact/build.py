"""The artifact: dependencies, source, models and what release they are of, packed as the target needs it."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ml_delivery import models, source
from ml_delivery.artifact import bundle as bundling
from ml_delivery.artifact import packers
from ml_delivery.artifact.packers import Content, Ingredients, Layer
from ml_delivery.dependencies.envs import find_python
from ml_delivery.errors import BuildError, SetupError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ml_delivery.config import Config
    from ml_delivery.source import Source

__all__ = ["DIRECT_LIMIT", "UNZIPPED_LIMIT", "Content", "Manifest", "build"]

FOLDER = "build"
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html: 250 MB unzipped, however it is uploaded.
UNZIPPED_LIMIT = 250 * 1024 * 1024
DIRECT_LIMIT = 50 * 1024 * 1024  # zipped, in a request; a larger one goes through S3
LOCK = "requirements/serve.txt"
DELIVERY = ("ml_delivery", "embedded_aws")  # may lie in src/ too, and serve nothing


@dataclass(frozen=True)
class Manifest:
    """What was built, and from what; ``build/manifest.json``.

    Attributes:
        version: the source's (``Source.version``); ``commit``, ``tree`` and ``dirty`` are its parts.
        digest: sha256 of the ZIP, or the image's id in the engine; ``code_sha256`` is the ZIP's as Lambda writes it.
        size, unzipped: bytes; of an image, what we add to its base.
        content: digest of what is in it, which the service answers at ``/version``.
        lock: digest of the dependency lock; ``sbom``: of the bill of materials beside it.
        model: digest of the primary model; empty without one.
        image: its name in the engine, and ``layers`` those that we add; both empty for a ZIP.
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
    image: str = ""
    layers: tuple[Layer, ...] = ()

    @classmethod
    def load(cls, root: Path) -> Manifest:
        """The manifest of the last build in ``root``.

        Raises:
            BuildError: there is none, or its artifact is gone.
        """
        path = root / FOLDER / "manifest.json"
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            parts = {"contents": (Content, fields["contents"]), "layers": (Layer, fields["layers"])}
            manifest = cls(**fields | {name: tuple(kind(**f) for f in found) for name, (kind, found) in parts.items()})
        except FileNotFoundError as error:
            raise BuildError("nothing has been built yet", next="invoke build") from error
        except (ValueError, TypeError, KeyError) as error:
            raise BuildError(f"{FOLDER}/manifest.json is damaged", next="invoke build") from error
        if not manifest.image and not (root / FOLDER / "artifact.zip").is_file():
            raise BuildError(f"{FOLDER}/artifact.zip is gone", next="invoke build")
        return manifest


def build(config: Config) -> Manifest:
    """Build the artifact from the lock and the tree; write its manifest and its SBOM beside it, in ``build/``.

    The former build stays as it is until the new one is whole.

    Raises:
        BuildError: a dependency has no wheel for Lambda, the artifact is over its budget or Lambda's limit (names what
            weighs most), or it can't be packed.
        ModelError: no model, or not the one that ``model.lock`` names.
        SourceError: no repository or no commit.
        SetupError: wheels can't be fetched, no interpreter of the target's version, no engine for an image, or the disk
            is full.
    """
    try:
        return _build(config)
    except OSError as error:
        what = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "a file can't be read or written"
        raise SetupError(f"{what}: {error}", next="mend that, then invoke build; the former build is whole") from error


def _build(config: Config) -> Manifest:
    root = config.root
    tree = source.read(root)
    promoted = models.promoted(root, required=bool(config.promote.command))
    made = _gather(config, tree, promoted)
    _weigh(config, made)
    folder = root / FOLDER
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".new-") as scratch:
        packed = packers.load(config.service.target).pack(config, made, Path(scratch))
        manifest = Manifest(
            version=tree.version,
            commit=tree.commit,
            tree=tree.tree,
            dirty=tree.dirty,
            digest=packed.digest,
            code_sha256=packed.code_sha256,
            size=packed.size,
            unzipped=sum(c.size for c in packed.contents),
            content=made.content,
            lock=_digest((root / LOCK).read_bytes()),
            sbom=_digest(made.bundle.sbom.encode()),
            model=promoted[0].digest if promoted else "",
            python=config.service.python,
            architecture=config.service.architecture,
            contents=packed.contents,
            image=packed.image,
            layers=packed.layers,
        )
        (folder / "manifest.json").unlink(missing_ok=True)  # never beside an artifact that it does not describe
        for file, name in packed.files:
            shutil.move(file, folder / name)
    (folder / "sbom.cdx.json").write_text(made.bundle.sbom, encoding="utf-8")
    written = folder / "manifest.json.new"
    written.write_text(json.dumps(asdict(manifest), indent=1) + "\n", encoding="utf-8")
    written.replace(folder / "manifest.json")
    return manifest


def _gather(config: Config, tree: Source, promoted: list[models.Promoted]) -> Ingredients:
    """All that goes in, and the digest of it, which the service answers at ``/version``."""
    root = config.root
    bundle = bundling.make(config, root / LOCK)
    files = list(_source(root))
    named = [*(m.file for m in promoted), models.LOCK] if promoted else []
    model = [(name, (root / name).read_bytes()) for name in named]
    own = [(name, file.read_bytes()) for name, file in files]
    modules = [(name, "", str(file)) for name, file in files if name.endswith(".py")]
    own += bundling.compiled(modules, find_python(config.service.python))
    listed = {part.entry.path: part.digest for part in bundle.parts}
    listed |= {name: hashlib.sha256(data).hexdigest() for name, data in [*model, *own]}
    content = _digest("".join(f"{digest}  {name}\n" for name, digest in sorted(listed.items())).encode())
    release = {
        "commit": tree.commit,
        "version": tree.version,
        "model": promoted[0].digest if promoted else "",
        "content": content,
    }
    own.append(("release.json", json.dumps(release, indent=1).encode() + b"\n"))
    return Ingredients(bundle, model, own, tree.version, tree.commit, content)


def _weigh(config: Config, made: Ingredients) -> None:
    """Whether what goes in is within the service's own budget and Lambda's limit.

    Raises:
        BuildError: it is not; names the largest layers and packages.
    """
    contents = made.contents(config.service.name)
    total, budget = sum(c.size for c in contents), config.build.budget
    limits = [(budget * 10**6, f"build.budget is {budget} MB")]
    if config.service.target == "lambda-zip":
        limits.append((UNZIPPED_LIMIT, "Lambda takes 250 MB"))
    for limit, words in limits:
        if total > limit:
            layers = {
                "dependencies": sum(part.entry.size for part in made.bundle.parts),
                "model": sum(len(data) for _, data in made.model),
                "source": sum(len(data) for _, data in made.source),
            }
            heaviest = ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in layers.items())
            raise BuildError(
                f"the artifact has {total / 1e6:.0f} MB unpacked, {words}: {heaviest}; most weigh "
                + ", ".join(f"{c.package} {c.size / 1e6:.0f} MB" for c in contents[:5]),
                next="drop a dependency, or leave files out with build.exclude in pipeline.toml",
            )


def _source(root: Path) -> Iterator[tuple[str, Path]]:
    """The files of every package below ``src/`` that git knows or would, sorted: (path in the artifact, file).

    What git ignores is not in the source's digest, so it must not be in the artifact either; nor what only delivers.
    """
    for name in source.files(root, "src"):
        if (root / name).is_file() and name.split("/")[1] not in DELIVERY:
            yield name.removeprefix("src/"), root / name


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
