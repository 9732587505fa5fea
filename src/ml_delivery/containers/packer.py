"""Packs a container image: three archives, one layer each, which the service's Dockerfile adds to its base image.

Where the Dockerfile only adds them and sets the configuration, and the base image can be read from its registry, the image is
written here, without a container engine: the same bytes on any machine. Else this machine's engine builds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_delivery.containers import bases, dockerfile, engines, layers, layouts, locked
from ml_delivery.containers.reading import Name
from ml_delivery.errors import BuildError, ConfigError, SetupError
from ml_delivery.records import Layer, Packed

if TYPE_CHECKING:
    from pathlib import Path

    from ml_delivery.config import Config
    from ml_delivery.packing.ingredients import Ingredients

__all__ = ["Recipe", "by_tag", "check", "pack", "pin"]

ARCHIVES = {"dependencies": "dependencies.tar.gz", "model": "model.tar", "source": "source.tar"}
PLATFORMS = {"x86_64": "amd64", "arm64": "arm64"}


@dataclass(frozen=True)
class Recipe:
    """How a target's images are built.

    Attributes:
        file: the Dockerfile, in the service's folder.
        base: the name of the base image, as in that file, with ``{}`` for the Python version.
        folder: the folder of the image that holds the service, such as ``var/task``.
        target: the name of the template's target that brings the file; empty for a target of the user's own.
    """

    file: str
    base: str
    folder: str
    target: str = ""


def pack(config: Config, made: Ingredients, scratch: Path, recipe: Recipe) -> Packed:
    """Make the image ``<service>:<version>``: as files in ``scratch``, or in this machine's container engine.

    Raises:
        SetupError: an engine is needed and none answers, it stopped answering, or its disk is full; or the base image can't be
            had, neither from its registry nor by an engine.
        BuildError: the base image is for another architecture, damaged or not in ``image.lock``, the engine could not build, or
            the kept dependencies were altered.
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
    plan = _plan(config, made.files.one(recipe.file))
    name = locked.by_digest(_named(config, recipe, plan), locked.of_source(made.files))
    image = _Image(config, made, scratch, recipe, found, labels, name)
    if isinstance(plan, dockerfile.Needs):
        return image.by_engine(_needed(recipe, plan))
    try:
        base = bases.read(config.root, name, PLATFORMS[config.service.architecture])
    except SetupError as error:
        if name != plan.base:
            error.next = f"{locked.UPDATE}, if the digest in {locked.FILE} is gone; or {error.next}"
        return image.by_engine(error)
    return image.as_files(plan, base)


def by_tag(config: Config, recipe: Recipe) -> str:
    """The base image of the tree's Dockerfile, if nothing there names its digest; else empty."""
    name = _named(config, recipe, _plan(config, _read(config, recipe)))
    return "" if "@" in name or (config.root / locked.FILE).is_file() else name


def pin(config: Config, recipe: Recipe) -> str:
    """Record in ``image.lock`` what the tag of the base image names now; returns its name with the digest.

    Raises:
        ConfigError: its digest is written out.
        SetupError, BuildError: it can't be had, as ``bases.read``; or there is no Dockerfile.
    """
    name = _named(config, recipe, _plan(config, _read(config, recipe)))
    if "@" in name:
        raise ConfigError("--update-base", [f"the base image {name} has its digest in build.base or {recipe.file}"])
    found = bases.read(config.root, name, PLATFORMS[config.service.architecture]).name
    locked.record(config.root, found)
    return found


def check(config: Config, recipe: Recipe) -> dict[str, str]:
    """What ``invoke doctor`` reports of the engine: which one answers; or that the Dockerfile in the tree needs none.

    Raises:
        SetupError: it needs one, and none answers; or there is no Dockerfile.
    """
    plan = _plan(config, _read(config, recipe))
    try:
        return {"answers": engines.find().name}
    except SetupError as error:
        if isinstance(plan, dockerfile.Needs):
            raise SetupError(f"{_needed(recipe, plan).message}\n  {error.message}", next=error.next) from error
        return {"answers": "none", "needed": f"no, while the registry of {plan.base} answers"}


def _read(config: Config, recipe: Recipe) -> bytes:
    """The Dockerfile in the tree.

    Raises:
        SetupError: there is none.
    """
    try:
        return (config.root / recipe.file).read_bytes()
    except FileNotFoundError as error:
        brings = f"invoke upgrade --target {recipe.target}" if recipe.target else f"add {recipe.file}"
        raise SetupError(f"there is no {recipe.file}, which describes the image", next=brings) from error


def _plan(config: Config, text: bytes) -> dockerfile.Plan | dockerfile.Needs:
    return dockerfile.read(text.decode("utf-8-sig", "replace"), _arguments(config), frozenset(ARCHIVES.values()))


def _named(config: Config, recipe: Recipe, plan: dockerfile.Plan | dockerfile.Needs) -> str:
    """The name of the base image; of a file that needs an engine, what the build passes to it."""
    if isinstance(plan, dockerfile.Plan):
        return plan.base
    return config.build.base or recipe.base.format(config.service.python)


def _needed(recipe: Recipe, reason: dockerfile.Needs) -> SetupError:
    return SetupError(f"{recipe.file}, line {reason.line}, needs a container engine: {reason.what}")


def _arguments(config: Config) -> dict[str, str]:
    return {"PYTHON": config.service.python, **({"BASE": config.build.base} if config.build.base else {})}


@dataclass(frozen=True)
class _Image:
    """An image that is to be made: of what, with which layers and labels, on which base."""

    config: Config
    made: Ingredients
    scratch: Path
    recipe: Recipe
    archives: dict[str, layers.Archive]
    labels: dict[str, str]
    base: str

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
        if "@" in self.base:
            arguments["BASE"] = _untagged(self.base)
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
            base=_resolved(engine, self.base, above),
            base_layers=above,
        )


def _untagged(base: str) -> str:
    """The name without its tag, where it has a digest: not every engine takes both."""
    name = Name.parse(base)
    return f"{name.host}/{name.repository}@{name.digest}" if name.digest else base


def _resolved(engine: engines.Engine, base: str, layers: tuple[str, ...]) -> str:
    """The base's name, with its digest where the engine knows it; empty where the engine can't confirm that it is the base.

    The service's Dockerfile may name another one, and not every builder keeps its bases.
    """
    try:
        found = engine.inspect(_untagged(base))
    except BuildError:
        return ""
    if found.layers != layers:
        return ""
    return base if "@" in base or not found.digest else f"{base}@{found.digest}"
