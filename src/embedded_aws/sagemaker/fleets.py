"""The fleet behind an endpoint: for each production variant its instances, with the model's data.

A fleet is described by records that hold all that is needed, so that it can be started again after the emulator was
restarted, even if configuration and models were deleted meanwhile.
"""

from __future__ import annotations

import contextvars
import random
import secrets
import shutil
import tarfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from embedded_aws.sagemaker import buckets, configs, images, models, roles
from embedded_aws.sagemaker.containers import Run
from embedded_aws.sagemaker.instances import Instance, Unhealthy
from embedded_aws.sagemaker.logs import Stream
from embedded_aws.sagemaker.refusal import Refusal
from embedded_aws.sagemaker.store import Record

T = TypeVar("T")


def described(config: Record) -> list[Record]:
    """The variants of a configuration, each with its model's container and role.

    Raises:
        Refusal: a model doesn't exist any more.
    """
    found = []
    for variant in config["ProductionVariants"]:
        model = models.get(variant["ModelName"])
        found.append({**variant, "container": model["_container"], "role": model["ExecutionRoleArn"]})
    return found


class Variant:
    """The instances of one production variant."""

    def __init__(self, endpoint: str, record: Record, home: Path, group: str = "") -> None:
        self._group = group or f"/aws/sagemaker/Endpoints/{endpoint}"
        self.name: str = record["VariantName"]
        self._record = record
        self._folder = home / "sagemaker" / f"{endpoint}-{secrets.token_hex(6)}"
        self._roots = home / "images"
        self._lock = threading.Lock()
        self._logs: list[Stream] = []
        self.instances: list[Instance] = []
        self.image = ""

    def start(self) -> None:
        """Download the model's data, and start the first instances.

        Raises:
            Unhealthy: with the reason as SageMaker words it.
        """
        record, data = self._record, self._folder / "model"
        data.mkdir(parents=True)
        self._session = roles.assume(record["role"], "SageMaker")
        try:
            self._image = images.pull(record["container"]["Image"], self._session)
            if uri := record["container"].get("ModelDataUrl"):
                archive = self._folder / "model.tar.gz"
                bucket, key = buckets.split(uri)
                content = self._session.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
                archive.write_bytes(content)
                with tarfile.open(archive) as opened:
                    opened.extractall(data, filter="tar")
                archive.unlink()
        except Refusal as error:
            raise Unhealthy(str(error)) from error
        except Exception as error:  # S3's errors, and those of an archive that can't be read
            raise Unhealthy(
                f"Failed to download model data for the production variant {self.name} from {uri}: {error}. Please ensure "
                f'that the object exists and that the role "{record["role"]}" has s3:GetObject permissions on it.'
            ) from error
        given: str = record["container"]["Image"]
        self.image = f"{given.rpartition('@' if '@' in given else ':')[0]}@{self._image.digest}"
        self.resize(int(record["InitialInstanceCount"]))

    def resize(self, count: int) -> None:
        """Start or end instances, so that there are ``count``.

        Raises:
            Unhealthy: a new one did not become healthy; the new ones are ended.
        """
        with self._lock:
            added = [self._instance() for _ in range(count - len(self.instances))]
            dropped = self.instances[count:]
        seconds = self._record.get("ContainerStartupHealthCheckTimeoutInSeconds", configs.HEALTHY_SECONDS)
        try:
            _each(added, lambda instance: instance.start(seconds))
        except Unhealthy as error:
            _each(added, Instance.stop)
            raise Unhealthy(
                f"The primary container for production variant {self.name} did not pass the ping health check. Please "
                f"check CloudWatch logs for this endpoint. ({error})"
            ) from error
        for instance in added:
            instance.watch()
        with self._lock:
            self.instances = [*self.instances[:count], *added]
        _each(dropped, Instance.stop)

    def acquire(self) -> Instance | None:
        """An instance, by chance, which doesn't end before it is released; None if there is none any more."""
        with self._lock:
            if not self.instances:
                return None
            chosen = random.choice(self.instances)  # noqa: S311 # nosec B311 - no secret
            chosen.acquire()
            return chosen

    def stop(self) -> None:
        """End all instances, each with time to finish."""
        with self._lock:
            ended, self.instances = self.instances, []
        _each(ended, Instance.stop)
        for log in self._logs:
            log.close()
        with suppress(OSError):
            shutil.rmtree(self._folder)

    def _instance(self) -> Instance:
        record, number = self._record, secrets.token_hex(8)
        log = Stream(self._session, self._group, f"{self.name}/i-{number}")
        self._logs.append(log)
        folder = self._folder / number
        folder.mkdir()
        variables = {**self._image.variables, **record["container"].get("Environment", {}), **self._session.variables()}
        run = Run(
            image=self._image,
            words=[*(self._image.settings["config"].get("Entrypoint") or []), "serve"],
            variables=variables,
            mounts={"/opt/ml/model": self._folder / "model"},
            scratch=folder,
            roots=self._roots,
            serves=True,
        )
        return Instance(run, log)


class Fleet:
    """All variants of an endpoint; ``ready`` is set once they serve, or have failed to."""

    def __init__(self, endpoint: str, records: list[Record], home: Path) -> None:
        self.records = records
        self.variants = {record["VariantName"]: Variant(endpoint, record, home) for record in records}
        self.ready = threading.Event()

    def start(self) -> None:
        """Start every variant.

        Raises:
            Unhealthy: one did not become healthy; all are ended.
        """
        try:
            _each(list(self.variants.values()), Variant.start)
        except Unhealthy:
            self.stop()
            raise
        finally:
            self.ready.set()

    def stop(self) -> None:
        """Stop it."""
        _each(list(self.variants.values()), Variant.stop)


def _each(items: list[T], act: Callable[[T], None]) -> None:
    """Call ``act`` for all items at once; raise the first error when all have returned."""
    if not items:
        return
    with ThreadPoolExecutor(len(items)) as pool:
        calls = [pool.submit(contextvars.copy_context().run, act, item) for item in items]
    for call in calls:
        call.result()
