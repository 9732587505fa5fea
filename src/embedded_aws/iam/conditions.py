"""Condition keys of S3's documented policy for write-once objects, of CodeBuild's builds, and the sessions that a policy can name.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes-enforce.html
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html#condition-keys-principalarn
ministack knows neither ``s3:if-none-match``, ``s3:if-match`` nor ``s3:ObjectCreationOperation``; it takes an ETag as
``If-None-Match`` of a write, and such headers of a copy, which S3 does not implement; and a role's session has the session's ARN
as ``aws:PrincipalArn``, where AWS has the role's.

https://docs.aws.amazon.com/codebuild/latest/userguide/action-context-keys.html
CodeBuild has a key for most of what a request can replace of a project; ministack has none.
"""

from __future__ import annotations

import json
import re
from typing import Any

WRITE = "s3:PutObject"
START = "codebuild:StartBuild"
CREATION = "s3:ObjectCreationOperation"
# The fields of StartBuild that replace a project's, by CodeBuild's key for them.
REPLACED = {
    "artifacts": "artifactsOverride",
    "cache": "cacheOverride",
    "encryptionKey": "encryptionKeyOverride",
    "environment.certificate": "certificateOverride",
    "environment.computeType": "computeTypeOverride",
    "environment.fleet.fleetArn": "fleetOverride",
    "environment.image": "imageOverride",
    "environment.imagePullCredentialsType": "imagePullCredentialsTypeOverride",
    "environment.privilegedMode": "privilegedModeOverride",
    "environment.registryCredential": "registryCredentialOverride",
    "environment.type": "environmentTypeOverride",
    "logsConfig": "logsConfigOverride",
    "secondaryArtifacts": "secondaryArtifactsOverride",
    "secondarySources": "secondarySourcesOverride",
    "serviceRole": "serviceRoleOverride",
    "source.auth.type": "sourceAuthOverride",
    "source.buildspec": "buildspecOverride",
    "source.insecureSsl": "insecureSslOverride",
    "source.location": "sourceLocationOverride",
}
SESSION = re.compile(r"arn:(?P<partition>[^:]+):sts::(?P<account>\d+):assumed-role/(?P<role>.+)/[^/]+")


def patch() -> None:
    """Add the keys to what a request carries, and refuse the headers that S3 refuses."""
    from ministack.core import iam_actions, iam_evaluator
    from ministack.services import s3

    context_of, resolve = iam_actions.s3_service_context, iam_evaluator._resolve_condition_key
    tags_of = iam_actions.request_tag_context
    preconditions, copy = s3._check_put_preconditions, s3._copy_object

    def context(action: str, query: Any, path: str = "", headers: Any = None) -> dict[str, Any]:
        found: dict[str, Any] = context_of(action, query, path, headers)
        return {**found, **_of_write(query or {}, headers or {})} if action == WRITE else found

    def with_build(service: str, action: str, body: bytes, *arguments: Any) -> dict[str, Any]:
        found: dict[str, Any] = tags_of(service, action, body, *arguments)
        return {**found, **_of_build(body)} if action == START else found

    def resolved(key: str, request: Any) -> Any:
        if key.lower() == "aws:principalarn" and (found := SESSION.fullmatch(request.principal_arn)):
            return f"arn:{found['partition']}:iam::{found['account']}:role/{found['role']}"
        return resolve(key, request)

    def checked(headers: Any, there: Any) -> Any:
        if headers.get("if-none-match", "*").strip() not in ("", "*"):
            return _not_implemented(s3)
        return preconditions(headers, there)

    def copied(bucket: str, key: str, headers: Any) -> Any:
        if headers.get("if-none-match") or headers.get("if-match"):
            return _not_implemented(s3)
        return copy(bucket, key, headers)

    iam_actions.s3_service_context = context
    iam_actions.request_tag_context = with_build
    iam_evaluator._resolve_condition_key = resolved
    s3._check_put_preconditions = checked
    s3._copy_object = copied


def _of_write(query: Any, headers: Any) -> dict[str, Any]:
    """The keys of an upload; its parts, and what starts it, don't create the object."""
    keys = {f"s3:{name}": headers[name] for name in ("if-none-match", "if-match") if headers.get(name)}
    return {**keys, CREATION: str(not {"uploads", "partNumber"} & set(query)).lower()}


def _of_build(body: bytes) -> dict[str, Any]:
    """The keys of a build's start: what it replaces, each variable's name, and by its name its value."""
    try:
        asked = json.loads(body or b"{}")
        variables = [
            (str(one["name"]), str(one.get("value", ""))) for one in asked.get("environmentVariablesOverride") or ()
        ]
    except (ValueError, TypeError, LookupError, AttributeError):  # the operation refuses it
        return {}
    keys: dict[str, Any] = {f"codebuild:{key}": asked[name] for key, name in REPLACED.items() if name in asked}
    if variables:
        place = "codebuild:environment.environmentVariables"
        keys |= {f"{place}.name": [name for name, _ in variables], f"{place}.value": [value for _, value in variables]}
        for name, value in variables:
            keys.setdefault(f"{place}/{name}.value", []).append(value)
    return keys


def _not_implemented(s3: Any) -> Any:
    return s3._error("NotImplemented", "A header you provided implies functionality that is not implemented", 501)
