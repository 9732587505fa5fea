"""A Function URL is called by whom its function's policy, or the caller's own, allows both actions.

Since October 2025 AWS requires ``lambda:InvokeFunctionUrl`` and, on a call by way of the URL, ``lambda:InvokeFunction``; a URL
without authentication is open only if the function's policy grants both to everyone:
https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html
ministack checks the first of them alone, for signed requests alone.
"""

from __future__ import annotations

import json
from typing import Any

INVOKE_URL = "lambda:InvokeFunctionUrl"
INVOKE = ("lambda:InvokeFunction", {"lambda:InvokedViaFunctionUrl": "true"})
FORBIDDEN = "Forbidden. For troubleshooting Function URL authorization issues, see: https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html"


def patch(app: Any) -> None:
    """Check what ministack does not, before it calls the function."""
    serve = app._handle_lambda_url_request

    async def authorized(host: str, path: str, method: str, headers: Any, body: bytes, query: Any, **more: Any) -> Any:
        called = app._parse_lambda_url(host, path)
        function, keys, found = app._function_url_auth_target(called[0]) if called else ("", {}, None)
        if not found:
            return await serve(host, path, method, headers, body, query, **more)
        preflight = method == "OPTIONS" and found[4].get("Cors")  # the URL itself answers it
        if preflight or (_is_open(keys) and all(_public(function, *one) for one in ((INVOKE_URL, keys), INVOKE))):
            call = app._get_module("lambda_svc").handle_function_url_request
            return await call(called[0], method, called[1], headers, body, query, resolved=found, **more)
        if _is_open(keys) or not app.extract_access_key_id(headers, query) or _denied(app, function, headers, query):
            text = json.dumps({"Message": FORBIDDEN}).encode()
            return 403, {"Content-Type": "application/json", "x-amzn-ErrorType": "AccessDeniedException"}, text
        return await serve(host, path, method, headers, body, query, **more)

    app._handle_lambda_url_request = authorized


def _is_open(keys: dict[str, str]) -> bool:
    return keys["lambda:FunctionUrlAuthType"] == "NONE"


def _denied(app: Any, function: str, headers: Any, query: Any) -> bool:
    """Whether who has signed may not call the function by way of its URL; whether they may call the URL, ministack checks."""
    action, keys = INVOKE
    denied = app._enforce_data_plane("lambda", action, headers, query, "", resource_arn=function, service_context=keys)
    return denied is not None


def _public(function: str, action: str, keys: dict[str, str]) -> bool:
    """Whether the function's own policy grants ``action`` to everyone."""
    from ministack.core import iam_evaluator as iam
    from ministack.services import lambda_svc

    _, _, _, region, account, _, name, *_ = function.split(":")
    known = lambda_svc._functions.get_scoped(account, region, name)  # an unsigned request names no region
    everyone = [one for one in known["policy"]["Statement"] if one.get("Principal") in ("*", {"AWS": "*"})]
    context = iam.EvalContext(
        principal_arn="*",
        principal_type="AnonymousUser",
        principal_account=account,
        action=action,
        resource_arn=function,
        region=region,
        service_context={name.lower(): value for name, value in keys.items()},
    )
    return bool(iam.evaluate(context, [iam.parse_policy_document({"Statement": everyone})]).decision == "Allow")
