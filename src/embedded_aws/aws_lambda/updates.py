"""Concurrent changes of a function are refused, and a dry run changes nothing.

On AWS, an update or publication during another update is refused with ``ResourceConflictException``; ``DryRun`` only
validates; ``PublishVersion`` with another ``CodeSha256`` or ``RevisionId`` than ``$LATEST``'s is refused:
https://docs.aws.amazon.com/lambda/latest/api/API_PublishVersion.html
https://docs.aws.amazon.com/lambda/latest/api/API_UpdateFunctionCode.html
ministack performs all of these.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any


def patch() -> None:
    """Check for these errors before ministack's own operations run."""
    from ministack.services import lambda_svc as lambda_

    update_code, update_config = lambda_._update_code, lambda_._update_config
    publish, restore = lambda_._publish_version, lambda_._restore_state

    def refusal(kind: str, message: str, status: int) -> Any:
        return lambda_.error_response_json(kind, message, status)

    def in_progress(name: str) -> Any | None:
        function = lambda_._functions.get(name)
        if function is None:
            return None
        states = (function["config"].get("State"), function["config"].get("LastUpdateStatus"))
        if "Pending" not in states and "InProgress" not in states:
            return None
        arn = function["config"]["FunctionArn"]
        return refusal(
            "ResourceConflictException",
            f"The operation cannot be performed at this time. An update is in progress for resource: {arn}",
            409,
        )

    def code(name: str, data: dict[str, Any]) -> Any:
        if data.get("DryRun"):
            return dry_run(name, data)
        return in_progress(name) or update_code(name, data)

    def dry_run(name: str, data: dict[str, Any]) -> Any:
        function = lambda_._functions.get(name)
        if function is None:
            return update_code(name, data)  # whose error says that there is no such function
        content = (
            base64.b64decode(data["ZipFile"])
            if "ZipFile" in data
            else lambda_._fetch_code_from_s3(
                data.get("S3Bucket", ""), data.get("S3Key", ""), data.get("S3ObjectVersion")
            )
        )
        if content is None:
            where = f"s3://{data.get('S3Bucket')}/{data.get('S3Key')}"
            return refusal("InvalidParameterValueException", f"Failed to fetch code from {where}", 400)
        digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
        return lambda_._reject_unreadable_zip(content) or lambda_.json_response(
            {**function["config"], "CodeSha256": digest, "CodeSize": len(content)}
        )

    def configuration(name: str, data: dict[str, Any]) -> Any:
        return in_progress(name) or update_config(name, data)

    def version(name: str, data: dict[str, Any]) -> Any:
        function = lambda_._functions.get(name)
        if function is not None:
            if conflict := in_progress(name) or lambda_._check_revision(function["config"], data):
                return conflict
            wanted, there = data.get("CodeSha256"), function["config"]["CodeSha256"]
            if wanted and wanted != there:
                return refusal(
                    "InvalidParameterValueException",
                    f"CodeSHA256 ({wanted}) is different from current CodeSHA256 in $LATEST ({there}). "
                    "Please try again with the CodeSHA256 in $LATEST.",
                    400,
                )
        return publish(name, data)

    def settled(data: Any) -> None:
        """Complete updates that were in progress when the server ended: the thread that would complete them is gone."""
        restore(data)
        for function in lambda_._functions._data.values():
            for record in (function, *function.get("versions", {}).values()):
                if (
                    record["config"].get("State") == "Pending"
                    or record["config"].get("LastUpdateStatus") == "InProgress"
                ):
                    record["config"] |= {"State": "Active", "LastUpdateStatus": "Successful"}

    operations: dict[str, Callable[..., Any]] = {
        "_update_code": code,
        "_update_config": configuration,
        "_publish_version": version,
        "_restore_state": settled,
    }
    for attribute, operation in operations.items():
        setattr(lambda_, attribute, operation)
