"""Documented limits that no service model declares, by operation."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

INLINE, MANAGED, TRUST, ATTACHED = 10_240, 6_144, 2_048, 10  # of a role, and of a managed policy
STANDARD, ADVANCED, LEVELS = 4_096, 8_192, 15
EVENT, BATCH, OVERHEAD = 2**20, 2**20, 26
DAYS = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653)
MESSAGE = 262_144
VALIDATION = "ValidationError"


@dataclass(frozen=True)
class Refusal:
    """An error as AWS answers it."""

    code: str
    message: str
    status: int = 400


def counted(document: Any) -> int:
    """The characters of a policy that IAM counts, which white space is no part of."""
    return len(re.sub(r"\s", "", document if isinstance(document, str) else json.dumps(document)))


def iam(operation: str, parameters: dict[str, Any]) -> Refusal | None:
    """https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html"""
    from ministack.services import iam as service

    name, document = parameters.get("RoleName", ""), parameters.get("PolicyDocument", "")
    role, trust = service._roles.get(name) or {}, parameters.get("AssumeRolePolicyDocument")
    if operation == "PutRolePolicy":
        others = {k: v for k, v in role.get("InlinePolicies", {}).items() if k != parameters.get("PolicyName")}
        if sum(map(counted, (*others.values(), document))) > INLINE:
            return Refusal("LimitExceeded", f"Maximum policy size of {INLINE} bytes exceeded for role {name}", 409)
    elif operation in ("CreatePolicy", "CreatePolicyVersion") and counted(document) > MANAGED:
        return _quota("PolicySize", MANAGED)
    elif operation == "AttachRolePolicy":
        there = role.get("AttachedPolicies", [])
        if parameters.get("PolicyArn") not in there and len(there) >= ATTACHED:
            return _quota("PoliciesPerRole", ATTACHED)
    elif operation in ("CreateRole", "UpdateAssumeRolePolicy") and counted(trust or document) > TRUST:
        return _quota("ACLSizePerRole", TRUST)
    return None


def _quota(name: str, most: int) -> Refusal:
    return Refusal("LimitExceeded", f"Cannot exceed quota for {name}: {most}", 409)


def ssm(operation: str, parameters: dict[str, Any]) -> Refusal | None:
    """https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html"""
    if operation != "PutParameter":
        return None
    name, size = parameters.get("Name", ""), len(parameters.get("Value", "").encode())
    advanced = parameters.get("Tier", "Standard") != "Standard"
    kind, most = ("Advanced", ADVANCED) if advanced else ("Standard", STANDARD)
    if size > most:
        message = f"{kind} tier parameters support a maximum parameter value of {most} characters."
        return Refusal("ValidationException", message)
    if not re.fullmatch(r"[a-zA-Z0-9_./-]+", name) or ("/" in name and not name.startswith("/")):
        message = "Parameter name must be a fully qualified name of letters, numbers and .-_ symbols."
        return Refusal("ValidationException", message)
    if re.match(r"/?(aws|ssm)", name, re.I):
        message = f'Parameter name: can\'t be prefixed with "aws" or "ssm" (case-insensitive): {name}'
        return Refusal("ValidationException", message)
    if name.count("/") > LEVELS:
        message = f"Parameter hierarchies can't have more than {LEVELS} levels."
        return Refusal("HierarchyLevelLimitExceededException", message)
    return None


def secretsmanager(operation: str, parameters: dict[str, Any]) -> Refusal | None:
    """https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html"""
    if operation == "CreateSecret" and not re.fullmatch(r"[A-Za-z0-9/_+=.@-]+", parameters.get("Name", "")):
        message = (
            "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!"
        )
        return Refusal("ValidationException", message)
    return None


def ecr(operation: str, parameters: dict[str, Any]) -> Refusal | None:
    """https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_PutImage.html, https://github.com/opencontainers/distribution-spec"""
    tag = parameters.get("imageTag")
    if operation == "PutImage" and tag and not re.fullmatch(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,299}", tag):
        return Refusal(
            "InvalidParameterException", f"Invalid parameter at 'imageTag' failed to satisfy constraint: {tag}"
        )
    return None


def logs(operation: str, parameters: dict[str, Any]) -> Refusal | None:
    """https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html, …/API_PutRetentionPolicy.html"""
    if operation == "PutRetentionPolicy" and int(parameters.get("retentionInDays", DAYS[0])) not in DAYS:
        return Refusal("InvalidParameterException", f"The retention is not one of {', '.join(map(str, DAYS))} days")
    if operation == "PutLogEvents":
        sizes = [len(event.get("message", "").encode()) + OVERHEAD for event in parameters.get("logEvents", [])]
        if any(size > EVENT for size in sizes):
            return Refusal(
                "InvalidParameterException", f"Log event too large: {max(sizes)} bytes exceeds limit of {EVENT}"
            )
        if sum(sizes) > BATCH:
            return Refusal(
                "InvalidParameterException", f"Upload too large: {sum(sizes)} bytes exceeds limit of {BATCH}"
            )
    return None


def cloudwatch(operation: str, parameters: dict[str, Any]) -> Refusal | None:
    """https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html, …/API_PutMetricData.html"""
    if operation == "PutMetricData":
        if len(parameters.get("MetricData", [])) > 1000:
            return Refusal("InvalidParameterValue", "The collection MetricData must not have a size greater than 1000.")
        if parameters.get("Namespace", "").startswith("AWS/"):
            return Refusal("InvalidParameterValue", "The value AWS/ for parameter Namespace is invalid.")
    elif operation == "PutMetricAlarm":
        period, number = parameters.get("Period"), int(parameters.get("EvaluationPeriods", 1))
        if period is not None and period not in (10, 20, 30) and int(period) % 60:
            return Refusal(VALIDATION, "Period must be 10, 20, 30 or a multiple of 60")
        if period is not None and number * int(period) > (7 if int(period) >= 3600 else 1) * 86_400:
            return Refusal(VALIDATION, "Metrics cannot be checked across more than a day (EvaluationPeriods * Period)")
    elif operation == "PutDashboard" and not re.fullmatch(r"[A-Za-z0-9_-]{1,255}", parameters.get("DashboardName", "")):
        return Refusal(
            "InvalidParameterInput", "The dashboard name has characters that are not letters, digits, - or _"
        )
    return None


def sns(operation: str, parameters: dict[str, Any]) -> Refusal | None:
    """https://docs.aws.amazon.com/sns/latest/api/API_Publish.html"""
    if operation == "Publish":
        if len(parameters.get("Message", "").encode()) > MESSAGE:
            return Refusal("InvalidParameter", "Invalid parameter: Message too long")
        subject = parameters.get("Subject")
        if subject is not None and not (re.fullmatch(r"[ -~]{1,99}", subject) and subject[0] != " "):
            return Refusal("InvalidParameter", "Invalid parameter: Subject")
    return None


def cloudformation(operation: str, parameters: dict[str, Any]) -> Refusal | None:
    """https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/resources-section-structure.html"""
    body = parameters.get("TemplateBody")
    if operation in ("CreateStack", "UpdateStack", "CreateChangeSet", "ValidateTemplate") and body:
        from ministack.services.cloudformation.engine import _parse_template

        try:
            names = (_parse_template(body) or {}).get("Resources") or {}
        except Exception:  # of its parsers; the service reports what is wrong
            return None
        for name in names:
            if not re.fullmatch(r"[a-zA-Z0-9]{1,255}", str(name)):
                return Refusal(VALIDATION, f"Template format error: Resource name {name} is non alphanumeric.")
    return None


RULES: dict[str, Callable[[str, dict[str, Any]], Refusal | None]] = {
    "cloudformation": cloudformation,
    "cloudwatch": cloudwatch,
    "ecr": ecr,
    "iam": iam,
    "logs": logs,
    "secretsmanager": secretsmanager,
    "sns": sns,
    "ssm": ssm,
}
