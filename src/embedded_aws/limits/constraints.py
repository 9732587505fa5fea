"""Parameters are within the constraints that AWS's own service models declare: length, size, range, pattern, set of values.

The models ship with botocore, which checks few of them before it sends a request: the service refuses the rest
(https://smithy.io/2.0/spec/constraint-traits.html, https://docs.aws.amazon.com/lambda/latest/api/CommonErrors.html), and
ministack accepts it. Patterns that Python can't read (classes of Unicode) are passed over.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from typing import Any


def broken(service: str, shape: Any, value: Any, where: str = "") -> Iterator[str]:
    """What is outside the constraints of ``shape`` and of the shapes within it, in AWS's words."""
    rules = shape.metadata | _traits(service, shape.name)
    secret = rules.get("sensitive")

    def wrong(what: str) -> str:
        seen = "***" if secret else value if isinstance(value, str | int | float) else json.dumps(value, default=str)
        return f"Value '{str(seen)[:1000]}' at '{where}' failed to satisfy constraint: Member must {what}"

    if shape.type_name == "structure" and isinstance(value, dict):
        for name, inner in value.items():
            if name in shape.members:
                place = f"{where}.{_first_lower(name)}" if where else _first_lower(name)
                yield from broken(service, shape.members[name], inner, place)
    elif shape.type_name == "list" and isinstance(value, list):
        yield from _sized(rules, len(value), wrong)
        for number, inner in enumerate(value, 1):
            yield from broken(service, shape.member, inner, f"{where}.{number}.member")
    elif shape.type_name == "map" and isinstance(value, dict):
        yield from _sized(rules, len(value), wrong)
        for name, inner in value.items():
            yield from broken(service, shape.key, name, f"{where}.key")
            yield from broken(service, shape.value, inner, f"{where}.{name}.member")
    elif shape.type_name == "string" and isinstance(value, str):
        yield from _sized(rules, len(value), wrong)
        pattern = rules.get("pattern", "")
        if pattern and not _matches(pattern, value):
            yield wrong(f"satisfy regular expression pattern: {pattern}")
        if (allowed := rules.get("enum")) and value not in allowed:
            yield wrong(f"satisfy enum value set: [{', '.join(allowed)}]")
    elif shape.type_name in ("integer", "long", "float", "double") and isinstance(value, int | float):
        if value < rules.get("min", value):
            yield wrong(f"have value greater than or equal to {rules['min']}")
        if value > rules.get("max", value):
            yield wrong(f"have value less than or equal to {rules['max']}")


def _sized(rules: Any, length: int, wrong: Any) -> Iterator[str]:
    if length < rules.get("min", 0):
        yield wrong(f"have length greater than or equal to {rules['min']}")
    if length > rules.get("max", length):
        yield wrong(f"have length less than or equal to {rules['max']}")


def _matches(pattern: str, value: str) -> bool:
    compiled = _compiled(pattern)
    return compiled is None or compiled.fullmatch(value) is not None


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str] | None:
    try:
        return re.compile(pattern, re.ASCII)
    except re.error:
        return None


def _first_lower(name: str) -> str:
    return name[:1].lower() + name[1:]


# -- models


@functools.cache
def _model(service: str) -> Any:
    import botocore.session

    return botocore.session.Session().get_service_model(service)


@functools.cache
def operations(service: str) -> dict[str, Any]:
    """botocore's models of the service's operations, by name."""
    model = _model(service)
    return {name: model.operation_model(name) for name in model.operation_names}


@functools.cache
def _traits(service: str, shape: str) -> dict[str, Any]:
    """The constraints that botocore's shapes leave out."""
    raw = _model(service)._shape_resolver._shape_map.get(shape, {})
    return {name: raw[name] for name in ("pattern", "sensitive") if name in raw}
