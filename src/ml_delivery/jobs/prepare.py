"""Runs the notebook that makes a dataset, here or as a job, and keeps the dataset by the digest of its content."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_delivery import commands, objects
from ml_delivery.cloud import code_of
from ml_delivery.errors import ModelError
from ml_delivery.jobs import datasets, images, running, sagemaker, steps
from ml_delivery.jobs.datasets import Dataset, Origin

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ml_delivery.cloud import Cloud
    from ml_delivery.config import Config
    from ml_delivery.records import Context

__all__ = ["here", "kept", "on_hosts", "origins"]

RUNNER = Path(__file__).parent / "notebook.py"


def here(config: Config, options: Mapping[str, Any], cloud: Cloud | None, line: Callable[[str], None]) -> Dataset:
    """Run the notebook in the training environment of this machine.

    Args:
        config: the service's configuration.
        options: override those in ``pipeline.toml``.
        cloud: where options that begin with ``s3://`` are; the notebook gets its variables.
        line: called with each line that the notebook prints.

    Raises:
        ModelError: there is no notebook, it failed, it wrote no dataset, or what it reads changed meanwhile.
        CloudError: what it reads can't be found.
        SetupError: its environment can't be created.
    """
    job, values = _job(config, options)
    python = commands.environment(config)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out")
        out.mkdir()
        Path(folder, "job.json").write_bytes(job)
        words = [str(python), str(RUNNER), str(Path(folder, "job.json")), str(out)]
        before = origins(config, values, cloud)
        _run(config, words, cloud.variables() if cloud else {}, line)
        return kept(config, values, out, before, origins(config, values, cloud))


def on_hosts(
    context: Context,
    options: Mapping[str, Any],
    line: Callable[[str], None],
    building: Callable[[], None] = lambda: None,
) -> tuple[Dataset, running.Ended]:
    """Run the notebook as a job, and keep its dataset in the environment's bucket, and here. Arguments and errors as for ``here``.

    ``building`` is called before the image of jobs is built, if there is none yet.

    Raises:
        ConfigError: there are no jobs.
        CloudError, BuildError, SetupError: there is no image, or it can't be built; or the role is missing.
        CloudError, Interrupted: as ``running.run``.
    """
    config, cloud, bucket = context.config, context.cloud, context.foundation.bucket
    role = steps.role(context)
    job, values = _job(config, options)
    image = images.find(context, building)
    before = origins(config, values, cloud)
    given = steps.inputs(context, "prepare", job)
    request = sagemaker.processing(context, given, role, image)
    done = running.run(context, sagemaker.PROCESSING, request, line)
    with tempfile.TemporaryDirectory() as folder:
        prefix = given.prefix.removeprefix(f"s3://{bucket}/")
        for name in (datasets.FILE, datasets.MANIFEST):
            if found := objects.get(cloud, bucket, f"{prefix}/out/{name}"):
                Path(folder, name).write_bytes(found[0])
        dataset = kept(config, values, Path(folder), before, origins(config, values, cloud))
    datasets.upload(config.root, dataset.digest, context)
    return dataset, done


def _job(config: Config, options: Mapping[str, Any]) -> tuple[bytes, dict[str, Any]]:
    """What the notebook's runner is given, and the options in it."""
    notebook = config.prepare.notebook
    if not notebook:
        raise ModelError(
            "this service has no notebook to prepare data",
            next='if it should have one, write [prepare] notebook = "notebooks/prepare.py" into pipeline.toml',
        )
    if not (config.root / notebook).is_file():
        raise ModelError(f"there is no {notebook} ([prepare] notebook)", next="correct it in pipeline.toml")
    values = {**config.prepare.options, **options}
    return json.dumps({"notebook": notebook, "options": values}, sort_keys=True).encode(), values


def _run(config: Config, words: list[str], variables: Mapping[str, str], line: Callable[[str], None]) -> None:
    environment = {**os.environ, **variables, "PYTHONPATH": str(config.root / "src")}
    with subprocess.Popen(
        words,
        cwd=config.root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        try:
            assert process.stdout
            for text in process.stdout:
                line(text.rstrip("\n"))
            code = process.wait()
        except BaseException:  # a cancel, too, or the notebook would run on
            process.terminate()
            raise
    if code:
        raise ModelError(
            f"the notebook {config.prepare.notebook} failed", next="fix what it printed, then invoke prepare"
        )


def origins(config: Config, values: Mapping[str, Any], cloud: Cloud | None) -> tuple[Origin, ...]:
    """What the options name: objects in S3, and files in the service's folder."""
    found = []
    for option, value in sorted(values.items()):
        if not isinstance(value, str):
            continue
        if value.startswith("s3://"):
            found.append(_object(option, value, cloud))
        elif value and os.path.isfile(file := config.root / value):  # false for a text that is too long for a path
            found.append(Origin(option, value, file.stat().st_size, "", f"sha256:{datasets.digest_of(file)}"))
    return tuple(found)


def _object(option: str, place: str, cloud: Cloud | None) -> Origin:
    if cloud is None:
        raise ModelError(f"{option} is in S3, and no cloud is named", next="add --cloud embedded or --cloud aws")
    bucket, _, key = place.removeprefix("s3://").partition("/")
    if not (bucket and key):
        raise ModelError(f"{option}: {place} names no object", next="correct it in [prepare.options]: s3://bucket/key")
    with cloud.faults():
        try:
            head = cloud.client("s3").head_object(Bucket=bucket, Key=key)
        except Exception as error:
            if code_of(error) not in ("404", "NoSuchKey", "NoSuchBucket"):
                raise
            raise ModelError(
                f"{option}: there is no {place}", next="correct it in [prepare.options], or upload it"
            ) from error
    return Origin(option, place, head["ContentLength"], head.get("VersionId", ""), head["ETag"].strip('"'))


def kept(
    config: Config, values: dict[str, Any], out: Path, before: tuple[Origin, ...], after: tuple[Origin, ...]
) -> Dataset:
    """The dataset that the notebook wrote into ``out``, in its place.

    Raises:
        ModelError: it wrote none, or what it read changed.
    """
    if before != after:
        changed = ", ".join(one.place for one in before if one not in after)
        raise ModelError(
            f"{changed} changed while the notebook read it", next="invoke prepare, when it changes no more"
        )
    notebook = config.prepare.notebook
    made = out / datasets.FILE
    if not made.is_file():
        raise ModelError(
            f"the notebook {notebook} wrote no {datasets.FILE} into the folder out", next=f"correct {notebook}"
        )
    try:
        counted = json.loads((out / datasets.MANIFEST).read_text(encoding="utf-8"))
        rows, dropped = int(counted["rows"]), {str(why): int(count) for why, count in counted["dropped"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(
            f"the notebook {notebook} wrote no {datasets.MANIFEST} with rows and dropped into the folder out: {error}",
            next=f"correct {notebook}",
        ) from error
    code = f"sha256:{hashlib.sha256((config.root / notebook).read_bytes()).hexdigest()}"
    dataset = Dataset(datasets.digest_of(made), rows, dropped, before, notebook, code, values, new=True)
    return datasets.keep(config.root, made, dataset)
