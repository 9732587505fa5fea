"""An HTTP API's named stage is part of the path that a function sees.

On AWS ``rawPath`` and ``requestContext.http.path`` of an event begin with the stage, unless that is ``$default``:
https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
ministack leaves the stage out.
"""

from __future__ import annotations

from typing import Any


def patch() -> None:
    """Add the stage where ministack makes the event; the route was found by then."""
    from ministack.services import apigateway

    invoke = apigateway._invoke_lambda_proxy

    async def with_stage(integration: Any, api: str, stage: str, path: str, *rest: Any, **more: Any) -> Any:
        return await invoke(integration, api, stage, path if stage == "$default" else f"/{stage}{path}", *rest, **more)

    apigateway._invoke_lambda_proxy = with_stage
