"""Artifacts in the environment's bucket, addressed by content: never overwritten, and recorded only after they exist.

The record of each artifact, by its source's version, is in the bucket, wherever the artifact's bytes are. It is written
once, and what is kept beside it has its own digest as its name; so this one write decides which build was pushed for a version.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

from ml_delivery import formats, objects
from ml_delivery.cloud import code_of
from ml_delivery.errors import CloudError
from ml_delivery.records import Artifact, Pushed, Removed

if TYPE_CHECKING:
    from pathlib import Path

    from ml_delivery.cloud import Cloud
    from ml_delivery.records import Context, Manifest

__all__ = ["bill", "bill_key", "find", "keep", "known", "prune", "push", "record", "stored"]


def push(cloud: Cloud, bucket: str, archive: Path, manifest: Manifest) -> Pushed:
    """Put ``archive`` into ``bucket`` under its digest, then record it under its source's version.

    The bytes are written first, so a record never points to nothing. S3 checks them against the digest. Idempotent.

    Raises:
        CloudError: S3 refused, or this commit was pushed before with other bytes.
    """
    digest = manifest.digest.removeprefix("sha256:")
    made = Artifact.of(manifest, manifest.digest, f"artifacts/{manifest.version}/{digest}.zip")
    with archive.open("rb") as body:
        uploaded = _create(cloud, bucket, made.location, body, made.digest)
    return record(cloud, bucket, made, uploaded=uploaded)


def record(cloud: Cloud, bucket: str, made: Artifact, *, uploaded: bool) -> Pushed:
    """Record an artifact that exists under its source's version, unless it is recorded already; returns what is recorded.

    Raises:
        CloudError: that version was pushed before, as something else.
    """
    if objects.create(cloud, bucket, _name(made.version), formats.dump(made)):
        return Pushed(made, uploaded)
    found = known(cloud, bucket, made.version) or made
    if found.digest != made.digest:
        raise CloudError(
            f"{made.version} was pushed before as {found.digest}; this build is {made.digest}",
            next="build that commit with the same Python and lockfiles, or commit what differs",
        )
    return Pushed(found, uploaded)


def keep(cloud: Cloud, bucket: str, version: str, bill: bytes) -> None:
    """Store a bill of materials beside the artifact of ``version``, under its own digest.

    Raises:
        CloudError: S3 refused.
    """
    objects.create(cloud, bucket, bill_key(version, hashlib.sha256(bill).hexdigest()), bill)


def bill(cloud: Cloud, bucket: str, version: str, digest: str) -> str:
    """The digest of the bill of materials that is stored as ``digest``, which is another if it was altered; empty for none.

    Raises:
        CloudError: S3 refused.
    """
    found = objects.get(cloud, bucket, bill_key(version, digest))
    return f"sha256:{hashlib.sha256(found[0]).hexdigest()}" if found else ""


def stored(cloud: Cloud, bucket: str, key: str) -> str:
    """The digest of an object, which S3 computed when it was written; empty if there is none, or no such object.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html

    Raises:
        CloudError: S3 refused.
    """
    with cloud.faults():
        try:
            # Not HEAD, whose error has no text, and so does not name a missing right.
            found = cloud.client("s3").get_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
            found["Body"].close()
        except Exception as error:
            if code_of(error) not in objects.MISSING:
                raise
            return ""
    try:
        return f"sha256:{base64.b64decode(found['ChecksumSHA256'], validate=True).hex()}"
    except (KeyError, ValueError):  # it was written with another checksum, or in parts
        return ""


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
        CloudError: S3 refused, or the record can't be read, or is of another version.
    """
    name = _name(version)
    found = objects.get(cloud, bucket, name)
    with objects.described(cloud, bucket, name):
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


def _create(cloud: Cloud, bucket: str, key: str, body: Any, digest: str) -> bool:
    """Write an object that is named by its digest, unless it exists; returns whether it was written.

    Raises:
        CloudError: S3 refused, or it exists with other content.
    """
    checksum = base64.b64encode(bytes.fromhex(digest.removeprefix("sha256:"))).decode()
    if objects.create(cloud, bucket, key, body, ChecksumSHA256=checksum):
        return True
    if (found := stored(cloud, bucket, key)) != digest:
        raise CloudError(
            f"s3://{bucket}/{key} exists already, with other content: {found or 'no SHA-256 checksum'}",
            next=f"find out what wrote it, then aws s3api delete-object --bucket {bucket} --key {key}, and push again",
        )
    return False


def _name(version: str) -> str:
    return f"artifacts/{version}/artifact.json"


def bill_key(version: str, digest: str) -> str:
    """Where the bill of materials with this digest is kept."""
    return f"artifacts/{version}/{digest.removeprefix('sha256:')}.sbom.cdx.json"
