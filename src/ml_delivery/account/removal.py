"""Removes an environment with all that it holds; nothing brings it back."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ml_delivery.account import infra, stacks
from ml_delivery.cloud import code_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml_delivery.cloud import Cloud
    from ml_delivery.config import Config
    from ml_delivery.keys import Environment

__all__ = ["remove"]

GONE = ("ResourceNotFoundException", "NoSuchBucket", "RepositoryNotFoundException", "ParameterNotFound")


def remove(config: Config, environment: Environment, cloud: Cloud, tell: Callable[[str], None]) -> None:
    """Remove the function, the stacks, and what they keep: the bucket with every version in it, and the images.

    GitHub as identity provider stays: other services of the account trust it. What is gone already is passed over, so
    that a removal that was cut off can be run again. ``tell`` is called with what has gone.
    """
    name = config.name_of(environment)
    bucket, parameter = f"{name}-{cloud.account}", f"/{config.service.name}/{environment.name}/image"
    steps: dict[str, Callable[[], object]] = {
        f"the function {name}": lambda: cloud.client("lambda").delete_function(FunctionName=name)
    }
    for kind in (stacks.delivering, stacks.monitoring, stacks.service):
        stack = kind(config, environment)
        steps[f"the stack {stack.name}"] = partial(infra.delete, stack, cloud)
    steps |= {
        f"the bucket {bucket}": lambda: _bucket(cloud, bucket),
        f"the images {name}": lambda: cloud.client("ecr").delete_repository(repositoryName=name, force=True),
        f"the parameter {parameter}": lambda: cloud.client("ssm").delete_parameter(Name=parameter),
    }
    for what, step in steps.items():
        with cloud.faults():
            try:
                step()
            except Exception as error:
                if code_of(error) in GONE:
                    continue
                raise
        tell(what)


def _bucket(cloud: Cloud, bucket: str) -> None:
    s3 = cloud.client("s3")
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        entries = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
        if entries:
            keys = [{"Key": entry["Key"], "VersionId": entry["VersionId"]} for entry in entries]
            s3.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
    s3.delete_bucket(Bucket=bucket)
