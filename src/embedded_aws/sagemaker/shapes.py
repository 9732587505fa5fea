"""Requests are checked by AWS's own description of them, the service model that botocore carries.

AWS checks required members, lengths, ranges, patterns and enumerations before anything else, and reports all that is wrong
in one ValidationException: https://docs.aws.amazon.com/sagemaker/latest/APIReference/CommonErrors.html
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Any

from embedded_aws.sagemaker.refusal import Refusal


@functools.cache
def service(name: str = "sagemaker") -> Any:
    """botocore's model of a service; loading it takes a quarter of a second, so that the first request does."""
    from botocore.session import Session

    return Session().get_service_model(name)


def known(operation: str) -> bool:
    """Whether SageMaker has such an operation."""
    return operation in service().operation_names


def check(operation: str, document: dict[str, Any]) -> None:
    """Check a request.

    Raises:
        Refusal: it violates the model.
    """
    faults = list(_faults(service().operation_model(operation).input_shape, document, ""))
    if faults:
        count = f"{len(faults)} validation error{'s' * (len(faults) > 1)} detected"
        raise Refusal(f"{count}: {'; '.join(faults)}")


def shown(operation: str, record: dict[str, Any]) -> dict[str, Any]:
    """Those members of a record that the answer to ``operation`` has, without those that have no value."""
    return picked(service().operation_model(operation).output_shape, record)


def summary(operation: str, member: str, record: dict[str, Any]) -> dict[str, Any]:
    """Those members of a record that an entry of the list ``member`` has."""
    return picked(service().operation_model(operation).output_shape.members[member].member, record)


def picked(shape: Any, record: dict[str, Any]) -> dict[str, Any]:
    """Those members of a record that ``shape`` has; no shape has none."""
    return {name: record[name] for name in (shape.members if shape else ()) if record.get(name) is not None}


def leaves(operation: str, document: dict[str, Any]) -> set[str]:
    """The dotted names of the members that a request gives a value; a map's own keys are no members."""
    return set(_leaves(service().operation_model(operation).input_shape, document, "")) - {""}


def _leaves(shape: Any, value: Any, place: str) -> Iterator[str]:
    if shape is None:
        return
    if shape.type_name == "structure" and isinstance(value, dict) and value:
        for name, inner in value.items():
            if inner is not None and name in shape.members:
                yield from _leaves(shape.members[name], inner, f"{place}.{name}" if place else name)
    elif shape.type_name == "list" and isinstance(value, list) and shape.member.type_name == "structure":
        for inner in value:
            yield from _leaves(shape.member, inner, place)
    else:
        yield place


def _faults(shape: Any, value: Any, place: str) -> Iterator[str]:
    """What is wrong with ``value``, as AWS words it."""
    if shape is None:
        return
    kind = shape.type_name
    if not isinstance(value, PYTHON_TYPES.get(kind, object)) or (kind != "boolean" and isinstance(value, bool)):
        yield _fault(value, place, f"Member must be a {kind}")
    elif kind == "structure":
        for name in shape.required_members:
            if value.get(name) is None:
                yield _fault(None, _inner(place, name), "Member must not be null")
        for name, inner in value.items():
            if inner is not None and name in shape.members:
                yield from _faults(shape.members[name], inner, _inner(place, name))
    elif kind == "list":
        yield from _sized(shape, len(value), value, place)
        for number, inner in enumerate(value, 1):
            yield from _faults(shape.member, inner, f"{place}.{number}.member")
    elif kind == "map":
        yield from _sized(shape, len(value), value, place)
        for key, inner in value.items():
            yield from _faults(shape.key, key, f"{place}.key")
            yield from _faults(shape.value, inner, f"{place}.{key}.member")
    elif kind == "string":
        yield from _sized(shape, len(value), value, place)
        yield from _spelled(shape, value, place)
    elif kind in ("integer", "long", "float", "double"):
        yield from _ranged(shape, value, place)


PYTHON_TYPES: dict[str, Any] = {
    "structure": dict,
    "map": dict,
    "list": list,
    "string": str,
    "integer": int,
    "long": int,
    "float": (int, float),
    "double": (int, float),
    "boolean": bool,
}


def _sized(shape: Any, size: int, value: Any, place: str) -> Iterator[str]:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if least is not None and size < least:
        yield _fault(value, place, f"Member must have length greater than or equal to {least}")
    if most is not None and size > most:
        yield _fault(value, place, f"Member must have length less than or equal to {most}")


def _ranged(shape: Any, value: float, place: str) -> Iterator[str]:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if least is not None and value < least:
        yield _fault(value, place, f"Member must have value greater than or equal to {least}")
    if most is not None and value > most:
        yield _fault(value, place, f"Member must have value less than or equal to {most}")


def _spelled(shape: Any, value: str, place: str) -> Iterator[str]:
    if (allowed := shape.metadata.get("enum")) and value not in allowed:
        yield _fault(value, place, f"Member must satisfy enum value set: [{', '.join(allowed)}]")
    pattern = shape.metadata.get("pattern")
    if pattern and (ours := _pattern(pattern)) and not ours.fullmatch(value):
        yield _fault(value, place, f"Member must satisfy regular expression pattern: {pattern}")


@functools.cache
def _pattern(text: str) -> re.Pattern[str] | None:
    """AWS's pattern in Python's syntax, which has no Unicode categories; None if it has no equivalent, as a few don't."""
    for category, ours in {"L": r"\w", "Z": r"\s", "N": r"\d"}.items():
        text = text.replace(rf"\p{{{category}}}", ours)
    try:
        return re.compile(text)
    except re.error:
        return None


def _inner(place: str, name: str) -> str:
    name = name[0].lower() + name[1:]
    return f"{place}.{name}" if place else name


def _fault(value: Any, place: str, constraint: str) -> str:
    shown = "null" if value is None else f"'{value}'"
    return f"Value {shown} at '{place}' failed to satisfy constraint: {constraint}"
