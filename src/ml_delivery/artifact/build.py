"""Builds the artifact: dependencies, source, models and ``release.json``, packed as the target needs it."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ml_delivery import formats, models, source, target
from ml_delivery.artifact import provenance
from ml_delivery.dependencies.envs import find_python
from ml_delivery.errors import BuildError, CloudError, SetupError
from ml_delivery.packing import bundle as bundling
from ml_delivery.packing import sbom
from ml_delivery.packing.ingredients import Ingredients
from ml_delivery.records import Limit, Manifest

if TYPE_CHECKING:
    from ml_delivery.config import Config
    from ml_delivery.records import Source
    from ml_delivery.target import Target

__all__ = ["FOLDER", "build", "last"]

FOLDER = "build"
LOCK = "requirements/serve.txt"
DELIVERY = ("src/ml_delivery", "src/embedded_aws")  # these may be in src/ too, and are not part of the service


def last(root: Path) -> Manifest:
    """The manifest of the last build in ``root``.

    Raises:
        BuildError: there is none, it can't be read, or its artifact no longer exists.
    """
    path = root / FOLDER / "manifest.json"
    try:
        manifest = formats.manifest(path.name, formats.read(path.name, path.read_bytes()))
    except FileNotFoundError as error:
        raise BuildError("nothing has been built yet", next="invoke build") from error
    except CloudError as error:
        raise BuildError(f"{FOLDER}/{error.message}", next="invoke build") from error
    if not manifest.image and not (root / FOLDER / "artifact.zip").is_file():
        raise BuildError(f"{FOLDER}/artifact.zip does not exist", next="invoke build")
    return manifest


def build(config: Config, branch: str = "") -> Manifest:
    """Build the artifact from the lockfile and the tree into ``build/``, with its manifest and its SBOM.

    The previous build is unchanged until the new one is complete.

    Args:
        config: the service's configuration.
        branch: selects the environment, and so the target; empty means the branch that is checked out. Without an
            environment, it is built for ``service.target``.

    Raises:
        BuildError: a dependency has no wheel for the target, the artifact exceeds its budget or the target's limit (the
            message names the largest packages), or it can't be packed.
        ModelError: there is no model, or it differs from ``model.lock``.
        SourceError: there is no repository or no commit.
        SetupError: wheels can't be fetched, there is no interpreter of the target's version, no container engine for an
            image, or the disk is full.
    """
    try:
        return _build(config, branch)
    except OSError as error:
        what = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "a file can't be read or written"
        raise SetupError(
            f"{what}: {error}", next="fix that, then invoke build; the previous build is unchanged"
        ) from error


def _build(config: Config, branch: str) -> Manifest:
    root = config.root
    tree = source.read(root)
    names = {environment.branch: environment.target for environment in config.environments.values()}
    name = names.get(branch or tree.branch, config.service.target)
    kind = target.load(name, config)
    promoted = models.promoted(root, required=bool(config.promote.command))
    made = _gather(config, kind, tree, promoted)
    _check_size(config, kind, made)
    bill = sbom.complete(made.bundle.sbom, tree.version, promoted)
    folder = root / FOLDER
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".new-") as scratch:
        packed = kind.pack(config, made, Path(scratch))
        manifest = Manifest(
            version=tree.version,
            commit=tree.commit,
            tree=tree.tree,
            dirty=tree.dirty,
            target=name,
            digest=packed.digest,
            size=packed.size,
            unzipped=sum(c.size for c in packed.contents),
            content=made.content,
            lock=_digest((root / LOCK).read_bytes()),
            sbom=_digest(bill.encode()),
            model=promoted[0].digest if promoted else "",
            python=config.service.python,
            interpreter=made.bundle.interpreter,
            architecture=config.service.architecture,
            contents=packed.contents,
            image=packed.image,
            layers=packed.layers,
            base=packed.base,
            base_layers=packed.base_layers,
            **provenance.here(),
        )
        (folder / "manifest.json").unlink(missing_ok=True)  # never next to an artifact that it does not describe
        for file, place in packed.files:
            shutil.move(file, folder / place)
    (folder / "sbom.cdx.json").write_text(bill, encoding="utf-8")
    written = folder / "manifest.json.new"
    written.write_bytes(formats.dump(manifest))
    written.replace(folder / "manifest.json")
    return manifest


def _gather(config: Config, kind: Target, tree: Source, promoted: list[models.Promoted]) -> Ingredients:
    """Everything that goes into the artifact, and its digest, which the service returns at ``/version``."""
    root = config.root
    python = find_python(config.service.python)
    bundle = bundling.make(config, root / LOCK, python, kind.glibc(config.service.python), kind.provided)
    files = dict(source.packed(root, tree, ("src", models.LOCK), DELIVERY))
    lock = files.pop(models.LOCK, b"") or (root / models.LOCK).read_bytes() if promoted else b""
    model = [*((m.file, (root / m.file).read_bytes()) for m in promoted), (models.LOCK, lock)] if promoted else []
    own = [(name.removeprefix("src/"), data) for name, data in files.items() if name.startswith("src/")]
    own += _compiled(own, python)
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
    return Ingredients(bundle, model, own, tree.version, tree.commit, source.time_of(root, tree.commit), content)


def _check_size(config: Config, kind: Target, made: Ingredients) -> None:
    """Check that the artifact is within the service's budget and the target's limits.

    Raises:
        BuildError: it is not; the message names the largest parts and packages.
    """
    contents = made.contents(config.service.name)
    total, budget = sum(c.size for c in contents), config.build.budget
    for limit in (Limit(budget * 10**6, f"build.budget is {budget} MB"), *kind.limits(config)):
        if total > limit.size:
            parts = ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in made.weights().items())
            largest = ", ".join(f"{c.package} {c.size / 1e6:.0f} MB" for c in contents[:5])
            raise BuildError(
                f"the artifact has {total / 1e6:.0f} MB unpacked, {limit.reason}: {parts}; the largest packages are {largest}",
                next="remove a dependency, or exclude files with build.exclude in pipeline.toml",
            )


def _compiled(files: list[tuple[str, bytes]], python: Path) -> list[tuple[str, bytes]]:
    """Bytecode of the modules among ``files``, of their content here, not of what is on the disk."""
    with tempfile.TemporaryDirectory() as scratch:
        modules = []
        for number, (name, data) in enumerate(files):
            if name.endswith(".py"):
                file = Path(scratch, str(number))
                file.write_bytes(data)
                modules.append((name, "", str(file)))
        return bundling.compiled(modules, python)


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
