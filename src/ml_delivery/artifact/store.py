"""Artifacts, addressed by content: pushed once, never overwritten, never named before they exist.

A ZIP lies in the environment's bucket, an image in its registry (``registry.py``); the record of either, by version, lies
in the bucket.
"""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ml_delivery import source
from ml_delivery.cloud import chosen, code_of
from ml_delivery.errors import BuildError, CloudError

if TYPE_CHECKING:
    from pathlib import Path

    from ml_delivery.artifact.build import Manifest
    from ml_delivery.cloud import Cloud
    from ml_delivery.config import Config

__all__ = ["Artifact", "Pushed", "artifact", "built", "find", "keep", "known", "prune", "push", "put", "record"]

# S3's answers to a conditional write that lost: https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
LOST, BUSY = "PreconditionFailed", "ConditionalRequestConflict"  # the latter: somebody writes just now, so ask again
TRIES = 3


@dataclass(frozen=True)
class Artifact:
    """A pushed artifact.

    Attributes:
        version: the source it was built from (``Source.version``).
        digest: of the ZIP, or of the image's manifest in the registry: ``sha256:`` and 64 hex digits.
        code_sha256: the same, as Lambda reports it.
        content: digest of what is in it; the service answers it at ``/version``.
        model: digest of its primary model.
        key: where it lies in the environment's bucket; of an image, its URI by digest.
        size: bytes.
    """

    version: str
    commit: str
    dirty: bool
    digest: str
    code_sha256: str
    content: str
    model: str
    python: str
    architecture: str
    key: str
    size: int


@dataclass(frozen=True)
class Pushed:
    """What a push did: the artifact, and whether its bytes had to travel."""

    artifact: Artifact
    uploaded: bool


def built(config: Config, cloud: str) -> Manifest:
    """The manifest of the last build, if it is one of the tree as it is now.

    Raises:
        BuildError: there is none, or the tree has changed since.
        SourceError: the tree is dirty and ``cloud`` is not the embedded one.
    """
    from ml_delivery.artifact.build import Manifest  # what builds is not needed by those who only deliver

    manifest = Manifest.load(config.root)
    now = source.read(config.root)
    if manifest.version != now.version:
        raise BuildError(f"the last build is of {manifest.version}, the tree is {now.version}", next="invoke build")
    source.require_clean(now, chosen(cloud))
    return manifest


def push(cloud: Cloud, bucket: str, archive: Path, manifest: Manifest) -> Pushed:
    """Put ``archive`` into ``bucket`` under its digest, then name it under its source's version.

    The bytes go first, so a name never points to nothing. S3 checks them against the digest. Pushing the same again
    changes nothing.

    Raises:
        CloudError: S3 refused, or this commit was pushed before with other bytes.
    """
    s3 = cloud.client("s3")
    digest = manifest.digest.removeprefix("sha256:")
    made = artifact(manifest, manifest.digest, manifest.code_sha256, f"artifacts/{manifest.version}/{digest}.zip")
    with cloud.faults(), archive.open("rb") as body:
        checksum = base64.b64encode(bytes.fromhex(digest)).decode()
        uploaded = _create(s3, bucket, made.key, body, ChecksumSHA256=checksum)
    return record(cloud, bucket, made, uploaded=uploaded)


def artifact(manifest: Manifest, digest: str, code_sha256: str, key: str) -> Artifact:
    """What ``manifest`` describes, as it was pushed: under ``key``, with this digest."""
    return Artifact(
        version=manifest.version,
        commit=manifest.commit,
        dirty=manifest.dirty,
        digest=digest,
        code_sha256=code_sha256,
        content=manifest.content,
        model=manifest.model,
        python=manifest.python,
        architecture=manifest.architecture,
        key=key,
        size=manifest.size,
    )


def record(cloud: Cloud, bucket: str, made: Artifact, *, uploaded: bool) -> Pushed:
    """Name what is there under its version.

    Raises:
        CloudError: that version was pushed before, as something else.
    """
    with cloud.faults():
        named = _create(cloud.client("s3"), bucket, _name(made.version), json.dumps(asdict(made), indent=1).encode())
    if not named and (other := find(cloud, bucket, made.version)).digest != made.digest:
        raise CloudError(
            f"{made.version} was pushed before as {other.digest}; this build is {made.digest}",
            next="build that commit with the same Python and locks, or commit what differs",
        )
    return Pushed(made, uploaded)


def keep(cloud: Cloud, bucket: str, folder: Path, made: Artifact) -> None:
    """Keep beside the artifact what ``folder`` says of it: its bill of materials, and its manifest, which is its provenance."""
    for name in ("sbom.cdx.json", "manifest.json"):
        with cloud.faults():
            _create(cloud.client("s3"), bucket, f"artifacts/{made.version}/{name}", (folder / name).read_bytes())


def find(cloud: Cloud, bucket: str, version: str) -> Artifact:
    """The artifact that was pushed for ``version``.

    Raises:
        CloudError: there is none.
    """
    found = known(cloud, bucket, version)
    if found is None:
        raise CloudError(
            f"{version} has not been pushed", next="invoke build && invoke push, or invoke build --on codebuild"
        )
    return found


def known(cloud: Cloud, bucket: str, version: str) -> Artifact | None:
    """The same; None when there is none."""
    with cloud.faults():
        try:
            answer = cloud.client("s3").get_object(Bucket=bucket, Key=_name(version))
        except Exception as error:
            if code_of(error) not in ("NoSuchKey", "NoSuchBucket"):
                raise
            return None
        try:
            return Artifact(**json.loads(answer["Body"].read()))
        except (ValueError, TypeError) as error:
            raise CloudError(
                f"{_name(version)} can't be read: {error}", next="cruft update, or push it anew"
            ) from error


def _name(version: str) -> str:
    return f"artifacts/{version}/artifact.json"


def put(s3: Any, bucket: str, key: str, body: Any, **options: str) -> str | None:
    """Write an object under a condition; its ETag, or None when the condition did not hold."""
    for left in reversed(range(TRIES)):
        try:
            if not isinstance(body, bytes):
                body.seek(0)
            tag: str = s3.put_object(Bucket=bucket, Key=key, Body=body, **options)["ETag"]
        except Exception as error:
            if code_of(error) == LOST:
                return None
            if code_of(error) != BUSY or not left:
                raise
        else:
            return tag
    raise AssertionError("the last try returns or raises")


def _create(s3: Any, bucket: str, key: str, body: Any, **options: str) -> bool:
    """Write an object that must not be there yet; whether it was not."""
    return put(s3, bucket, key, body, IfNoneMatch="*", **options) is not None


def prune(cloud: Cloud, bucket: str, keep: set[str], before: float) -> list[str]:
    """Remove from the bucket what was pushed before then (seconds since 1970), but for the sources in ``keep``.

    The name goes first, so it never points to nothing. Returns the sources, in words.
    """
    s3 = cloud.client("s3")
    with cloud.faults():
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="artifacts/")
        found = {o["Key"]: o["LastModified"].timestamp() for page in pages for o in page.get("Contents", [])}
        old = [key for key, at in found.items() if at < before and key.split("/")[1] not in keep]
        for key in sorted(old, key=lambda key: not key.endswith("/artifact.json")):
            s3.delete_object(Bucket=bucket, Key=key)
    return sorted({f"artifact {key.split('/')[1][:12]}" for key in old})
