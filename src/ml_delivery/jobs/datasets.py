"""Datasets: ``data/<digest>/data.parquet`` and its ``manifest.json``, by the digest of the content and written once.

An option whose value is such a path names a dataset; the same path is in the service's folder and in the environment's bucket.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_delivery import objects
from ml_delivery.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ml_delivery.records import Context

__all__ = ["Dataset", "Origin", "digest_of", "keep", "named", "path", "require", "upload"]

FILE, MANIFEST = "data.parquet", "manifest.json"
# A digest that was cut short, as some messages show it, is meant as one too, and refused as unknown.
NAMED = re.compile(r"(?:\./)?data/([0-9a-f]{12,64})/data\.parquet")


@dataclass(frozen=True)
class Origin:
    """What a dataset was made from: the option that names it, its place, its size in bytes and what identifies its content.

    ``version`` is S3's version id, empty for a bucket without versions; ``etag`` is S3's, or the digest of a file.
    """

    option: str
    place: str
    size: int
    version: str
    etag: str


@dataclass(frozen=True)
class Dataset:
    """A dataset, as its manifest describes it.

    Attributes:
        digest: of ``data.parquet``, in hex.
        rows: that remain; ``dropped``: how many were dropped, by the reason.
        sources: what the notebook read.
        notebook: the notebook's path; ``code``: its digest.
        options: what the notebook was given.
        new: whether it was not here before.
    """

    digest: str
    rows: int
    dropped: dict[str, int]
    sources: tuple[Origin, ...]
    notebook: str
    code: str
    options: dict[str, Any]
    new: bool


def path(digest: str) -> str:
    """Where a dataset is, below the service's folder and in the bucket."""
    return f"data/{digest}/{FILE}"


def named(options: Mapping[str, Any]) -> tuple[str, ...]:
    """The digests of the datasets that options name."""
    found = [NAMED.fullmatch(value) for value in options.values() if isinstance(value, str)]
    return tuple(match[1] for match in found if match)


def digest_of(file: Path) -> str:
    """The digest of a file's content, in hex."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def keep(root: Path, made: Path, dataset: Dataset) -> Dataset:
    """Move ``made``, a dataset's content, to its place in the service's folder; one that is there already stays as it is."""
    folder = root / "data" / dataset.digest
    whole = (folder / MANIFEST).is_file() and (folder / FILE).is_file() and digest_of(folder / FILE) == dataset.digest
    if whole:
        return _described(folder / MANIFEST, new=False)
    folder.mkdir(parents=True, exist_ok=True)
    arriving = folder / f".{FILE}.{os.getpid()}"
    shutil.copyfile(made, arriving)
    arriving.replace(folder / FILE)
    described = asdict(dataset)
    del described["new"]
    (folder / f"{MANIFEST}.new").write_text(json.dumps(described, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    (folder / f"{MANIFEST}.new").replace(folder / MANIFEST)
    return dataset


def require(root: Path, options: Mapping[str, Any], context: Context | None) -> None:
    """Check that each dataset that options name is in the service's folder, unaltered; what is missing is fetched.

    Args:
        root: the service's folder.
        options: of a command.
        context: the environment whose bucket has what is missing; without one, nothing is fetched.

    Raises:
        ModelError: a dataset is neither here nor there, or was altered.
        CloudError: it can't be fetched.
    """
    for digest in named(options):
        file = root / path(digest)
        for name in (FILE, MANIFEST) if context else (FILE,):  # to train here, the manifest is not needed
            if not file.with_name(name).is_file():
                _fetch(file.with_name(name), digest, context)
        if (found := digest_of(file)) != digest:
            raise ModelError(
                f"{path(digest)} was altered: its digest is {found}",
                next=f"rm {path(digest)}, then run this again with --branch, which fetches it",
            )


def upload(root: Path, digest: str, context: Context) -> None:
    """Upload a dataset that is here, unless the bucket has it.

    Raises:
        CloudError: S3 refused.
    """
    bucket = context.foundation.bucket
    for name in (MANIFEST, FILE):
        with (root / "data" / digest / name).open("rb") as body:
            objects.create(context.cloud, bucket, f"data/{digest}/{name}", body)


def _fetch(file: Path, digest: str, context: Context | None) -> None:
    remedy = "invoke prepare, which makes datasets and prints their digests"
    if context is None:
        raise ModelError(
            f"there is no dataset {digest} in data/",
            next=f"run this again with --branch, which fetches it; or {remedy}",
        )
    found = objects.get(context.cloud, context.foundation.bucket, f"data/{digest}/{file.name}")
    if found is None:
        what = f"dataset {digest}" if file.name == FILE else f"{MANIFEST} of the dataset {digest}"
        raise ModelError(
            f"there is no {what}, neither in data/ nor in the bucket {context.foundation.bucket}", next=remedy
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    arriving = file.with_name(f".{file.name}.{os.getpid()}")
    arriving.write_bytes(found[0])
    arriving.replace(file)


def _described(manifest: Path, *, new: bool) -> Dataset:
    """The dataset that a manifest describes.

    Raises:
        ModelError: it can't be read.
    """
    try:
        found = json.loads(manifest.read_text(encoding="utf-8"))
        sources = tuple(Origin(**source) for source in found.pop("sources"))
        return Dataset(**found, sources=sources, new=new)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(
            f"{manifest.parent.name[:12]}…/{MANIFEST} can't be read: {error}",
            next=f"rm -r data/{manifest.parent.name}, then invoke prepare",
        ) from error
