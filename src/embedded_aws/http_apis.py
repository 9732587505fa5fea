"""An HTTP API calls a function that lets it, and names its stage.

Without the permission in the function's policy API Gateway answers with status 500:
https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-troubleshooting-lambda.html
On AWS ``rawPath`` and ``requestContext.http.path`` of an event begin with the stage, unless that is ``$default``:
https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
Its headers name whom the request came from, and that it came by HTTPS.
ministack asks for no permission, leaves out the stage and these headers, and lets a function see a version in place of the alias
that was called.
"""

from __future__ import annotations

from typing import Any

from embedded_aws.aws_lambda import aliases
from embedded_aws.aws_lambda.grants import granted

SERVICE = "apigateway.amazonaws.com"
REFUSED = b'{"message":"Internal Server Error"}'
CALLER = "127.0.0.1"  # of every request: the emulator listens on loopback only


def patch() -> None:
    """Add all of it where ministack makes the event; the route was found by then."""
    from ministack.services import apigateway

    invoke = apigateway._invoke_lambda_proxy

    async def permitted(
        integration: Any, api: str, stage: str, path: str, method: str, headers: Any, *rest: Any, **more: Any
    ) -> Any:
        function = apigateway._extract_lambda_ref_from_integration_uri(integration.get("integrationUri", ""))
        if function.startswith("arn:"):
            if not granted(function, SERVICE, _call(function, f"{api}/{stage}/{method}{path}")):
                return 500, {"Content-Type": "application/json"}, REFUSED
            aliases.invoked(function)
        seen = path if stage == "$default" else f"/{stage}{path}"
        hops = [*filter(None, [headers.get("x-forwarded-for")]), CALLER]
        added = {"x-forwarded-for": ", ".join(hops), "x-forwarded-port": "443", "x-forwarded-proto": "https"}
        return await invoke(integration, api, stage, seen, method, {**headers, **added}, *rest, **more)

    apigateway._invoke_lambda_proxy = permitted


def _call(function: str, path: str) -> str:
    """The ARN of a call, in the partition, region and account of the function."""
    _, partition, _, region, account, *_ = function.split(":")
    return f"arn:{partition}:execute-api:{region}:{account}:{path}"
