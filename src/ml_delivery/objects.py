"""Conditional writes to S3, so that one of two concurrent writers fails.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ml_delivery.cloud import code_of
from ml_delivery.formats import Damaged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ml_delivery.cloud import Cloud

__all__ = ["create", "described", "get", "put"]

# S3's error codes for a conditional write that failed; BUSY: another write is under way at this moment, so retry.
LOST, BUSY = "PreconditionFailed", "ConditionalRequestConflict"
MISSING = ("NoSuchKey", "NoSuchBucket", "404")
TRIES = 3


def put(cloud: Cloud, bucket: str, key: str, body: Any, **options: str) -> str | None:
    """Write an object under a condition; returns its ETag, or None if the condition did not hold.

    Args:
        body: bytes, or a file that is open for reading.
        options: parameters of S3's PutObject: ``IfMatch`` or ``IfNoneMatch``, and others.

    Raises:
        CloudError: S3 refused.
    """
    s3 = cloud.client("s3")
    with cloud.faults():
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


def create(cloud: Cloud, bucket: str, key: str, body: Any, **options: str) -> bool:
    """Write an object unless it exists; returns whether it was written.

    Raises:
        CloudError: S3 refused.
    """
    return put(cloud, bucket, key, body, IfNoneMatch="*", **options) is not None


def get(cloud: Cloud, bucket: str, key: str) -> tuple[bytes, str] | None:
    """An object's content and ETag; None if it does not exist.

    Raises:
        CloudError: S3 refused.
    """
    with cloud.faults():
        try:
            answer = cloud.client("s3").get_object(Bucket=bucket, Key=key)
        except Exception as error:
            if code_of(error) not in MISSING:
                raise
            return None
        return answer["Body"].read(), str(answer["ETag"])


@contextmanager
def described(cloud: Cloud, bucket: str, key: str) -> Iterator[None]:
    """Add to the error for an object that can't be read how it can be restored, or dropped with the rest of a rehearsal.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/RestoringPreviousVersions.html

    Raises:
        Damaged: as the block, with the next command.
    """
    try:
        yield
    except Damaged as error:
        raise Damaged(error.message, next=remedy(cloud, bucket, key)) from error.__cause__


def remedy(cloud: Cloud, bucket: str, key: str) -> str:
    """How an object that was damaged or replaced is restored, or dropped with the rest of a rehearsal."""
    if cloud.name == "embedded":
        return "invoke cloud.reset, which deletes everything that the embedded AWS holds"
    place = f"--bucket {bucket} --prefix {key} --region {cloud.region}"
    return f"restore its previous version, which S3 keeps: aws s3api list-object-versions {place}"
