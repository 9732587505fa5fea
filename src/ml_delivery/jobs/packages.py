"""The model registry: a model package for each promoted model; its approval follows ``model.lock``, and never leads it.

A package is created when its model is in ``model.lock`` of the working tree, and waits for approval. It is approved when
``model.lock`` of the branch's newest commit names it, and rejected when that names it no more. The description of a package is
the digest of its model, by which it is found.

https://docs.aws.amazon.com/sagemaker/latest/dg/model-registry-version.html
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import tomllib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ml_delivery import files, models, objects, source
from ml_delivery.errors import SourceError
from ml_delivery.jobs import datasets, images

if TYPE_CHECKING:
    from ml_delivery.models import Promoted
    from ml_delivery.records import Context

__all__ = ["APPROVED", "PENDING", "REJECTED", "Package", "follow", "group"]

PENDING, APPROVED, REJECTED = "PendingManualApproval", "Approved", "Rejected"
TYPES = ["application/json"]
EXISTS = "already exists"  # SageMaker has no error code of its own for that


@dataclass(frozen=True)
class Package:
    """A model package after it was made to follow ``model.lock``.

    Attributes:
        digest: of its model; ``arn``: its own name.
        status: its approval; ``before``: what that was, empty for a package that is new.
    """

    digest: str
    arn: str
    status: str
    before: str


def group(context: Context) -> str:
    """The group of the environment's packages; it is created unless it exists.

    Raises:
        CloudError: AWS refused.
    """
    with context.cloud.faults():
        try:
            context.cloud.client("sagemaker").create_model_package_group(ModelPackageGroupName=context.name)
        except Exception as error:
            if EXISTS not in str(error):
                raise
    return context.name


def follow(context: Context) -> tuple[Package, ...]:
    """Create what is missing, and set each approval by ``model.lock``; the packages that are new, or were changed.

    Raises:
        SourceError: another branch than the environment's is checked out.
        ModelError: ``model.lock`` can't be read.
        CloudError, BuildError, SetupError: AWS refused, or the image of jobs can't be built.
    """
    root, branch = context.config.root, context.environment.branch
    tree = source.read(root)
    if tree.branch != branch:
        raise SourceError(
            f"{tree.branch or 'no branch'} is checked out, and {context.environment.name} follows {branch}",
            next=f"git switch {branch}, then invoke register{context.where}",
        )
    with files.opened(root, replace(tree, dirty=False)) as held:
        try:
            committed = models.promoted(root, required=False, files=held)
            text = held.one(models.LOCK) if committed else b""
        except SourceError:  # model.lock is on the disk only
            committed, text = [], b""
    known, found = _known(context, group(context)), []
    here = models.promoted(root, required=False)
    for lock, named in ((text, committed), ((root / models.LOCK).read_bytes() if here else b"", here)):
        for model in named:
            if model.digest not in known:
                known[model.digest] = _create(context, model, lock, tree.commit), ""
    approved = {model.digest for model in committed}
    for digest, (arn, before) in known.items():
        status = APPROVED if digest in approved else REJECTED if before == APPROVED else before or PENDING
        if status != (before or PENDING):
            why = f"model.lock of {tree.commit} {'names it' if status == APPROVED else 'names it no more'}"
            with context.cloud.faults():
                context.cloud.client("sagemaker").update_model_package(
                    ModelPackageArn=arn, ModelApprovalStatus=status, ApprovalDescription=why
                )
        if status != before:
            found.append(Package(digest, arn, status, before))
    return tuple(found)


def _known(context: Context, name: str) -> dict[str, tuple[str, str]]:
    """ARN and approval of each package by its model's digest, the newest for one."""
    with context.cloud.faults():
        pages = context.cloud.client("sagemaker").get_paginator("list_model_packages")
        found: dict[str, tuple[str, str]] = {}
        for page in pages.paginate(ModelPackageGroupName=name, SortBy="CreationTime", SortOrder="Descending"):
            for package in page["ModelPackageSummaryList"]:
                entry = str(package["ModelPackageArn"]), str(package["ModelApprovalStatus"])
                found.setdefault(package.get("ModelPackageDescription", ""), entry)
        return found


def _create(context: Context, model: Promoted, lock: bytes, commit: str) -> str:
    """A package that waits for approval, with what ``lock`` has about its model; its ARN."""
    config, bucket = context.config, context.foundation.bucket
    place = f"jobs/models/{model.digest.removeprefix('sha256:')}"
    objects.create(context.cloud, bucket, f"{place}/model.tar.gz", _archive(model))
    metrics, data = _described(context, lock, model.role)
    objects.create(context.cloud, bucket, f"{place}/metrics-{commit}.json", json.dumps(metrics).encode())
    facts = {"model": model.digest, "role": model.role, "data": data, "service": config.service.name}
    container = {"Image": images.find(context), "ModelDataUrl": f"s3://{bucket}/{place}/model.tar.gz"}
    statistics = {"ContentType": "application/json", "S3Uri": f"s3://{bucket}/{place}/metrics-{commit}.json"}
    repository = {"Repository": config.github.repository} if config.github.repository else {}
    with context.cloud.faults():
        made = context.cloud.client("sagemaker").create_model_package(
            ModelPackageGroupName=context.name,
            ModelPackageDescription=model.digest,
            ModelApprovalStatus=PENDING,
            MetadataProperties={"CommitId": commit, **repository},
            CustomerMetadataProperties={name: value for name, value in facts.items() if value},
            ModelMetrics={"ModelQuality": {"Statistics": statistics}},
            InferenceSpecification={
                "Containers": [container],
                "SupportedContentTypes": TYPES,
                "SupportedResponseMIMETypes": TYPES,
            },
        )
    return str(made["ModelPackageArn"])


def _described(context: Context, text: bytes, role: str) -> tuple[dict[str, Any], str]:
    """The metrics that ``model.lock`` has of a model, and the digest of its data: of a dataset, or what ``[data]`` there has."""
    lock = tomllib.loads(text.decode("utf-8-sig"))
    metrics = lock.get(role, {}).get("metrics", {})
    named = datasets.named(context.config.train.options)
    data = lock.get("data", {}).get("digest", "") if isinstance(lock.get("data"), dict) else ""
    return metrics if isinstance(metrics, dict) else {}, ",".join(named) or str(data)


def _archive(model: Promoted) -> bytes:
    """The model as SageMaker has models, with the same bytes each time."""
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as made:
        entry = tarfile.TarInfo(model.file)
        entry.size = len(model.content)
        made.addfile(entry, io.BytesIO(model.content))
    return out.getvalue()
