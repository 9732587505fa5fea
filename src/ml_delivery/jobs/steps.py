"""What every job has in common: the service's files as one archive, its inputs in the bucket, its name and its cost."""

from __future__ import annotations

import io
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ml_delivery import files, models, objects, source
from ml_delivery.errors import CloudError, ConfigError
from ml_delivery.jobs import inside
from ml_delivery.packing.archive import Writer

if TYPE_CHECKING:
    from ml_delivery.config import Config
    from ml_delivery.records import Context

__all__ = ["Cost", "Inputs", "cost", "estimate", "inputs", "role"]

FOLDERS = ("data", "src")  # of what git tracks, what a job gets, beside the notebook
WITHOUT = ("src/ml_delivery", "src/embedded_aws")  # these may be in src/ too, and no job needs them
LONGEST = {"tune": 32}  # characters of a name, where they are not 63
MOST = 50_000_000  # bytes of the service's own files


@dataclass(frozen=True)
class Inputs:
    """What a job is given.

    Attributes:
        name: of the job; unique, and by time.
        prefix: ``s3://…`` below which everything of this job is.
        archive: the address of the service's files in S3; ``entry``: its file name.
        job: the address of ``job.json``.
    """

    name: str
    prefix: str
    archive: str
    entry: str
    job: str


@dataclass(frozen=True)
class Cost:
    """What a job costs: hours of instances, and dollars; None where ``[jobs] dollars_per_hour`` is not set."""

    hours: float
    dollars: float | None


def cost(context: Context, instances: int, seconds: float) -> Cost:
    """The cost of ``instances`` for ``seconds``."""
    return estimate(context.config, instances, seconds)


def estimate(config: Config, instances: int, seconds: float) -> Cost:
    """The same, where no environment is open.

    Raises:
        ConfigError: ``[jobs]`` names no instance.
    """
    if not config.jobs.instance:
        raise ConfigError(
            "pipeline.toml", ['jobs.instance: empty, so that there are no jobs; write an instance type: "ml.m5.large"']
        )
    hours, dollars = instances * seconds / 3600, config.jobs.dollars_per_hour
    return Cost(hours, hours * dollars if dollars else None)


def role(context: Context, output: str = "JobRole") -> str:
    """The role that jobs run as, or that of another output of the foundation.

    Raises:
        ConfigError: ``[jobs]`` names no instance.
        CloudError: the environment was created before jobs were switched on.
    """
    estimate(context.config, 0, 0)  # there are jobs
    if (found := context.foundation.outputs.get(output)) is None:
        raise CloudError(
            f"{context.environment.name} has no {output}: it was created before [jobs] instance was set, or by an older version",
            next=f"invoke bootstrap --branch {context.environment.branch}{context.where}",
        )
    return found


def inputs(context: Context, kind: str, job: bytes, *, champion: bool = False) -> Inputs:
    """Upload the service's files, once for the same content, and ``job.json``.

    Args:
        context: the environment.
        kind: of the job, for its name.
        job: the content of ``job.json``.
        champion: with ``model.lock`` and the models that it names.

    Raises:
        SourceError: the tree has uncommitted changes, and the cloud is AWS.
        FileNotFoundError: there is no notebook.
        ConfigError: the files are too large.
        CloudError: S3 refused.
    """
    config, bucket = context.config, context.foundation.bucket
    content, digest = _archive(context, champion=champion)
    objects.create(context.cloud, bucket, f"jobs/sources/{digest}.zip", content)
    end = f"-{kind}-{time.strftime('%m%d%H%M')}-{secrets.token_hex(2)}"
    name = config.name_of(context.environment)[: LONGEST.get(kind, 63) - len(end)] + end
    prefix = f"jobs/runs/{name}"
    objects.create(context.cloud, bucket, f"{prefix}/job.json", job)
    return Inputs(
        name,
        f"s3://{bucket}/{prefix}",
        f"s3://{bucket}/jobs/sources/{digest}.zip",
        f"{digest}.zip",
        f"s3://{bucket}/{prefix}/job.json",
    )


def _archive(context: Context, *, champion: bool) -> tuple[bytes, str]:
    """The service's files with what runs them, as a ZIP with the same bytes each time, and its digest."""
    root = context.config.root
    tree = source.read(root)
    source.require_clean(tree, context.cloud.name)
    out = io.BytesIO()
    with files.opened(root, tree) as held, Writer(out) as writer:
        writer.add("__main__.py", Path(inside.__file__).read_bytes())
        writer.add(inside.NOTEBOOK, Path(inside.__file__).with_name("notebook.py").read_bytes())
        own = {name: data for folder in FOLDERS for name, data in held.below(folder, WITHOUT).items()}
        if notebook := context.config.prepare.notebook:
            own[notebook] = held.one(notebook)
        if champion and (promoted := models.promoted(root, required=False, files=held)):
            own[models.LOCK] = held.one(models.LOCK)
            own |= {model.file: model.content for model in promoted}
        for name, data in own.items():
            writer.add(name, data)
    if len(out.getvalue()) > MOST:
        raise ConfigError(
            "the service's files",
            [
                f"they have {len(out.getvalue()) / 1e6:.0f} MB, a job takes {MOST / 1e6:.0f}; keep data in S3, or prepare it"
            ],
        )
    return out.getvalue(), writer.digest.hexdigest()
