"""Builds the artifact: dependencies, source, models and ``release.json``, packed as the target needs it."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ml_delivery import config as configuration
from ml_delivery import files, formats, models, source, target
from ml_delivery.artifact import provenance
from ml_delivery.dependencies import pyproject
from ml_delivery.dependencies.envs import find_python
from ml_delivery.errors import BuildError, CloudError, SetupError
from ml_delivery.packing import bundle as bundling
from ml_delivery.packing import sbom
from ml_delivery.packing.ingredients import Ingredients, of_the_service
from ml_delivery.records import Limit, Manifest

if TYPE_CHECKING:
    from ml_delivery.config import Config
    from ml_delivery.files import Files
    from ml_delivery.records import Source
    from ml_delivery.target import Target

__all__ = ["FOLDER", "build", "kind_of", "last"]

FOLDER = "build"
SPARE = ".spare"  # the previous build's files, which are written over: to free and to allocate 50 MB takes as long as the rest
LOCK = "requirements/serve.txt"
RELEASE = "release.json"
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
        BuildError: a declared dependency is not locked, one has no wheel for the target, the artifact exceeds its budget or the
            target's limit (the message names the largest packages), or it can't be packed.
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


def kind_of(config: Config, branch: str) -> str:
    """The target that is built for on ``branch``; without an environment, the service's."""
    names = {environment.branch: environment.target for environment in config.environments.values()}
    return names.get(branch, config.service.target)


def _build(config: Config, branch: str) -> Manifest:
    root = config.root
    tree = source.read(root)
    name = kind_of(config, branch or tree.branch)
    kind = target.load(name, config)
    folder = root / FOLDER
    folder.mkdir(exist_ok=True)
    new, temporary = tempfile.TemporaryDirectory(dir=folder, prefix=".new-"), tempfile.TemporaryDirectory()
    with files.opened(root, tree) as held, new as scratch, temporary as inputs:
        held.require_same(configuration.FILE)
        _require(held, kind.needs(), name)
        for spare in (folder / SPARE).glob("*"):
            spare.replace(Path(scratch, spare.name))
        promoted = models.promoted(root, required=bool(config.promote.command), files=held)
        made = _gather(config, kind, tree, held, promoted, Path(inputs), Path(scratch))
        _check_size(config, kind, made)
        bill = sbom.complete(made.bundle.sbom, tree.version, promoted)
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
            lock=_digest(held.one(LOCK)),
            sbom=_digest(bill.encode()),
            model=promoted[0].digest if promoted else "",
            python=config.service.python,
            interpreter=made.bundle.interpreter,
            architecture=config.service.architecture,
            contents=packed.contents,
            image=packed.image,
            layers=packed.layers,
            differences=made.differences(config.service.name),
            base=packed.base,
            base_layers=packed.base_layers,
            engine=packed.engine,
            **provenance.here(),
        )
        (folder / "manifest.json").unlink(missing_ok=True)  # never next to an artifact that it does not describe
        for file, place in packed.files:
            if (folder / place).exists():
                (folder / SPARE).mkdir(exist_ok=True)
                (folder / place).replace(folder / SPARE / place)
            shutil.move(file, folder / place)
    (folder / "sbom.cdx.json").write_text(bill, encoding="utf-8")
    written = folder / "manifest.json.new"
    written.write_bytes(formats.dump(manifest))
    written.replace(folder / "manifest.json")
    return manifest


def _require(held: Files, needed: tuple[str, ...], name: str) -> None:
    """Check, before anything is fetched, that the source has the files that the target ``name`` builds from.

    Raises:
        BuildError: one is missing.
        SourceError: one is not in the commit.
    """
    for file in needed:
        try:
            held.one(file)
        except FileNotFoundError as error:
            brings = f"add {file}" if ":" in name else f"invoke upgrade --target {name}"
            raise BuildError(f"there is no {file}, from which the target {name} builds", next=brings) from error


def _gather(
    config: Config,
    kind: Target,
    tree: Source,
    held: Files,
    promoted: list[models.Promoted],
    inputs: Path,
    scratch: Path,
) -> Ingredients:
    """Everything that goes into the artifact, and its digest, which the service returns at ``/version``."""
    python = find_python(config.service.python)
    lock = _locked(config.root, held, inputs)
    model = [*((m.file, m.content) for m in promoted), (models.LOCK, held.one(models.LOCK))] if promoted else []
    made = {RELEASE, *(name for name, _ in model)}
    own = [(name.removeprefix(source.PACKED), data) for name, data in held.below("src", DELIVERY).items()]
    own, left_out = of_the_service(own, made, config.build.exclude)
    taken = frozenset([*made, *(name for name, _ in own)])
    bundle = bundling.make(config, lock, python, kind.glibc(config.service.python), kind.provided, taken)
    begun = kind.begin(bundle, scratch)
    own += _compiled(own, python, inputs)
    listed = bundle.listed | {name: hashlib.sha256(data).hexdigest() for name, data in [*model, *own]}
    content = _digest("".join(f"{digest}  {name}\n" for name, digest in sorted(listed.items())).encode())
    release = {
        "commit": tree.commit,
        "version": tree.version,
        "model": promoted[0].digest if promoted else "",
        "content": content,
    }
    own.append((RELEASE, json.dumps(release, indent=1).encode() + b"\n"))
    return Ingredients(bundle, model, own, tree.version, tree.commit, held.time, content, held, begun, left_out)


def _locked(root: Path, held: Files, inputs: Path) -> Path:
    """The source's lockfile, in the folder ``inputs``, beside its ``pyproject.toml``.

    Raises:
        BuildError: there is none, or it lacks, or contradicts, what ``pyproject.toml`` declares.
    """
    path = inputs / Path(LOCK).name
    try:
        path.write_bytes(held.one(LOCK))
    except FileNotFoundError as error:
        raise BuildError(f"{LOCK} can't be read: there is none", next=pyproject.how(root)) from error
    try:
        declared = held.one(pyproject.FILE).decode("utf-8-sig")
    except FileNotFoundError:
        return path
    (inputs / pyproject.FILE).write_text(declared, encoding="utf-8")
    if requirements := pyproject.unconfirmed(declared, path.read_text(encoding="utf-8-sig")):
        from ml_delivery.dependencies import locks  # with a parser of requirements, which few builds need

        if problems := locks.unlocked(LOCK, requirements, locks.read(path, root)):
            raise BuildError("; ".join(map(locks.shown, problems)), next=pyproject.how(root))
    return path


def _check_size(config: Config, kind: Target, made: Ingredients) -> None:
    """Check that the artifact is within the service's budget and the target's limits.

    Raises:
        BuildError: it is not; the message names the largest parts and packages.
    """
    contents = made.contents(config.service.name)
    total, budget = sum(c.size for c in contents), config.build.budget
    limits = (
        Limit(budget * 10**6, f"build.budget is {budget} MB", "raise build.budget, where the service needs it"),
        *kind.limits(config),
    )
    if exceeded := [limit for limit in limits if total > limit.size]:
        reasons = " and ".join(limit.reason for limit in exceeded)
        parts = ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in made.weights().items())
        largest = ", ".join(f"{c.package} {c.size / 1e6:.0f} MB" for c in contents[:5])
        raise BuildError(
            f"the artifact has {total / 1e6:.0f} MB unpacked, {reasons}: {parts}; the largest packages are {largest}",
            next="remove a dependency, or exclude files with build.exclude in pipeline.toml"
            + (f"; or {exceeded[-1].instead}" if exceeded[-1].instead else ""),
        )


def _compiled(own: list[tuple[str, bytes]], python: Path, inputs: Path) -> list[tuple[str, bytes]]:
    """Bytecode of the modules among ``own``, of their content here, not of what is on the disk."""
    modules = []
    for number, (name, data) in enumerate(own):
        if name.endswith(".py"):
            file = inputs / str(number)
            file.write_bytes(data)
            modules.append((name, "", str(file)))
    return bundling.compiled(modules, python)


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
