"""A call needs the rights that AWS checks, on the resource that AWS checks.

https://docs.aws.amazon.com/service-authorization/latest/reference/list_awslambda.html (and the other services' pages)
ministack checks the call's own action only. Added here: setting a function's role also needs ``iam:PassRole`` for that role
(https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_passrole.html); creating it with tags, ``lambda:TagResource``;
code from S3, ``s3:GetObject`` of that code. New functions, versions and aliases, builds, log groups, log streams and
dashboards are checked by their own ARNs, and Lambda's actions have AWS's names: ministack takes ``GetAlias`` for
``ListAliases``, and makes more such mistakes. "Not found" for a missing object needs the right to list its bucket.
"""

from __future__ import annotations

import json
import re
from contextvars import ContextVar
from typing import Any
from urllib.parse import unquote

Right = tuple[str, str, dict[str, str]]  # an action, the resource, and condition keys

_more: ContextVar[tuple[Right, ...]] = ContextVar("more", default=())
_denied: ContextVar[Right | None] = ContextVar("denied", default=None)
QUALIFIED = re.compile(r"/functions/[^/]+(/invocations|/configuration)?/?$")
CHANGING = re.compile(r"/functions(/[^/]+/(code|configuration))?/?$")


def patch() -> None:
    """Determine the resource, check the additional rights, and name the missing right in the error."""
    from ministack.core import iam_actions, iam_evaluator

    resource_of, enforce = iam_actions.extract_resource_arn, iam_evaluator.enforce
    denial = iam_actions.access_denied_response

    def named(service: str, method: str, path: str, headers: Any, body: bytes, query: Any, *where: str) -> str:
        found: str = resource_of(service, method, path, headers, body, query, *where)
        _denied.set(None)
        _more.set(())
        if service == "lambda":
            found = _function(found, path, query)
            if method in ("POST", "PUT") and CHANGING.search(path):
                document = _document(body)
                if "FunctionName" in document:
                    found = f"arn:aws:lambda:{where[0]}:{where[1]}:function:{document['FunctionName']}"
                _more.set(_lambda_rights(found, document))
        elif service == "s3" and method in ("GET", "HEAD"):
            _more.set(_s3_rights(path))
        elif service == "codebuild" and (ids := _document(body).get("ids") or [_document(body).get("id")])[0]:
            found = f"arn:aws:codebuild:{where[0]}:{where[1]}:project/{ids[0].rsplit(':', 1)[0].rsplit('/', 1)[-1]}"
        elif service == "logs" and ":log-group:" in found:
            stream = _document(body).get("logStreamName")
            found = f"{found.removesuffix(':*')}:log-stream:{stream}" if stream else f"{found.removesuffix(':*')}:*"
        elif service == "monitoring" and (board := _document(body).get("DashboardName")):
            found = f"arn:aws:cloudwatch::{where[1]}:dashboard/{board}"
        return found

    def enforced(key: str, action: str, service: str, region: str, **options: Any) -> Any:
        if denied := enforce(key, action, service, region, **options):
            return denied
        more = _more.get()
        _more.set(())
        for right in more:
            action, resource, keys = right
            name = action.partition(":")[0]
            if denied := enforce(key, action, name, region, resource_arn=resource, service_context=keys):
                _denied.set(right)
                return denied
        return None

    def deny(service: str, action: str, *arguments: Any, **options: Any) -> Any:
        if right := _denied.get():
            action, options["resource_arn"] = right[0], right[1]
        return denial(service, action, *arguments, **options)

    def lambda_action(method: str, path: str) -> str | None:
        action = iam_actions._match_rest_action("lambda", method, path, {})
        return "InvokeFunction" if action == "Invoke" else action

    iam_actions._BOTOCORE_SERVICE_MAP["lambda"] = ["lambda"]
    iam_actions._lambda_action = lambda_action
    iam_actions.extract_resource_arn = named
    iam_evaluator.enforce = enforced
    iam_actions.access_denied_response = deny


def require(*rights: Right) -> None:
    """Have this request checked for further rights, beside its operation's own."""
    _more.set(rights)


def _function(arn: str, path: str, query: Any) -> str:
    """The ARN with the version or alias that is called, read or deleted."""
    qualifier = query.get("Qualifier") or ""
    qualifier = qualifier[0] if isinstance(qualifier, list) else qualifier
    return f"{arn}:{qualifier}" if qualifier and QUALIFIED.search(unquote(path)) else arn


def _lambda_rights(function: str, document: dict[str, Any]) -> tuple[Right, ...]:
    code = document.get("Code") if isinstance(document.get("Code"), dict) else document
    rights: list[Right] = []
    if role := document.get("Role"):
        rights.append(("iam:PassRole", role, {"iam:PassedToService": "lambda.amazonaws.com"}))
    if document.get("Tags"):
        rights.append(("lambda:TagResource", function, {}))
    if code and code.get("S3Bucket"):
        rights.append(("s3:GetObject", f"arn:aws:s3:::{code['S3Bucket']}/{code.get('S3Key', '')}", {}))
    return tuple(rights)


def _s3_rights(path: str) -> tuple[Right, ...]:
    """A request for a missing object is answered with "not found" only if it may list the bucket, else denied.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
    """
    from ministack.services import s3

    name, _, key = unquote(path).strip("/").partition("/")
    bucket = s3._buckets.get(name)
    if not key or bucket is None or key in bucket["objects"]:
        return ()
    return (("s3:ListBucket", f"arn:aws:s3:::{name}", {}),)


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body or b"{}")
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
