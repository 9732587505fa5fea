"""Removes an environment permanently, with everything in it."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from ml_delivery import target
from ml_delivery.account import change_sets, stacks
from ml_delivery.cloud import code_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml_delivery.cloud import Cloud
    from ml_delivery.config import Config
    from ml_delivery.keys import Environment

__all__ = ["remove"]

# The errors of AWS for what does not exist: ResourceNotFoundException, NoSuchBucket, ParameterNotFound, …
GONE = re.compile("NotFound|NoSuch")


def remove(config: Config, environment: Environment, cloud: Cloud, tell: Callable[[str], None]) -> None:
    """Remove the address, then what the target runs, then the stacks, then the bucket with all object versions.

    GitHub stays an identity provider, since other services of the account may use it. Idempotent: what no longer exists is
    skipped, so an interrupted removal can be run again. ``tell`` is called with the name of each thing that was removed.

    Raises:
        CloudError: AWS refused; what was removed before that stays removed.
    """
    bucket = f"{config.name_of(environment)}-{cloud.account}"
    names = stacks.names(config, environment)
    standing = {f"the stack {stack}": partial(change_sets.delete, stack, cloud) for stack in names.values()}
    # The address first: its stack is made of parts of what the target runs.
    front = f"the stack {names['front']}"
    steps: dict[str, Callable[[], object]] = {front: standing.pop(front)}
    steps |= target.load(environment.target, config).removals(config, environment, cloud)
    steps |= standing
    steps[f"the bucket {bucket}"] = partial(_bucket, cloud, bucket)
    for what, step in steps.items():
        with cloud.faults():
            try:
                there = step() is not False
            except Exception as error:
                if GONE.search(code_of(error)):
                    continue
                raise
        if there:
            tell(what)


def _bucket(cloud: Cloud, bucket: str) -> None:
    s3 = cloud.client("s3")
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        entries = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
        if entries:
            keys = [{"Key": entry["Key"], "VersionId": entry["VersionId"]} for entry in entries]
            s3.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
    s3.delete_bucket(Bucket=bucket)
