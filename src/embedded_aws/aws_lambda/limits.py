"""What Lambda refuses beyond its service model: settings, variables, payloads, names, weights.

https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html (the reserved names)
https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html (payloads, and errors of Invoke)
ministack accepts variables of any name and size, payloads and answers of any size, and a payload that is not JSON.
"""

from __future__ import annotations

import json
from typing import Any

RESERVED = frozenset(
    (
        "_HANDLER",
        "_X_AMZN_TRACE_ID",
        "AWS_DEFAULT_REGION",
        "AWS_REGION",
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_INITIALIZATION_TYPE",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_LAMBDA_RUNTIME_API",
        "LAMBDA_TASK_ROOT",
        "LAMBDA_RUNTIME_DIR",
        "AWS_LAMBDA_MAX_CONCURRENCY",
        "AWS_LAMBDA_METADATA_API",
        "AWS_LAMBDA_METADATA_TOKEN",
    )
)
VARIABLES = 4096  # bytes, of the JSON object that they are sent as
PAYLOAD = 6 * 1024 * 1024 + 100  # bytes of a request or an answer; the 100 are in AWS's own message
ASYNCHRONOUS = 1024 * 1024
DIRECT = 50 * 1024 * 1024  # bytes of a ZIP in a request
UNRESERVED = 100  # executions at once that no function may take from the others
NAME = 64
# Of functions that Lambda runs on machines of its own; the service's model allows more to others.
MOST = {"MemorySize": 10_240, "Timeout": 900}
STORAGE = 10_240  # megabytes of /tmp
TAGS = 50


def patch() -> None:
    """Check before ministack's own operations run, and what a function answers."""
    from ministack.services import lambda_svc as lambda_

    create, update = lambda_._create_function, lambda_._update_config
    tag, handle, execute = lambda_._tag_resource, lambda_.handle_request, lambda_._execute_function
    create_alias, update_alias = lambda_._create_alias, lambda_._update_alias
    reserve, by_url = lambda_._put_function_concurrency, lambda_.handle_function_url_request

    def refused(message: str, kind: str = "InvalidParameterValueException", status: int = 400) -> Any:
        return lambda_.error_response_json(kind, message, status)

    def too_large(limit: int, operation: str, kind: str) -> Any:
        return refused(f"Request must be smaller than {limit} bytes for the {operation} operation", kind, 413)

    def created(data: dict[str, Any]) -> Any:
        if len(data.get("FunctionName", "").rpartition(":")[2]) > NAME:
            return refused(f"The function name is longer than {NAME} characters", "ValidationException")
        return _settings(data, refused) or _variables(data, refused) or _tags({}, data, refused) or create(data)

    def updated(name: str, data: dict[str, Any]) -> Any:
        return _settings(data, refused) or _variables(data, refused) or update(name, data)

    def alias_created(name: str, data: dict[str, Any]) -> Any:
        return _weights(data["FunctionVersion"], data, refused) or create_alias(name, data)

    def alias_updated(name: str, alias: str, data: dict[str, Any]) -> Any:
        there = (lambda_._functions.get(name) or {}).get("aliases", {}).get(alias, {})
        version = data.get("FunctionVersion") or there.get("FunctionVersion", "")
        return _weights(version, data, refused) or update_alias(name, alias, data)

    def tagged(arn: str, data: dict[str, Any]) -> Any:
        found = lambda_._functions.get(arn.split(":")[6] if arn.count(":") > 5 else "") or {}
        return _tags(found.get("tags") or {}, data, refused) or tag(arn, data)

    def reserved(name: str, data: dict[str, Any]) -> Any:
        others = sum(int(f.get("concurrency") or 0) for n, f in lambda_._functions.items() if n != name)
        if 1000 - others - int(data.get("ReservedConcurrentExecutions") or 0) < UNRESERVED:
            return refused(
                "Specified ReservedConcurrentExecutions for function decreases account's "
                f"UnreservedConcurrentExecution below its minimum value of [{UNRESERVED}]."
            )
        return reserve(name, data)

    async def handled(method: str, path: str, headers: Any, body: bytes, query: Any) -> Any:
        if path.rstrip("/").endswith("/invocations"):
            later = headers.get("x-amz-invocation-type", "") == "Event"
            limit = ASYNCHRONOUS if later else PAYLOAD
            if len(body) > limit:
                return too_large(limit, "InvokeFunction", "RequestTooLargeException")
            try:
                json.loads(body or b"null")
            except ValueError as error:
                message = f"Could not parse request body into json: {error}"
                return refused(message, "InvalidRequestContentException")
        elif len(body) > DIRECT * 4 // 3 and method in ("POST", "PUT"):
            operation = "UpdateFunctionCode" if method == "PUT" else "CreateFunction"
            return too_large(DIRECT * 4 // 3 + 1, operation, "RequestEntityTooLargeException")
        return await handle(method, path, headers, body, query)

    async def answered_by_url(
        url: str, method: str, path: str, headers: Any, body: bytes, *rest: Any, **more: Any
    ) -> Any:
        if len(body or b"") > PAYLOAD:
            return 413, {"Content-Type": "application/json"}, b'{"Message":"Request Entity Too Large"}'
        return await by_url(url, method, path, headers, body, *rest, **more)

    def executed(function: dict[str, Any], event: Any) -> Any:
        result = execute(function, event)
        if result.get("error") or result.get("throttle"):
            return result
        size = len(json.dumps(result.get("body"), ensure_ascii=False).encode("utf-8", "surrogatepass"))
        if size <= PAYLOAD:
            return result
        message = f"Response payload size ({size} bytes) exceeded maximum allowed payload size ({PAYLOAD} bytes)."
        fault = {"errorType": "Function.ResponseSizeTooLarge", "errorMessage": message}
        return {**result, "body": fault, "error": True}

    lambda_._create_function, lambda_._update_config = created, updated
    lambda_._create_alias, lambda_._update_alias = alias_created, alias_updated
    lambda_._tag_resource, lambda_._put_function_concurrency = tagged, reserved
    lambda_.handle_request, lambda_.handle_function_url_request = handled, answered_by_url
    lambda_._execute_function = executed


def _settings(data: dict[str, Any], refused: Any) -> Any | None:
    """The error for settings above their limits, or a role that doesn't trust Lambda; None for others."""
    wanted = {name: (data.get(name), most) for name, most in MOST.items()}
    wanted["EphemeralStorage.Size"] = ((data.get("EphemeralStorage") or {}).get("Size"), STORAGE)
    for name, (value, most) in wanted.items():
        if value is not None and value > most:
            place = name[:1].lower() + name[1:]
            words = f"Value '{value}' at '{place}' failed to satisfy constraint: Member must have value less than or equal to"
            return refused(f"1 validation error detected: {words} {most}", "ValidationException")
    if (arn := data.get("Role")) and not _trusts_lambda(arn):
        return refused("The role defined for the function cannot be assumed by Lambda.")
    return None


def _trusts_lambda(arn: str) -> bool:
    """Whether the role's trust policy names Lambda; true for a role that does not exist, which is another error."""
    from ministack.services import iam

    role = iam._roles.get(arn.rpartition("/")[2])
    document = role and role.get("AssumeRolePolicyDocument")
    return not document or "lambda.amazonaws.com" in (document if isinstance(document, str) else json.dumps(document))


def _weights(version: str, data: dict[str, Any], refused: Any) -> Any | None:
    """The error for a traffic split that Lambda does not accept; None for others.

    https://docs.aws.amazon.com/lambda/latest/dg/configuring-alias-routing.html
    """
    weights = (data.get("RoutingConfig") or {}).get("AdditionalVersionWeights") or {}
    if len(weights) > 1:
        return refused("Number of items in AdditionalVersionWeights cannot be greater than 1.")
    if weights and "$LATEST" in (version, *weights):
        return refused("$LATEST is not supported for an alias pointing to more than 1 version")
    return None


def _variables(data: dict[str, Any], refused: Any) -> Any | None:
    """The error for variables that Lambda does not accept; None when it does."""
    variables = (data.get("Environment") or {}).get("Variables") or {}
    start = (
        "Lambda was unable to configure your environment variables because the environment variables you have provided"
    )
    if taken := sorted(RESERVED & variables.keys()):
        return refused(
            f"{start} contains reserved keys that are currently not supported for modification. "
            f"Reserved keys used in this request: {', '.join(taken)}"
        )
    measured = json.dumps(variables, ensure_ascii=False, separators=(",", ":"))
    if len(measured.encode()) > VARIABLES:
        return refused(f"{start} exceeded the 4KB limit. String measured: {measured}")
    return None


def _tags(there: dict[str, str], data: dict[str, Any], refused: Any) -> Any | None:
    """The error for too many tags; https://docs.aws.amazon.com/lambda/latest/dg/configuration-tags.html"""
    if len(there | (data.get("Tags") or {})) > TAGS:
        return refused(f"The number of tags exceeds the limit of {TAGS}", "InvalidParameterValueException")
    return None
