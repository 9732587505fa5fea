"""The JSON schema of ``pipeline.toml``, made from the declarations that check it: ``python tests/pipeline_schema.py``.

Editors that know TOML (Even Better TOML, taplo) complete and check with it what is typed. A bake has it beside the wheel in
``vendor/``. It knows each key alone; ``invoke config`` also checks what depends on several keys, on the machine or on other files.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from ml_delivery import keys, plugin

FILE = Path(__file__).parent.parent / "src/ml_delivery/targets/pipeline.schema.json"
SCALARS = ["string", "number", "boolean"]


def schema() -> dict[str, Any]:
    """The schema, in the draft that editors of TOML support: https://json-schema.org/draft-07."""
    targets = plugin.built_in()
    functions = {name: _section(plugin.find(name, FILE.parent).function) for name in targets}
    # A target of one's own declares more keys, which are not known here.
    functions["own"] = {**_section(keys.Function), "additionalProperties": True}
    overridable = {section: _section(keys.SECTIONS[section]) for section in keys.OVERRIDABLE if section != "function"}
    anyone = {"anyOf": [_reference(f"function-{name}") for name in functions]}
    environment = _section(keys.EnvironmentTable, without="name")
    environment["properties"] |= {"function": anyone, **{name: _reference(name) for name in overridable}}
    environment["allOf"] = [_when("target", name, {"function": _reference(f"function-{name}")}) for name in targets]
    (name,) = (field for field in dataclasses.fields(keys.EnvironmentTable) if field.name == "name")
    sections = {name: _section(kind) for name, kind in keys.SECTIONS.items() if name not in keys.OVERRIDABLE}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": "urn:ml-delivery:pipeline.schema.json",
        "title": "pipeline.toml",
        "type": "object",
        "required": ["service", "environments"],
        "additionalProperties": False,
        "properties": {
            **sections,
            **{name: _reference(name) for name in overridable},
            "function": anyone,
            "environments": {
                "description": "Where each branch is delivered to.",
                "type": "object",
                "minProperties": 1,
                "propertyNames": {"pattern": _whole(name.metadata["pattern"])},
                "additionalProperties": _reference("environment"),
            },
        },
        "allOf": [_of_service(name) for name in targets],
        "definitions": {
            "environment": environment,
            **overridable,
            **{f"function-{name}": made for name, made in functions.items()},
        },
    }


def _of_service(target: str) -> dict[str, Any]:
    """What follows from ``service.target``: the keys of [function], also in environments that have no target of their own."""
    function = {"function": _reference(f"function-{target}")}
    others = {"if": {"properties": {"target": {"const": ""}}}, "then": {"properties": function}}
    then = {"properties": {**function, "environments": {"additionalProperties": others}}}
    return {"if": {"required": ["service"], "properties": {"service": _is("target", target)}}, "then": then}


def _is(name: str, value: str) -> dict[str, Any]:
    return {"required": [name], "properties": {name: {"const": value}}}


def _when(name: str, value: str, properties: dict[str, Any]) -> dict[str, Any]:
    return {"if": _is(name, value), "then": {"properties": properties}}


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/definitions/{name}"}


def _section(kind: type[Any], without: str = "") -> dict[str, Any]:
    """A table whose keys ``kind`` declares."""
    fields = [field for field in dataclasses.fields(kind) if field.name != without]
    absent = dataclasses.MISSING
    required = [field.name for field in fields if field.default is field.default_factory is absent]
    return {
        "description": " ".join((kind.__doc__ or "").partition("\n\n")[0].replace("``", "`").split()),
        "type": "object",
        **({"required": required} if required else {}),
        "additionalProperties": False,
        "properties": {field.name: _key(field) for field in fields},
    }


def _key(field: Any) -> dict[str, Any]:
    """A key: what to write, its default, and what is allowed."""
    limits = field.metadata
    made: dict[str, Any] = {"description": limits["write"]}
    if field.default is not dataclasses.MISSING and field.default is not None:
        made["default"] = list(field.default) if isinstance(field.default, tuple) else field.default
    elif field.default_factory is not dataclasses.MISSING:
        made["default"] = field.default_factory()
    text = {"type": "string", **({"pattern": _whole(limits["pattern"])} if limits["pattern"] else {})}
    match field.type.partition("[")[0]:
        case "dict":
            values = {"pattern": _whole(limits["values"])} if limits["values"] else {}
            made |= {
                "type": "object",
                "additionalProperties": {"type": SCALARS if limits["scalars"] else "string", **values},
            }
            if limits["pattern"]:
                made["propertyNames"] = {"pattern": _whole(limits["pattern"])}
        case "tuple":
            made |= {"type": "array", "items": _section(limits["of"]) if limits["of"] else text}
        case "int":
            made |= {"type": "integer", "minimum": limits["within"][0], "maximum": limits["within"][1]}
        case "bool":
            made |= {"type": "boolean"}
        case "float":
            made |= {"type": "number"}
        case "str":
            made |= {"enum": list(limits["choices"])} if limits["choices"] else text
        case "Any":
            pass
        case other:
            raise TypeError(f"{field.name}: no JSON type for {other}")
    return made


def _whole(pattern: str) -> str:
    """The pattern for all of a string: a schema's is searched for."""
    return f"^(?:{pattern})$"


def text() -> str:
    """The file's content."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
