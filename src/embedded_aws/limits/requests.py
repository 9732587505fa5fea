"""Requests that AWS refuses: outside the constraints of its service models, or of the rules that it documents beside them."""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote

from embedded_aws.limits.constraints import broken, operations
from embedded_aws.limits.rules import RULES, Refusal


@dataclass(frozen=True)
class Service:
    """A service's name in botocore, the protocol of its requests, and its error for a parameter outside the constraints."""

    name: str
    protocol: str
    error: str


# By ministack's name.
SERVICES = {
    "cloudformation": Service("cloudformation", "query", "ValidationError"),
    "codebuild": Service("codebuild", "json", "InvalidInputException"),
    "ecr": Service("ecr", "json", "InvalidParameterException"),
    "events": Service("events", "json", "ValidationException"),
    "iam": Service("iam", "query", "ValidationError"),
    "lambda": Service("lambda", "rest-json", "ValidationException"),
    "logs": Service("logs", "json", "InvalidParameterException"),
    "monitoring": Service("cloudwatch", "json", "ValidationError"),
    "secretsmanager": Service("secretsmanager", "json", "ValidationException"),
    "ssm": Service("ssm", "json", "ValidationException"),
    "sns": Service("sns", "query", "InvalidParameter"),
    "sts": Service("sts", "query", "ValidationError"),
}


def patch(app: Any) -> None:
    """Check each request that was allowed, before the service sees it."""
    for name, service in SERVICES.items():
        app.SERVICE_HANDLERS[name] = _checking(service, app.SERVICE_HANDLERS[name])


def _checking(service: Service, handle: Any) -> Any:
    async def checked(method: str, path: str, headers: Any, body: bytes, query: Any) -> Any:
        found = _request(service, method, path, headers, body, query)
        if found is not None and (refusal := refused(service, *found)):
            return _answer(service, refusal)
        return await handle(method, path, headers, body, query)

    return checked


def refused(service: Service, operation: str, shape: Any, parameters: dict[str, Any]) -> Refusal | None:
    """Why AWS refuses an operation with these parameters; None when it does not."""
    if wrong := list(broken(service.name, shape, parameters)):
        errors = "error" if len(wrong) == 1 else "errors"
        return Refusal(service.error, f"{len(wrong)} validation {errors} detected: {'; '.join(wrong)}")
    rule = RULES.get(service.name)
    return rule(operation, parameters) if rule else None


def _answer(service: Service, refusal: Refusal) -> Any:
    from ministack.core.responses import error_response_json, error_response_xml

    make = error_response_xml if service.protocol == "query" else error_response_json
    return make(refusal.code, refusal.message, refusal.status)


def _request(
    service: Service, method: str, path: str, headers: Any, body: bytes, query: Any
) -> tuple[str, Any, dict[str, Any]] | None:
    """The operation, the shape of its input and the parameters of the request; None for an unknown one."""
    if service.protocol == "rest-json":
        return _rest(service.name, method, path, body, query)
    if service.protocol == "json":
        name, found = headers.get("x-amz-target", "").rpartition(".")[2], _document(body)
    else:
        found = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True) | dict(query)
        found = {key: values[0] if isinstance(values, list) else values for key, values in found.items()}
        name = found.get("Action", "")
    operation = operations(service.name).get(name)
    if operation is None or operation.input_shape is None or not isinstance(found, dict):
        return None
    shape = operation.input_shape
    return name, shape, found if service.protocol == "json" else _unflatten(shape, found, "")


def _rest(service: str, method: str, path: str, body: bytes, query: Any) -> tuple[str, Any, dict[str, Any]] | None:
    for pattern, verb, name, shape in _routes(service):
        if verb == method and (match := pattern.fullmatch(path)) and shape is not None:
            places = {m.serialization.get("name"): n for n, m in shape.members.items() if "location" in m.serialization}
            found = {places[place.replace("__", "-")]: unquote(value) for place, value in match.groupdict().items()}
            for place, value in query.items():
                if place in places and shape.members[places[place]].type_name == "string":
                    found[places[place]] = value[0] if isinstance(value, list) else value
            streamed = shape.serialization.get("payload")
            document = {} if streamed else _document(body)
            return name, shape, found | (document if isinstance(document, dict) else {})
    return None


def _document(body: bytes) -> Any:
    try:
        return json.loads(body or b"{}")
    except ValueError:
        return None  # which the service reports


def _unflatten(shape: Any, found: dict[str, str], prefix: str) -> Any:
    """The value of ``shape`` from the parameters of a query, which are named ``Tags.member.1.Key``."""
    if prefix and not any(key == prefix or key.startswith(f"{prefix}.") for key in found):
        return None
    if shape.type_name == "structure":
        values = {n: _unflatten(m, found, f"{prefix}.{n}" if prefix else n) for n, m in shape.members.items()}
        return {name: value for name, value in values.items() if value is not None} or None if prefix else values
    if shape.type_name == "list":
        listed: list[Any] = []
        while (value := _unflatten(shape.member, found, f"{prefix}.member.{len(listed) + 1}")) is not None:
            listed.append(value)
        return listed or None
    value = found.get(prefix)
    if value is not None and shape.type_name in ("integer", "long"):
        return int(value) if re.fullmatch(r"-?\d{1,18}", value) else None
    return value


@functools.cache
def _routes(service: str) -> list[tuple[re.Pattern[str], str, str, Any]]:
    """The path, method, name and input of each operation."""
    routes = []
    for operation in operations(service).values():
        path = operation.http["requestUri"].partition("?")[0]
        pattern = re.sub(r"\{([\w-]+)\+?\}", lambda m: f"(?P<{m[1].replace('-', '__')}>[^/]+)", path)
        words = operation.http["method"], operation.name, operation.input_shape
        routes.append((re.compile(pattern.rstrip("/") + "/?"), *words))
    return routes
