"""Objects in S3, to and from folders, with the rights of the execution role."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from embedded_aws.sagemaker.roles import Session


class TransferFailed(Exception):
    """A transfer from or to S3 failed; the message says of what and why."""


def split(uri: str) -> tuple[str, str]:
    """Bucket and key of ``s3://bucket/key``."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def download(
    session: Session, source: dict[str, Any], folder: Path, *, host: int = 0, hosts: int = 1, unpack: bool = False
) -> None:
    """Download the objects that a source names into ``folder``; of a sharded one, those of the host number ``host``.

    Args:
        source: ``S3Uri``, ``S3DataType`` (a prefix or a manifest) and ``S3DataDistributionType``.
        unpack: objects are compressed with gzip.

    Raises:
        TransferFailed: there are none, or the role may not read them.
    """
    client = session.client("s3")
    folder.mkdir(parents=True, exist_ok=True)
    found = listed(session, source)
    with _naming(source["S3Uri"], "download"):
        if source.get("S3DataDistributionType") == "ShardedByS3Key":
            found = found[host::hosts]
        for bucket, key, name in found:
            place = (folder / name).resolve()
            if not place.is_relative_to(folder.resolve()):
                raise TransferFailed(f"the key {key!r} leads outside of its channel")
            place.parent.mkdir(parents=True, exist_ok=True)
            content = client.get_object(Bucket=bucket, Key=key)["Body"].read()
            if unpack and place.suffix == ".gz":
                place, content = place.with_suffix(""), gzip.decompress(content)
            place.write_bytes(content)


def listed(session: Session, source: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Bucket, key and name of each object that a source names, sorted.

    Raises:
        TransferFailed: there are none, or the role may not list them.
    """
    client, every = session.client("s3"), _manifest if source.get("S3DataType") == "ManifestFile" else objects
    with _naming(source["S3Uri"], "download"):
        if found := sorted(every(client, source["S3Uri"])):
            return found
    raise TransferFailed(
        f'No S3 objects found under S3 URL "{source["S3Uri"]}" given in input data source. Please ensure that '
        f"the bucket exists in the selected region ({session.region}), that objects exist under that S3 "
        f'prefix, and that the role "{session.role}" has s3:ListBucket permissions on the bucket.'
    )


def read(session: Session, bucket: str, key: str) -> bytes:
    """An object's content.

    Raises:
        TransferFailed: the role may not read it.
    """
    with _naming(f"s3://{bucket}/{key}", "download"):
        content: bytes = session.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
        return content


def write(session: Session, uri: str, content: bytes) -> None:
    """Write an object.

    Raises:
        TransferFailed: the role may not.
    """
    bucket, key = split(uri)
    with _naming(uri, "upload"):
        session.client("s3").put_object(Bucket=bucket, Key=key, Body=content)


def objects(client: Any, uri: str) -> Iterator[tuple[str, str, str]]:
    """Bucket, key and name below a prefix: of each object that begins with it; none for a folder's own marker."""
    bucket, prefix = split(uri)
    token: dict[str, str] = {}
    while True:
        page = client.list_objects_v2(Bucket=bucket, Prefix=prefix, **token)
        for entry in page.get("Contents", []):
            key = entry["Key"]
            if not key.endswith("/"):
                rest = key.removeprefix(prefix)
                whole = not prefix or prefix.endswith("/") or rest.startswith("/")
                yield bucket, key, rest.lstrip("/") if whole else key[prefix.rfind("/") + 1 :]
        if not page.get("IsTruncated"):
            return
        token = {"ContinuationToken": page["NextContinuationToken"]}


def _manifest(client: Any, uri: str) -> Iterator[tuple[str, str, str]]:
    """The objects of a manifest: ``[{"prefix": "s3://…/"}, "key", …]``.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_S3DataSource.html
    """
    bucket, key = split(uri)
    try:
        first, *names = json.loads(client.get_object(Bucket=bucket, Key=key)["Body"].read())
        prefix = first["prefix"]
    except (ValueError, KeyError, TypeError) as error:
        raise TransferFailed(f"{uri} is no manifest: {error!r}") from error
    for name in names:
        where, inner = split(prefix + name)
        yield where, inner, name


def upload(session: Session, folder: Path, uri: str) -> None:
    """Upload the files of a folder below ``uri``; links aren't followed, as on SageMaker.

    Raises:
        TransferFailed: the role may not write there.
    """
    client = session.client("s3")
    with _naming(uri, "upload"):
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                bucket, prefix = split(uri)
                key = f"{prefix.rstrip('/')}/{path.relative_to(folder).as_posix()}".lstrip("/")
                client.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())


def upload_file(session: Session, path: Path, uri: str) -> None:
    """Upload one file.

    Raises:
        TransferFailed: the role may not write there.
    """
    with _naming(uri, "upload"), path.open("rb") as body:
        bucket, key = split(uri)
        session.client("s3").put_object(Bucket=bucket, Key=key, Body=body)


@contextmanager
def _naming(uri: str, what: str) -> Iterator[None]:
    """An error of S3 within names the place."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError, OSError) as error:
        raise TransferFailed(f"Failed to {what} {uri}: {error}") from error
