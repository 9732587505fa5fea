"""Tags of every kind of resource, by its ARN.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_AddTags.html
"""

from __future__ import annotations

from embedded_aws.sagemaker import store
from embedded_aws.sagemaker.refusal import Refusal
from embedded_aws.sagemaker.store import Record

MOST = 50  # of one resource
ARNS = {
    "endpoints": "EndpointArn",
    "models": "ModelArn",
    "configs": "EndpointConfigArn",
    "training": "TrainingJobArn",
} | {
    "processing": "ProcessingJobArn",
    "tuning": "HyperParameterTuningJobArn",
    "groups": "ModelPackageGroupArn",
    "packages": "ModelPackageArn",
    "pipelines": "PipelineArn",
    "transform": "TransformJobArn",
}


def put(arn: str, tags: list[dict[str, str]]) -> None:
    """Add tags to a resource.

    Raises:
        Refusal: they are too many, or reserved.
    """
    if reserved := [tag["Key"] for tag in tags if tag["Key"].lower().startswith("aws:")]:
        raise Refusal(f"Tag keys starting with 'aws:' are reserved for system use: {reserved[0]}")
    kept = dict(store.table("tags").get(arn) or {}) | {tag["Key"]: tag["Value"] for tag in tags}
    if len(kept) > MOST:
        raise Refusal(f"The number of tags has reached the limit of {MOST}", "ResourceLimitExceeded")
    if kept:
        store.table("tags")[arn] = kept


def drop(arn: str) -> None:
    """Forget a deleted resource's tags."""
    store.table("tags").pop(arn, None)


def _shown(arn: str) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in (store.table("tags").get(arn) or {}).items()]


def _exists(arn: str) -> None:
    for kind, member in ARNS.items():
        if any(record[member] == arn for record in store.table(kind).values()):
            return
    raise Refusal(f"Could not find resource {arn}")


def add(request: Record) -> Record:
    """Add tags to a resource."""
    _exists(request["ResourceArn"])
    put(request["ResourceArn"], request["Tags"])
    return {"Tags": _shown(request["ResourceArn"])}


def find(request: Record) -> Record:
    """List a resource's tags."""
    _exists(request["ResourceArn"])
    return {"Tags": _shown(request["ResourceArn"])}


def delete(request: Record) -> Record:
    """Remove tags from a resource."""
    _exists(request["ResourceArn"])
    kept = store.table("tags").get(request["ResourceArn"]) or {}
    store.table("tags")[request["ResourceArn"]] = {k: v for k, v in kept.items() if k not in request["TagKeys"]}
    return {}


OPERATIONS = {"AddTags": add, "ListTags": find, "DeleteTags": delete}
