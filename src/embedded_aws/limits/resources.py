"""A stack's resources are within the limits of the requests that would make them.

CloudFormation makes resources by their services' own operations, whose errors fail the resource:
https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/troubleshooting.html
ministack makes them past these operations.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from embedded_aws.limits import objects
from embedded_aws.limits.constraints import operations
from embedded_aws.limits.requests import SERVICES, refused
from embedded_aws.limits.rules import ATTACHED, INLINE, counted

Requests = Iterator[tuple[str, str, dict[str, Any]]]  # service, operation, parameters


def patch() -> None:
    """Check what a resource is created and updated with."""
    from ministack.services.cloudformation import provisioners

    for kind, requests in RESOURCES.items():
        handler = provisioners._RESOURCE_HANDLERS[kind]
        for verb, place in (("create", 1), ("update", 2)):
            if verb in handler:
                handler[verb] = _checking(handler[verb], place, requests)


def _checking(act: Any, place: int, requests: Callable[[dict[str, Any]], Requests]) -> Any:
    def checked(*words: Any) -> Any:
        for service, operation, parameters in requests(words[place]):
            model = operations(SERVICES[service].name)[operation].input_shape
            if refusal := refused(SERVICES[service], operation, model, _typed(model, parameters)):
                raise ValueError(f"{refusal.message} (Service: {service}, Error Code: {refusal.code})")
        return act(*words)

    return checked


def _typed(model: Any, parameters: dict[str, Any]) -> dict[str, Any]:
    """A template's parameters with the names and numbers of the request; those without a value are left out."""
    names = {name.lower(): name for name in model.members}
    found = {names[n.lower()]: value for n, value in parameters.items() if n.lower() in names and value is not None}
    for name, value in found.items():
        kind = model.members[name].type_name
        if kind in ("integer", "long") and isinstance(value, str) and value.lstrip("-").isdigit():
            found[name] = int(value)
        elif kind == "string" and isinstance(value, dict):
            found[name] = json.dumps(value)
    return found


def _role(properties: dict[str, Any]) -> Requests:
    yield "iam", "CreateRole", {name: value for name, value in properties.items() if name != "Policies"}
    inline = [policy["PolicyDocument"] for policy in properties.get("Policies") or []]
    if sum(map(counted, inline)) > INLINE:
        raise ValueError(f"Maximum policy size of {INLINE} bytes exceeded for role {properties.get('RoleName', '')}")
    if len(properties.get("ManagedPolicyArns") or []) > ATTACHED:
        raise ValueError(f"Cannot exceed quota for PoliciesPerRole: {ATTACHED}")


def _managed_policy(properties: dict[str, Any]) -> Requests:
    name = properties.get("ManagedPolicyName")
    document = {"PolicyDocument": properties.get("PolicyDocument"), "Description": properties.get("Description")}
    yield "iam", "CreatePolicy", {"PolicyName": name, **document}


def _log_group(properties: dict[str, Any]) -> Requests:
    yield "logs", "CreateLogGroup", {"logGroupName": properties.get("LogGroupName")}
    if (days := properties.get("RetentionInDays")) is not None:
        yield "logs", "PutRetentionPolicy", {"retentionInDays": days}


def _bucket(properties: dict[str, Any]) -> Requests:
    if objects.RESERVED.fullmatch(properties.get("BucketName") or ""):
        raise ValueError("The specified bucket is not valid. (Service: s3, Error Code: InvalidBucketName)")
    yield from ()


def _like(service: str, operation: str, *left_out: str) -> Callable[[dict[str, Any]], Requests]:
    """The requests of a resource whose properties have the names of the operation's parameters."""

    def requests(properties: dict[str, Any]) -> Requests:
        yield service, operation, {name: value for name, value in properties.items() if name not in left_out}

    return requests


RESOURCES: dict[str, Callable[[dict[str, Any]], Requests]] = {
    "AWS::CloudWatch::Alarm": _like("monitoring", "PutMetricAlarm", "Metrics", "Dimensions", "Tags"),
    "AWS::CloudWatch::Dashboard": _like("monitoring", "PutDashboard"),
    "AWS::CodeBuild::Project": _like(
        "codebuild", "CreateProject", "Source", "Artifacts", "Environment", "Triggers", "Tags", "Cache", "LogsConfig"
    ),
    "AWS::ECR::Repository": lambda properties: iter(
        [("ecr", "CreateRepository", {"repositoryName": properties.get("RepositoryName")})]
    ),
    "AWS::IAM::ManagedPolicy": _managed_policy,
    "AWS::IAM::Role": _role,
    "AWS::Logs::LogGroup": _log_group,
    "AWS::S3::Bucket": _bucket,
    "AWS::SSM::Parameter": _like("ssm", "PutParameter", "Tags"),
}
