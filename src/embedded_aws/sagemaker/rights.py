"""Who may do what: a request is checked on the resource it names, and passing a role needs ``iam:PassRole``.

https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsagemaker.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from embedded_aws.iam.rights import Right, require
from embedded_aws.sagemaker.roles import PRINCIPAL

# By the member of a request that names the resource: the resource's kind in its ARN. The first that is there counts.
NAMES = {
    "EndpointName": "endpoint",
    "EndpointConfigName": "endpoint-config",
    "ModelName": "model",
    "TrainingJobName": "training-job",
    "ProcessingJobName": "processing-job",
    "HyperParameterTuningJobName": "hyper-parameter-tuning-job",
    "ModelPackageGroupName": "model-package-group",
    "PipelineName": "pipeline",
    "TransformJobName": "transform-job",
}
LISTS = (
    "ListTags",
    "ListTrainingJobsForHyperParameterTuningJob",
    "ListPipelineExecutionSteps",
)  # those that are of a resource
INVOKED = re.compile(r"/endpoints/([^/]+)/invocations/?")


def patch() -> None:
    """Determine the resource, and the rights that are needed beside the operation's own."""
    from ministack.core import iam_actions

    resource_of = iam_actions.extract_resource_arn

    def named(service: str, method: str, path: str, headers: Any, body: bytes, query: Any, *where: str) -> str:
        found: str = resource_of(service, method, path, headers, body, query, *where)
        if service != "sagemaker":
            return found
        operation = headers.get("x-amz-target", "").rpartition(".")[2]
        if match := INVOKED.fullmatch(unquote(path)):
            return f"arn:aws:sagemaker:{where[0]}:{where[1]}:endpoint/{match[1].lower()}"
        try:
            request = json.loads(body or b"{}")
        except ValueError:
            return "*"
        if not isinstance(request, dict) or (operation.startswith("List") and operation not in LISTS):
            return "*"
        resource, *others = _resources(operation, request, f"arn:aws:sagemaker:{where[0]}:{where[1]}")
        require(*_more(operation, request, resource, others))
        return resource

    iam_actions.extract_resource_arn = named


def _resources(operation: str, request: dict[str, Any], prefix: str) -> list[str]:
    """The resources that the operation itself must be allowed on."""
    for member in ("ResourceArn", "ModelPackageArn", "PipelineExecutionArn"):
        if given := request.get(member):
            return [str(given)]
    if isinstance(given := request.get("ModelPackageName"), str) and given.startswith("arn:"):
        return [given]
    if operation == "CreateModelPackage" and (group := request.get("ModelPackageGroupName")):
        return [f"{prefix}:model-package/{str(group).rpartition('/')[2].lower()}/*"]
    short = {name: str(request[name]).rpartition("/")[2].lower() for name in NAMES if request.get(name)}
    found = [f"{prefix}:{NAMES[name]}/{value}" for name, value in short.items()]
    return found or ["*"]


def _more(operation: str, request: dict[str, Any], resource: str, others: list[str]) -> Iterator[Right]:
    for other in others:
        yield (f"sagemaker:{operation}", other, {})
    if request.get("Tags") and operation != "AddTags":
        yield ("sagemaker:AddTags", resource, {})
    definitions = [request.get("TrainingJobDefinition"), *(request.get("TrainingJobDefinitions") or [])]
    for holder in (request, *definitions):
        if not isinstance(holder, dict):
            continue
        for member in ("ExecutionRoleArn", "RoleArn"):
            if role := holder.get(member):
                yield ("iam:PassRole", str(role), {"iam:PassedToService": PRINCIPAL})
