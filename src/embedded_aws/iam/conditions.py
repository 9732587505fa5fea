"""Condition keys that S3's documented policy for write-once objects needs, and the sessions that a policy can name.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes-enforce.html
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html#condition-keys-principalarn
ministack knows neither ``s3:if-none-match``, ``s3:if-match`` nor ``s3:ObjectCreationOperation``; it takes an ETag as
``If-None-Match`` of a write, and such headers of a copy, which S3 does not implement; and a role's session has the session's ARN
as ``aws:PrincipalArn``, where AWS has the role's.
"""

from __future__ import annotations

import re
from typing import Any

WRITE = "s3:PutObject"
CREATION = "s3:ObjectCreationOperation"
SESSION = re.compile(r"arn:(?P<partition>[^:]+):sts::(?P<account>\d+):assumed-role/(?P<role>.+)/[^/]+")


def patch() -> None:
    """Add the keys to what a request carries, and refuse the headers that S3 refuses."""
    from ministack.core import iam_actions, iam_evaluator
    from ministack.services import s3

    context_of, resolve = iam_actions.s3_service_context, iam_evaluator._resolve_condition_key
    preconditions, copy = s3._check_put_preconditions, s3._copy_object

    def context(action: str, query: Any, path: str = "", headers: Any = None) -> dict[str, Any]:
        found: dict[str, Any] = context_of(action, query, path, headers)
        return {**found, **_of_write(query or {}, headers or {})} if action == WRITE else found

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
    iam_evaluator._resolve_condition_key = resolved
    s3._check_put_preconditions = checked
    s3._copy_object = copied


def _of_write(query: Any, headers: Any) -> dict[str, Any]:
    """The keys of an upload; its parts, and what starts it, don't create the object."""
    keys = {f"s3:{name}": headers[name] for name in ("if-none-match", "if-match") if headers.get(name)}
    return {**keys, CREATION: str(not {"uploads", "partNumber"} & set(query)).lower()}


def _not_implemented(s3: Any) -> Any:
    return s3._error("NotImplemented", "A header you provided implies functionality that is not implemented", 501)
