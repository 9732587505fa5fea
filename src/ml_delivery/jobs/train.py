"""Trains on the hosts of a job: each trains its parts, and what they made is merged in the service's folder."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from ml_delivery import commands, objects
from ml_delivery.errors import ModelError
from ml_delivery.jobs import datasets, images, running, sagemaker, split, steps
from ml_delivery.keys import Command

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ml_delivery.jobs.steps import Cost
    from ml_delivery.records import Context

__all__ = ["Plan", "Trained", "plan", "train"]


@dataclass(frozen=True)
class Plan:
    """A training that can be started.

    Attributes:
        instance: the type of each host; ``hosts``: how many.
        divided: the parts of each host, in the hosts' order; empty where one host trains everything.
        words: the command.
        datasets: the digests of what it reads.
        role, image: what it runs as, and in.
        minutes: its limit; ``cost``: what it costs at most.
        spot: whether it runs on spare capacity, which is cheaper and may be interrupted.
    """

    instance: str
    hosts: int
    divided: tuple[tuple[str, ...], ...]
    words: tuple[str, ...]
    datasets: tuple[str, ...]
    role: str
    image: str
    minutes: int
    cost: Cost
    spot: bool


@dataclass(frozen=True)
class Trained:
    """A training that completed: the job, the files that it made, its metrics, and its cost."""

    job: str
    files: tuple[str, ...]
    metrics: dict[str, float]
    seconds: float
    cost: Cost


def plan(
    context: Context,
    options: Mapping[str, str | int | float | bool],
    hosts: int,
    building: Callable[[], None] = lambda: None,
) -> Plan:
    """Check everything that can be checked before a job costs anything, and upload the datasets.

    Args:
        context: the environment.
        options: override those in ``pipeline.toml``.
        hosts: the number of instances.
        building: called before the image of jobs is built, if there is none yet.

    Raises:
        ConfigError: there are no jobs, or nothing to divide among so many hosts.
        ModelError: there is no training command, or no such dataset.
        CloudError, BuildError, SetupError: there is no image, or it can't be built; or the role is missing.
    """
    config = context.config
    command = commands.named(config, "train")
    divided = split.divide(config.jobs, hosts)
    role = steps.role(context)
    given = {**command.options, **options}
    datasets.require(config.root, given, context)
    for digest in datasets.named(given):
        datasets.upload(config.root, digest, context)
    return Plan(
        config.jobs.instance,
        hosts,
        divided,
        tuple(commands.argv(command, options, "python")),
        datasets.named(given),
        role,
        images.find(context, building),
        config.jobs.minutes,
        steps.cost(context, hosts, config.jobs.minutes * 60),
        config.jobs.spot,
    )


def train(context: Context, wanted: Plan, line: Callable[[str], None]) -> Trained:
    """Run the training, and put what the hosts made into the folder that ``[jobs] writes`` names.

    Args:
        context: the environment.
        wanted: the plan.
        line: called with each line of the log.

    Raises:
        ModelError: the job failed, was stopped or wrote no model; a metric's expression matched nothing; or two hosts wrote
            different files under one name.
        CloudError, Interrupted: as ``running.run``.
    """
    jobs = context.config.jobs
    parts = {"split": jobs.split, "parts": wanted.divided, "together": jobs.together}
    job = {"command": wanted.words, "datasets": wanted.datasets, "writes": jobs.writes, "keeps": jobs.keeps, **parts}
    given = steps.inputs(context, "train", json.dumps(job, sort_keys=True).encode())
    checkpoints = ""
    if jobs.keeps:  # of the same files, command and data, whatever the number of hosts
        same = json.dumps([given.entry, wanted.words, wanted.datasets]).encode()
        checkpoints = f"s3://{context.foundation.bucket}/jobs/checkpoints/{hashlib.sha256(same).hexdigest()[:24]}"
    request = sagemaker.training(context, given, wanted.role, wanted.image, wanted.hosts, wanted.datasets, checkpoints)
    done = running.run(context, sagemaker.TRAINING, request, line)
    for name, expression in jobs.metrics.items():
        if name not in done.metrics:
            raise ModelError(
                f"the job {done.name} completed, but its log has no line that [jobs.metrics] {name} matches: {expression}",
                next=f"correct jobs.metrics.{name} in pipeline.toml, then run this again",
            )
    files = _merged(done.name, _archive(context, done), wanted.hosts)
    for name, content in files.items():
        place = context.config.root / jobs.writes / name
        place.parent.mkdir(parents=True, exist_ok=True)
        arriving = place.with_name(f"{place.name}.new")
        arriving.write_bytes(content)
        arriving.replace(place)
    if jobs.collect and wanted.divided:
        again = f" --on sagemaker --instances {wanted.hosts} --branch {context.environment.branch}{context.where}"
        commands.execute(context.config, "train", "[jobs] collect", Command(jobs.collect), {}, {}, flags=again)
    return Trained(done.name, tuple(files), done.metrics, done.seconds, steps.cost(context, wanted.hosts, done.seconds))


def _archive(context: Context, done: running.Ended) -> bytes:
    bucket, _, key = done.archive.removeprefix("s3://").partition("/")
    found = objects.get(context.cloud, bucket, key) if key else None
    if found is None:
        raise ModelError(
            f"the job {done.name} completed, but wrote no model",
            next="make [train] command write it below [jobs] writes",
        )
    return found[0]


def _merged(job: str, archive: bytes, hosts: int) -> dict[str, bytes]:
    """The files of all hosts by their names, sorted, whatever the order of hosts and files in the archive."""
    found: dict[str, tuple[str, bytes]] = {}
    seen: set[str] = set()
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        for entry in sorted(opened.getmembers(), key=lambda member: member.name):
            host, *names = PurePosixPath(entry.name).parts
            content = opened.extractfile(entry) if entry.isfile() else None
            if content is None or not names or ".." in names:
                continue
            name, data = "/".join(names), content.read()
            seen.add(host)
            if name in found and found[name][1] != data:
                raise ModelError(
                    f"the job {job} completed, but {found[name][0]} and {host} both wrote {name}, with different content",
                    next="make each part of the training write files with names of its own, then run this again",
                )
            found[name] = host, data
    if len(seen) < hosts:
        raise ModelError(
            f"the job {job} completed, but only {len(seen)} of its {hosts} hosts wrote a model",
            next="make [train] command write one for each part, then run this again",
        )
    return {name: data for name, (_, data) in sorted(found.items())}
