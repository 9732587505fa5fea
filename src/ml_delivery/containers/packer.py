"""Packs a container image: three archives, one layer each, which the service's Dockerfile adds to its base image.

Where the Dockerfile only adds them and sets the configuration, and the base image can be read from its registry, the image is
written here, without a container engine: the same bytes on any machine. Else this machine's engine builds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_delivery.containers import bases, dockerfile, engines, layers, layouts
from ml_delivery.errors import BuildError, SetupError
from ml_delivery.records import Layer, Packed

if TYPE_CHECKING:
    from pathlib import Path

    from ml_delivery.config import Config
    from ml_delivery.packing.ingredients import Ingredients

__all__ = ["Recipe", "check", "pack"]

ARCHIVES = {"dependencies": "dependencies.tar.gz", "model": "model.tar", "source": "source.tar"}
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
    """Make the image ``<service>:<version>``: as files in ``scratch``, or in this machine's container engine.

    Raises:
        SetupError: an engine is needed and none answers, it stopped answering, or its disk is full; or the base image can't be
            had, neither from its registry nor by an engine.
        BuildError: the base image is for another architecture or damaged, the engine could not build, or the kept dependencies
            were altered.
    """
    found: dict[str, layers.Archive] = {"dependencies": layers.dependencies(made.bundle, recipe.folder)}
    for name, files in (("model", made.model), ("source", made.source)):
        members = (layers.Member(path, data, path in made.programs) for path, data in sorted(files))
        found[name] = layers.write(scratch / ARCHIVES[name], members, recipe.folder)
    labels = {
        "org.opencontainers.image.title": config.service.name,
        "org.opencontainers.image.revision": made.commit,
        "org.opencontainers.image.version": made.version,
    }
    image = _Image(config, made, scratch, recipe, found, labels)
    plan = _plan(config, made.files.one(recipe.file))
    if isinstance(plan, dockerfile.Needs):
        return image.by_engine(_needed(recipe, plan))
    try:
        base = bases.read(config.root, plan.base, PLATFORMS[config.service.architecture])
    except SetupError as error:
        return image.by_engine(error)
    return image.as_files(plan, base)


def check(config: Config, recipe: Recipe) -> dict[str, str]:
    """What ``invoke doctor`` reports of the engine: which one answers; or that the Dockerfile in the tree needs none.

    Raises:
        SetupError: it needs one, and none answers; or there is no Dockerfile.
    """
    file = config.root / recipe.file
    if not file.is_file():
        raise SetupError(f"there is no {recipe.file}, which describes the image", next=f"git checkout -- {recipe.file}")
    plan = _plan(config, file.read_bytes())
    try:
        return {"answers": engines.find().name}
    except SetupError as error:
        if isinstance(plan, dockerfile.Needs):
            raise SetupError(f"{_needed(recipe, plan).message}\n  {error.message}", next=error.next) from error
        return {"answers": "none", "needed": f"no, while the registry of {plan.base} answers"}


def _plan(config: Config, text: bytes) -> dockerfile.Plan | dockerfile.Needs:
    return dockerfile.read(text.decode("utf-8-sig", "replace"), _arguments(config), frozenset(ARCHIVES.values()))


def _needed(recipe: Recipe, reason: dockerfile.Needs) -> SetupError:
    return SetupError(f"{recipe.file}, line {reason.line}, needs a container engine: {reason.what}")


def _arguments(config: Config) -> dict[str, str]:
    return {"PYTHON": config.service.python, **({"BASE": config.build.base} if config.build.base else {})}


@dataclass(frozen=True)
class _Image:
    """An image that is to be made: of what, with which layers and labels."""

    config: Config
    made: Ingredients
    scratch: Path
    recipe: Recipe
    archives: dict[str, layers.Archive]
    labels: dict[str, str]

    @property
    def tag(self) -> str:
        return f"{self.config.service.name}:{self.made.version}"

    def as_files(self, plan: dockerfile.Plan, base: bases.Base) -> Packed:
        """The image as an OCI layout."""
        done = dockerfile.configured(plan, base.config.get("config") or {}, self.recipe.folder, self.labels)
        if isinstance(done, dockerfile.Needs):
            return self.by_engine(_needed(self.recipe, done))
        by_file = {ARCHIVES[name]: archive for name, archive in self.archives.items()}
        folder = self.scratch / layouts.LAYOUT
        digest = layouts.write(folder, base, by_file, *done, self.made.time, self.tag)
        names = {file: name for name, file in ARCHIVES.items()}
        sizes = self.made.weights()
        added = [Layer(names[file], by_file[file].unpacked, sizes[names[file]]) for file in plan.archives]
        return Packed(
            digest=digest,
            size=sum(layer.size for layer in added),
            contents=self.made.contents(self.config.service.name),
            files=((folder, layouts.LAYOUT),),
            image=self.tag,
            layers=tuple(added),
            base=base.name,
            base_layers=base.unpacked,
        )

    def by_engine(self, reason: SetupError) -> Packed:
        """The image in this machine's engine, which is needed for ``reason``."""
        try:
            engine = engines.find(self.made.time)
        except SetupError as error:
            raise SetupError(f"{reason.message}\n  {error.message}", next=reason.next or error.next) from error
        service, platform = self.config.service, PLATFORMS[self.config.service.architecture]
        if not (kept := self.scratch / ARCHIVES["dependencies"]).exists():
            layouts.share(self.archives["dependencies"].path, kept)
        file = self.scratch / self.recipe.file
        file.write_bytes(self.made.files.one(self.recipe.file))
        arguments = {**_arguments(self.config), "PLATFORM": f"linux/{platform}"}
        image = engine.build(file, self.scratch, self.tag, arguments, self.labels)
        if image.architecture != platform:
            raise bases.other_architecture(image.architecture, platform)
        sizes = self.made.weights()
        above, ours = image.layers[: -len(sizes)], image.layers[-len(sizes) :]
        return Packed(
            digest=image.id,
            size=sum(sizes.values()),
            contents=self.made.contents(service.name),
            image=self.tag,
            engine=engine.name,
            layers=tuple(Layer(name, digest, size) for (name, size), digest in zip(sizes.items(), ours, strict=True)),
            base=_resolved(engine, self.config.build.base or self.recipe.base.format(service.python), above),
            base_layers=above,
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
