"""Artifacts in the environment's bucket, addressed by content: never overwritten, and recorded only after they exist.

The record of each artifact, by its source's version, is in the bucket, wherever the artifact's bytes are.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

from ml_delivery import formats, objects
from ml_delivery.errors import CloudError
from ml_delivery.records import Artifact, Pushed, Removed

if TYPE_CHECKING:
    from pathlib import Path

    from ml_delivery.cloud import Cloud
    from ml_delivery.records import Context, Manifest

__all__ = ["bill", "find", "keep", "known", "prune", "push", "record"]


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


def keep(cloud: Cloud, bucket: str, version: str, bill: bytes) -> None:
    """Store a bill of materials beside the artifact of ``version``, under its own digest.

    Raises:
        CloudError: S3 refused.
    """
    objects.create(cloud, bucket, _bill(version, hashlib.sha256(bill).hexdigest()), bill)


def bill(cloud: Cloud, bucket: str, version: str, digest: str) -> str:
    """The digest of the bill of materials that is stored as ``digest``, which is another if it was altered; empty for none.

    Raises:
        CloudError: S3 refused.
    """
    found = objects.get(cloud, bucket, _bill(version, digest.removeprefix("sha256:")))
    return f"sha256:{hashlib.sha256(found[0]).hexdigest()}" if found else ""


def find(context: Context, version: str) -> Artifact:
    """The artifact that was pushed for ``version``.

    Raises:
        CloudError: there is none.
    """
    found = known(context.cloud, context.foundation.bucket, version)
    if found is None:
        branch = f"--branch {context.environment.branch}"
        where = f"{branch}{context.where}"
        raise CloudError(
            f"{version} has not been pushed",
            next=f"invoke build {branch} && invoke push {where}, or invoke build --on codebuild {where}",
        )
    return found


def known(cloud: Cloud, bucket: str, version: str) -> Artifact | None:
    """The artifact that was pushed for ``version``; None when there is none.

    Raises:
        CloudError: S3 refused, or the record can't be read, or is of another version.
    """
    name = _name(version)
    found = objects.get(cloud, bucket, name)
    artifact = formats.artifact(name, formats.read(name, found[0])) if found else None
    if artifact and artifact.version != version:
        raise formats.damaged(name, ValueError(f"it is of {artifact.version}"))
    return artifact


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


def _bill(version: str, digest: str) -> str:
    return f"artifacts/{version}/{digest}.sbom.cdx.json"
