"""Artifacts in the environment's bucket, addressed by content: never overwritten, and recorded only after they exist.

The record of each artifact, by its source's version, is in the bucket, wherever the artifact's bytes are.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from ml_delivery import formats, objects
from ml_delivery.errors import CloudError
from ml_delivery.records import Artifact, Pushed, Removed

if TYPE_CHECKING:
    from pathlib import Path

    from ml_delivery.cloud import Cloud
    from ml_delivery.records import Context, Manifest

__all__ = ["find", "keep", "known", "prune", "push", "record"]


def push(cloud: Cloud, bucket: str, archive: Path, manifest: Manifest) -> Pushed:
    """Put ``archive`` into ``bucket`` under its digest, then record it under its source's version.

    The bytes are written first, so a record never points to nothing. S3 checks them against the digest. Idempotent.

    Raises:
        CloudError: S3 refused, or this commit was pushed before with other bytes.
    """
    digest = manifest.digest.removeprefix("sha256:")
    made = Artifact.of(manifest, manifest.digest, f"artifacts/{manifest.version}/{digest}.zip")
    checksum = base64.b64encode(bytes.fromhex(digest)).decode()
    with archive.open("rb") as body:
        uploaded = objects.create(cloud, bucket, made.location, body, ChecksumSHA256=checksum)
    return record(cloud, bucket, made, uploaded=uploaded)


def record(cloud: Cloud, bucket: str, made: Artifact, *, uploaded: bool) -> Pushed:
    """Record an artifact that exists under its source's version.

    Raises:
        CloudError: that version was pushed before, as something else.
    """
    named = objects.create(cloud, bucket, _name(made.version), formats.dump(made))
    if not named and (other := known(cloud, bucket, made.version)) and other.digest != made.digest:
        raise CloudError(
            f"{made.version} was pushed before as {other.digest}; this build is {made.digest}",
            next="build that commit with the same Python and lockfiles, or commit what differs",
        )
    return Pushed(made, uploaded)


def keep(cloud: Cloud, bucket: str, folder: Path, version: str, *, replace: bool = False) -> tuple[bytes, bytes]:
    """Store the bill of materials and the manifest that are in ``folder`` next to the artifact of ``version``.

    Returns both as they are stored now: those of an earlier push, if there was one, unless ``replace`` is set.

    Raises:
        CloudError: S3 refused.
    """

    def one(name: str) -> bytes:
        key, body = f"artifacts/{version}/{name}", (folder / name).read_bytes()
        if replace:
            objects.put(cloud, bucket, key, body)
        elif not objects.create(cloud, bucket, key, body):
            found = objects.get(cloud, bucket, key)
            return found[0] if found else body
        return body

    return one("sbom.cdx.json"), one("manifest.json")


def find(context: Context, version: str, first: str = "") -> Artifact:
    """The artifact that was pushed for ``version``.

    Args:
        context: the environment.
        version: the source's version.
        first: what to do before it can be built, for the error: empty, or a command that ends with ``, then ``.

    Raises:
        CloudError: there is none.
    """
    found = known(context.cloud, context.foundation.bucket, version)
    if found is None:
        branch = f"--branch {context.environment.branch}"
        where = f"{branch}{context.where}"
        raise CloudError(
            f"{version} has not been pushed",
            next=f"{first}invoke build {branch} && invoke push {where}, or invoke build --on codebuild {where}",
        )
    return found


def known(cloud: Cloud, bucket: str, version: str) -> Artifact | None:
    """The artifact that was pushed for ``version``; None when there is none.

    Raises:
        CloudError: S3 refused, or the record can't be read.
    """
    name = _name(version)
    found = objects.get(cloud, bucket, name)
    return formats.artifact(name, formats.read(name, found[0])) if found else None


def prune(cloud: Cloud, bucket: str, keep: set[str], before: float) -> list[Removed]:
    """Remove artifacts that were pushed before ``before`` (seconds since 1970), except those of the sources in ``keep``.

    Returns what was removed. The record is deleted first, so it never points to nothing.

    Raises:
        CloudError: S3 refused.
    """
    s3 = cloud.client("s3")
    with cloud.faults():
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="artifacts/")
        found = {o["Key"]: o["LastModified"].timestamp() for page in pages for o in page.get("Contents", [])}
        old = [key for key, at in found.items() if at < before and key.split("/")[1] not in keep]
        for key in sorted(old, key=lambda key: not key.endswith("/artifact.json")):
            s3.delete_object(Bucket=bucket, Key=key)
    return [Removed("artifact", version) for version in sorted({key.split("/")[1] for key in old})]


def _name(version: str) -> str:
    return f"artifacts/{version}/artifact.json"
