"""Artifacts in S3, addressed by content: pushed once, never overwritten, never named before they exist."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pipeline import source
from pipeline.cloud import chosen, code_of
from pipeline.errors import BuildError, CloudError

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.build import Manifest
    from pipeline.cloud import Cloud
    from pipeline.config import Config

__all__ = ["Artifact", "Pushed", "built", "find", "prune", "push"]

# S3's answers to a conditional write that lost: https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
LOST = ("PreconditionFailed", "ConditionalRequestConflict")


@dataclass(frozen=True)
class Artifact:
    """A pushed artifact.

    Attributes:
        version: the source it was built from (``Source.version``).
        digest: of the ZIP, ``sha256:`` and 64 hex digits.
        code_sha256: the same, as Lambda reports it.
        content: digest of what is in it; the service answers it at ``/version``.
        model: digest of its primary model.
        key: where it lies in the environment's bucket.
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
    from pipeline.build import Manifest  # what builds is not needed by those who only deliver

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
    artifact = Artifact(
        version=manifest.version,
        commit=manifest.commit,
        dirty=manifest.dirty,
        digest=manifest.digest,
        code_sha256=manifest.code_sha256,
        content=manifest.content,
        model=manifest.model,
        python=manifest.python,
        architecture=manifest.architecture,
        key=f"artifacts/{manifest.version}/{digest}.zip",
        size=manifest.size,
    )
    with cloud.faults(), archive.open("rb") as body:
        uploaded = _create(
            s3, bucket, artifact.key, body, ChecksumSHA256=base64.b64encode(bytes.fromhex(digest)).decode()
        )
        named = _create(s3, bucket, _name(artifact.version), json.dumps(asdict(artifact), indent=1).encode())
    if not named and (known := find(cloud, bucket, artifact.version)).digest != artifact.digest:
        raise CloudError(
            f"{artifact.version} was pushed before as {known.digest}; this build is {artifact.digest}",
            next="build that commit with the same Python and locks, or commit what differs",
        )
    return Pushed(artifact, uploaded)


def find(cloud: Cloud, bucket: str, version: str) -> Artifact:
    """The artifact that was pushed for ``version``.

    Raises:
        CloudError: there is none.
    """
    with cloud.faults():
        try:
            answer = cloud.client("s3").get_object(Bucket=bucket, Key=_name(version))
        except Exception as error:
            if code_of(error) not in ("NoSuchKey", "NoSuchBucket"):
                raise
            raise CloudError(f"{version} has not been pushed", next="invoke build && invoke push") from error
        return Artifact(**json.loads(answer["Body"].read()))


def _name(version: str) -> str:
    return f"artifacts/{version}/artifact.json"


def _create(s3: Any, bucket: str, key: str, body: Any, **options: str) -> bool:
    """Write an object that must not be there yet; whether it was not."""
    try:
        s3.put_object(Bucket=bucket, Key=key, Body=body, IfNoneMatch="*", **options)
    except Exception as error:
        if code_of(error) in LOST:
            return False
        raise
    return True


def prune(cloud: Cloud, bucket: str, keep: set[str], before: float) -> list[str]:
    """Remove the artifacts that were pushed before then (seconds since 1970) and whose key is not in ``keep``.

    The name goes first, so it never points to nothing. Returns the sources that they were of, in words.
    """
    s3 = cloud.client("s3")
    with cloud.faults():
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="artifacts/")
        found = {o["Key"]: o["LastModified"].timestamp() for page in pages for o in page.get("Contents", [])}
        folders = {key.rpartition("/")[0] for key in keep}
        old = [key for key, at in found.items() if at < before and key.rpartition("/")[0] not in folders]
        for key in sorted(old, key=lambda key: not key.endswith("/artifact.json")):
            s3.delete_object(Bucket=bucket, Key=key)
    return sorted({f"artifact {key.split('/')[1][:12]}" for key in old})
