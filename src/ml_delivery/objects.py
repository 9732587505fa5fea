"""Conditional writes to S3, so that one of two concurrent writers fails.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ml_delivery.cloud import code_of

if TYPE_CHECKING:
    from ml_delivery.cloud import Cloud

__all__ = ["create", "get", "put"]

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
