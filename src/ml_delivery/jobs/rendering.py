"""Renders the pipeline of prepare, tune, train, evaluate and register, from the settings that each of these jobs has alone."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_delivery import commands, source
from ml_delivery.jobs import datasets, definition, images, prepare, sagemaker, split, steps
from ml_delivery.jobs import tune as tuning

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ml_delivery.jobs.steps import Cost
    from ml_delivery.records import Context

__all__ = ["Rendered", "render"]


@dataclass(frozen=True)
class Rendered:
    """A pipeline that can be run.

    Attributes:
        name: its name; ``role``: what it runs as.
        document: its definition; ``prefix``: ``s3://…`` below which its jobs leave everything.
        origins: what the notebook reads, as it is now.
        hosts: how many share the training; ``cost``: what all jobs cost at most.
    """

    name: str
    role: str
    document: dict[str, Any]
    prefix: str
    origins: tuple[datasets.Origin, ...]
    hosts: int
    cost: Cost


def render(context: Context, hosts: int, *, tune: bool = False) -> Rendered:
    """The pipeline of ``pipeline.toml`` as it is, with the service's files uploaded.

    Args:
        context: the environment.
        hosts: the number of those that share the training.
        tune: whether the training begins with the best values of a tuning.

    Raises:
        ConfigError: there are no jobs, or the training can't be divided like that.
        ModelError: there is no command to train or to promote, or a dataset is missing.
        CloudError, BuildError, SetupError, SourceError: as for a job.
    """
    config, bucket = context.config, context.foundation.bucket
    role, own = steps.role(context), steps.role(context, "PipelineRole")
    divided = split.divide(config.jobs, hosts)
    train, promote = commands.named(config, "train"), commands.named(config, "promote")
    values = {**config.prepare.options}
    prepares = bool(config.prepare.notebook)
    given_options: dict[str, Any] = {"data": datasets.path(definition.PREPARED)} if prepares else {}
    reads = () if prepares else datasets.named(train.options)
    datasets.require(config.root, train.options, context)
    for digest in reads:
        datasets.upload(config.root, digest, context)
    named = (definition.PREPARED,) if prepares else reads
    planned = tuning.plan(context, {}, ()) if tune else None
    more: dict[str, Any] = {}
    if planned:
        given_options["tuned"] = config.tune.writes
        more = {"tuned": config.tune.writes, "spaces": planned.spaces, "goal": config.tune.goal}
    job = {
        **more,
        "notebook": config.prepare.notebook,
        "options": values,
        "command": commands.argv(train, given_options, "python"),
        "datasets": named,
        "writes": config.jobs.writes,
        "keeps": config.jobs.keeps,
        "split": config.jobs.split,
        "parts": divided,
        "together": config.jobs.together,
        "collect": list(config.jobs.collect) if divided else [],
        "evaluate": _optional(context, "evaluate"),
        "promote": commands.argv(promote, {}, "python"),
    }
    image, origins = images.find(context), prepare.origins(config, values, context.cloud)
    given = steps.inputs(context, "pipeline", json.dumps(job, sort_keys=True).encode(), champion=True)
    trials = _trials(context, planned, given_options, named) if planned else None
    checkpoints = ""
    if config.jobs.keeps:
        same = hashlib.sha256(json.dumps([given.entry, job["command"], named]).encode()).hexdigest()
        checkpoints = f"s3://{bucket}/jobs/checkpoints/{same[:24]}"
    data: dict[str, Any] = {digest: f"s3://{bucket}/data/{digest}/" for digest in reads}
    commit = {"CommitId": source.read(config.root).commit}
    repository = {"Repository": config.github.repository} if config.github.repository else {}
    facts = {"service": config.service.name, **({"data": ",".join(reads)} if reads else {})}
    train_request = sagemaker.training(context, given, role, image, hosts, named, checkpoints)
    if trials:
        train_request["InputDataConfig"].append(sagemaker.channel("trials", f"{trials[1]}/"))
    document = definition.definition(
        given,
        sagemaker.processing(context, given, role, image) if prepares else None,
        trials[0] if trials else None,
        train_request,
        sagemaker.processing(
            context,
            given,
            role,
            image,
            "judge",
            definition.EVALUATION,
            {"model": definition.MODEL, **({definition.PREPARED: definition.DATA} if prepares else data)},
        ),
        {"group": context.name, "image": image, "source": {**commit, **repository}, "facts": facts},
    )
    every = hosts + 1 + prepares + (config.tune.trials if planned else 0)  # each trial may take as long as a job
    cost = steps.cost(context, every, config.jobs.minutes * 60)
    return Rendered(context.name, own, document, given.prefix, origins, hosts, cost)


def _trials(
    context: Context, planned: tuning.Plan, options: Mapping[str, Any], named: tuple[str, ...]
) -> tuple[dict[str, Any], str]:
    """The request for the tuning, and ``s3://…`` below which its trials leave what they scored."""
    settings = context.config.tune
    words = commands.argv(
        commands.named(context.config, "tune"), {k: v for k, v in options.items() if k == "data"}, "python"
    )
    job = {"mode": "trial", "command": words, "datasets": named, "metric": settings.metric, "spaces": planned.spaces}
    given = steps.inputs(context, "tune", json.dumps(job, sort_keys=True).encode())
    limit = context.config.jobs.minutes * 60
    request = sagemaker.tuning(context, given, planned.role, planned.image, planned.spaces, named, limit, "")
    return request, given.prefix


def _optional(context: Context, stage: str) -> list[str]:
    found = getattr(context.config, stage)
    return commands.argv(commands.named(context.config, stage), {}, "python") if found.command else []
