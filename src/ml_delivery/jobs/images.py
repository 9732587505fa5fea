"""The image of jobs: Python and the packages of ``requirements/train.txt``, without the service's own files.

Those come with each job, so that a changed line of source needs no new image. An image is named by what it is made of; one
that is in the registry is not built again.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_delivery import commands
from ml_delivery.cloud import code_of
from ml_delivery.containers import engines, layers, layouts, packer
from ml_delivery.containers.registry import Registry
from ml_delivery.dependencies import envs
from ml_delivery.errors import CloudError, SetupError
from ml_delivery.packing import bundle as bundling

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml_delivery.records import Context

__all__ = ["find"]

# Python's own image rather than its slim one, which lacks libgomp.
BASE = "public.ecr.aws/docker/library/python:{}"
FOLDER = "srv/packages"
GLIBC = 36  # of Debian 12, the older of those that Python's images are made of
ARCHITECTURE = "x86_64"  # of all instances that train
# A tuning job runs the image's own program. Others name theirs.
PROGRAM = (
    "import glob, os, sys; files = glob.glob('/opt/ml/input/data/source/*.zip'); "
    "os.execv(sys.executable, [sys.executable, files[0], *sys.argv[1:]])"
)
DOCKERFILE = f"""\
ARG BASE
FROM ${{BASE}}
ADD dependencies.tar.gz /
ENV PYTHONPATH=/{FOLDER} PYTHONDONTWRITEBYTECODE=1
ENTRYPOINT {json.dumps(["python3", "-c", PROGRAM])}
"""


def find(context: Context, building: Callable[[], None] = lambda: None) -> str:
    """The image of jobs, by its digest; built and pushed if there is none yet, which takes minutes: ``building`` is called before.

    Raises:
        CloudError: the image that ``[jobs] image`` names does not exist, or the registry refused.
        BuildError, SetupError: the image can't be built.
    """
    own = context.config.jobs.image
    if own:
        _require(context, own)
        return own
    registry = Registry(context, "JobRepository")
    tag = _tag(context)
    found = registry.find(tag)
    if found is None or registry.missing(found):
        building()
        _build(context, registry, tag)
        found = registry.find(tag)
    if found is None:
        raise CloudError(f"the registry accepted the image {tag} but does not have it", next="run this again")
    return f"{registry.uri}@{found.digest}"


def _require(context: Context, image: str) -> None:
    repository, _, digest = image.partition("/")[2].partition("@")
    registry = {"registryId": image.partition(".")[0]}
    there: list[Any] = []
    with context.cloud.faults():
        try:
            ecr = context.cloud.client("ecr")
            wanted = [{"imageDigest": digest}]
            there = ecr.batch_get_image(**registry, repositoryName=repository, imageIds=wanted)["images"]
        except Exception as error:
            if code_of(error) != "RepositoryNotFoundException":
                raise
    if not there:
        raise CloudError(f"there is no image {image}", next="correct [jobs] image, or empty it: then an image is built")


def _tag(context: Context) -> str:
    """The image's name, from all that it is made of."""
    root, service = context.config.root, context.config.service
    lockfile = root / commands.LOCK
    if not lockfile.is_file():
        raise SetupError(
            f"there is no {commands.LOCK}, the lockfile of the image of jobs",
            next=f'add "{commands.LOCK}" to [tool.ml-delivery.locks] in pyproject.toml, then nox -s lock',
        )
    inputs = [lockfile.read_text(encoding="utf-8"), service.python, context.config.jobs.base, DOCKERFILE]
    return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()[:24]


def _build(context: Context, registry: Registry, tag: str) -> None:
    """Build the image with this machine's engine, and push it."""
    config = context.config
    python = config.service.python
    engine = engines.find()
    # All of the packages: what pruning leaves out of an artifact, training may need.
    whole = replace(
        config,
        service=replace(config.service, architecture=ARCHITECTURE),
        build=replace(config.build, exclude=(), keep=("*",)),
    )
    bundle = bundling.make(whole, config.root / commands.LOCK, envs.find_python(python), GLIBC, frozenset())
    name = f"{registry.uri.rpartition('/')[2]}:{tag}"
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        layouts.share(layers.dependencies(bundle, FOLDER).path, scratch / "dependencies.tar.gz")
        file = scratch / "Dockerfile"
        file.write_text(DOCKERFILE, encoding="utf-8")
        platform = f"linux/{packer.PLATFORMS[ARCHITECTURE]}"
        arguments = {"PLATFORM": platform, "BASE": config.jobs.base or BASE.format(python)}
        engine.build(file, scratch, name, arguments, {"org.opencontainers.image.title": name})
    engine.push(name, f"{registry.address}:{tag}", registry.user, registry.password, tls=registry.tls)
