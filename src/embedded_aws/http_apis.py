"""An HTTP API calls a function that lets it, and names its stage.

Without the permission in the function's policy API Gateway answers with status 500:
https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-troubleshooting-lambda.html
On AWS ``rawPath`` and ``requestContext.http.path`` of an event begin with the stage, unless that is ``$default``:
https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
ministack asks for no permission, and leaves the stage out.
"""

from __future__ import annotations

from typing import Any

SERVICE = {"Service": "apigateway.amazonaws.com"}
REFUSED = b'{"message":"Internal Server Error"}'


def patch() -> None:
    """Add both where ministack makes the event; the route was found by then."""
    from ministack.services import apigateway

    invoke = apigateway._invoke_lambda_proxy

    async def permitted(integration: Any, api: str, stage: str, path: str, method: str, *rest: Any, **more: Any) -> Any:
        function = apigateway._extract_lambda_ref_from_integration_uri(integration.get("integrationUri", ""))
        if function.startswith("arn:") and not _granted(function, f"{api}/{stage}/{method}{path}"):
            return 500, {"Content-Type": "application/json"}, REFUSED
        seen = path if stage == "$default" else f"/{stage}{path}"
        return await invoke(integration, api, stage, seen, method, *rest, **more)

    apigateway._invoke_lambda_proxy = permitted


def _granted(function: str, call: str) -> bool:
    """Whether the function's own policy lets API Gateway invoke it; True for a function that does not exist."""
    from ministack.core import iam_evaluator as iam
    from ministack.services import lambda_svc

    _, partition, _, region, account, _, name, *_ = function.split(":")
    if not (known := lambda_svc._functions.get_scoped(account, region, name)):
        return True
    statements = [one for one in known["policy"]["Statement"] if one.get("Principal") == SERVICE]
    context = iam.EvalContext(
        principal_arn=SERVICE["Service"],
        principal_type="AWSService",
        principal_account=account,
        action="lambda:InvokeFunction",
        resource_arn=function,
        region=region,
        service_context={"aws:sourcearn": f"arn:{partition}:execute-api:{region}:{account}:{call}"},
    )
    return bool(iam.evaluate(context, [iam.parse_policy_document({"Statement": statements})]).decision == "Allow")
