"""The model registry: groups of model packages, whose versions are approved or rejected.

https://docs.aws.amazon.com/sagemaker/latest/dg/model-registry.html
Not as there: no event is sent to EventBridge when an approval changes.
"""

from __future__ import annotations

from typing import Any

from embedded_aws.sagemaker import shapes, store, tags
from embedded_aws.sagemaker.refusal import Refusal
from embedded_aws.sagemaker.store import Record

PENDING, APPROVED = "PendingManualApproval", "Approved"


def create_group(request: Record) -> Record:
    """Create a group."""
    name, arn = request["ModelPackageGroupName"], store.arn("model-package-group", request["ModelPackageGroupName"])
    if name in store.table("groups"):
        raise Refusal(f"Model Package Group already exists: {arn}")
    store.table("groups")[name] = {
        **{k: v for k, v in request.items() if k != "Tags"},
        "ModelPackageGroupArn": arn,
        "CreationTime": store.now(),
        "CreatedBy": {},
        "ModelPackageGroupStatus": "Completed",
        "_last": 0,
    }
    tags.put(arn, request.get("Tags", []))
    return {"ModelPackageGroupArn": arn}


def _group(name: str) -> Record:
    short = name.rpartition("/")[2]
    found: Record | None = store.table("groups").get(short)
    if found is None:
        raise Refusal(f"ModelPackageGroup {store.arn('model-package-group', short)} does not exist.")
    return found


def describe_group(request: Record) -> Record:
    """Answer with the group's record."""
    return _group(request["ModelPackageGroupName"])


def delete_group(request: Record) -> Record:
    """Delete an empty group."""
    group = _group(request["ModelPackageGroupName"])
    name = group["ModelPackageGroupName"]
    if any(p["ModelPackageGroupName"] == name for p in store.table("packages").values()):
        raise Refusal(
            f"Model Package Group cannot be deleted because it still contains Model Packages: {name}",
            "ConflictException",
        )
    tags.drop(group["ModelPackageGroupArn"])
    del store.table("groups")[name]
    return {}


def find_groups(request: Record) -> Record:
    """List the groups."""
    operation, member = "ListModelPackageGroups", "ModelPackageGroupSummaryList"
    return store.listed(operation, member, store.table("groups").values(), request, name="ModelPackageGroupName")


def create(request: Record) -> Record:
    """Add a version to a group; it waits for approval unless the request says otherwise."""
    if not request.get("ModelPackageGroupName"):
        raise Refusal(
            "the embedded AWS emulates versioned model packages only: ModelPackageGroupName (CreateModelPackage)"
        )
    group = _group(request["ModelPackageGroupName"])
    specification = request.get("InferenceSpecification")
    if not specification:
        raise Refusal("InferenceSpecification is required.")
    with store.lock:
        group["_last"] += 1
        version = group["_last"]
    name = group["ModelPackageGroupName"]
    arn = f"{store.arn('model-package', name)}/{version}"
    store.table("packages")[arn] = {
        **{k: v for k, v in request.items() if k not in ("Tags", "ClientToken")},
        "ModelPackageGroupName": name,
        "ModelPackageVersion": version,
        "ModelPackageArn": arn,
        "CreationTime": store.now(),
        "CreatedBy": {},
        "ModelPackageStatus": "Completed",
        "ModelPackageStatusDetails": {"ValidationStatuses": [], "ImageScanStatuses": []},
        "ModelApprovalStatus": request.get("ModelApprovalStatus", PENDING),
    }
    return {"ModelPackageArn": arn}


def _package(name: str) -> Record:
    found: Record | None = store.table("packages").get(name)
    if found is None:
        raise Refusal(f"ModelPackage {name} does not exist.")
    return found


def describe(request: Record) -> Record:
    """Answer with the record."""
    return _package(request["ModelPackageName"])


def update(request: Record) -> Record:
    """Change the approval, or the metadata."""
    package = _package(request["ModelPackageArn"])
    with store.lock:
        changed: Record = {k: request[k] for k in ("ModelApprovalStatus", "ApprovalDescription") if k in request}
        kept = {**package.get("CustomerMetadataProperties", {}), **request.get("CustomerMetadataProperties", {})}
        dropped = request.get("CustomerMetadataPropertiesToRemove", [])
        if kept := {k: v for k, v in kept.items() if k not in dropped}:
            changed["CustomerMetadataProperties"] = kept
        else:
            package.pop("CustomerMetadataProperties", None)
        package.update(changed, LastModifiedTime=store.now(), LastModifiedBy={})
    return {"ModelPackageArn": package["ModelPackageArn"]}


def delete(request: Record) -> Record:
    """Delete it."""
    _package(request["ModelPackageName"])
    del store.table("packages")[request["ModelPackageName"]]
    return {}


def find(request: Record) -> Record:
    """List them."""
    kept = store.table("packages").values()
    if name := request.get("ModelPackageGroupName"):
        group = _group(name)["ModelPackageGroupName"]
        kept = [p for p in kept if p["ModelPackageGroupName"] == group]
    if status := request.get("ModelApprovalStatus"):
        kept = [p for p in kept if p["ModelApprovalStatus"] == status]
    operation, member = "ListModelPackages", "ModelPackageSummaryList"
    return store.listed(operation, member, kept, request, name="ModelPackageGroupName")


def resolved(container: Record) -> Record:
    """A model's container, with image and data of the package that it may name.

    Raises:
        Refusal: the package isn't approved; only approved ones are deployed.
    """
    if not (name := container.get("ModelPackageName")):
        return container
    package = _package(name)
    if package["ModelApprovalStatus"] != APPROVED:
        raise Refusal(f"Model package {name} is not approved: its approval status is {package['ModelApprovalStatus']}.")
    specified: dict[str, Any] = package["InferenceSpecification"]["Containers"][0]
    variables = {**specified.get("Environment", {}), **container.get("Environment", {})}
    return {**specified, "Environment": variables, "ModelPackageName": name}


def batch(request: Record) -> Record:
    """Describe several; what doesn't exist is an error of its own."""
    found, missing = {}, {}
    for name in request["ModelPackageArnList"]:
        package = store.table("packages").get(name)
        if package is None:
            missing[name] = {
                "ErrorCode": "ValidationException",
                "ErrorResponse": f"ModelPackage {name} does not exist.",
            }
        else:
            output = shapes.service().operation_model("BatchDescribeModelPackage").output_shape
            found[name] = shapes.picked(output.members["ModelPackageSummaries"].value, package)
    return {"ModelPackageSummaries": found, "BatchDescribeModelPackageErrorMap": missing}


OPERATIONS = {
    "CreateModelPackageGroup": create_group,
    "DescribeModelPackageGroup": describe_group,
    "DeleteModelPackageGroup": delete_group,
    "ListModelPackageGroups": find_groups,
    "CreateModelPackage": create,
    "DescribeModelPackage": describe,
    "UpdateModelPackage": update,
    "DeleteModelPackage": delete,
    "ListModelPackages": find,
    "BatchDescribeModelPackage": batch,
}
