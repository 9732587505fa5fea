"""One table of a settings file, checked against the class that declares its keys with ``keys.key``."""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
from pathlib import Path
from typing import Any

__all__ = ["REPLACED", "read_section", "suggestion"]

# Tables and keys of earlier versions, and their replacements.
ALARMS = "remove it: the service's own alarms, with their thresholds, are in infra/metrics.toml"
REPLACED = {
    "model": "write [train], [evaluate] and [promote], each with its command; trials and seconds go to [train.options], "
    "gain, regret and slack to [promote.options]",
    "monitoring.max_backup": ALARMS,
    "monitoring.max_drift": ALARMS,
}


def read_section(place: str, kind: type[Any], table: Any, problems: list[str]) -> Any:
    """An instance of ``kind``, whose fields are declared by ``keys.key``, from a table; if it is wrong, adds its problems
    and returns None.
    """
    if not isinstance(table, dict):
        problems.append(f"{place}: {table!r} is not a table; write [{place}]")
        return None
    fields = {field.name: field for field in dataclasses.fields(kind)}
    before = len(problems)
    for name in table:
        if name not in fields:
            instead = REPLACED.get(f"{place}.{name}") or _of_others(place, name)
            instead = instead or suggestion(name, [f for f in fields if f != "name"])
            problems.append(f"{place}.{name}: unknown key; {instead}")
    values = {}
    for name, field in fields.items():
        write = field.metadata["write"]
        if name in table:
            values[name] = _value(f"{place}.{name}", field, table[name], problems)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            problems.append(f"{place}.{name}: missing; write {write}")
    return kind(**values) if len(problems) == before else None


def _value(place: str, field: Any, value: Any, problems: list[str]) -> Any:
    """``value`` as the field's type; adds a problem if it has another type or is outside the field's limits."""
    limits, write = field.metadata, field.metadata["write"]

    def wrong(what: str, at: str = place) -> None:
        problems.append(f"{at}: {what}; write {write}")

    def fits(text: Any) -> bool:
        return isinstance(text, str) and bool(re.fullmatch(limits["pattern"] or r"(?s).*", text))

    kind = field.type.partition("[")[0]
    if kind == "dict":
        if not isinstance(value, dict):
            wrong(f"{value!r} is not a table")
            return {}
        for name, text in value.items():
            if not fits(name):
                wrong("not an allowed name", f"{place}.{name}")
            if not isinstance(text, (str, int, float) if limits["scalars"] else str):
                wrong(f"{text!r} is not a {'value' if limits['scalars'] else 'string'}", f"{place}.{name}")
            elif isinstance(text, str) and limits["values"] and not re.fullmatch(limits["values"], text):
                wrong("not a reference", f"{place}.{name}")  # it may be the secret itself, which must not be printed
    elif limits["of"]:
        if not isinstance(value, list):
            wrong(f"{value!r} is not a list of tables")
            return ()
        return tuple(read_section(f"{place}[{i}]", limits["of"], table, problems) for i, table in enumerate(value))
    elif kind == "Any":
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):
            wrong(f"{value!r} can't be written as JSON")
    elif kind == "tuple":
        if not isinstance(value, list) or not all(map(fits, value)):
            wrong(f"{value!r} is not a list of allowed values")
            return ()
        return tuple(value)
    elif kind == "int":
        least, most = limits["within"]
        if not isinstance(value, int) or isinstance(value, bool):
            wrong(f"{value!r} is not a whole number")
        elif not least <= value <= most:
            wrong(f"{value} is not between {least} and {most}")
    elif kind == "bool":
        if not isinstance(value, bool):
            wrong(f"{value!r} is neither true nor false")
    elif kind == "float":
        if not isinstance(value, int | float) or isinstance(value, bool):
            wrong(f"{value!r} is not a number")
    elif not isinstance(value, str):
        wrong(f"{value!r} is not a quoted string")
    elif limits["choices"] and value not in limits["choices"]:
        wrong(f"{value!r} is not one of {', '.join(limits['choices'])}")
    elif not fits(value):
        wrong(f"{value!r} is not allowed")
    return value


def _of_others(place: str, name: str) -> str:
    """What to do with a key of ``[function]`` that other targets have, as after a change of the target; else empty."""
    if place.rpartition(".")[2] != "function":
        return ""
    from ml_delivery import plugin

    def keys_of(target: str) -> set[str]:
        return {field.name for field in dataclasses.fields(plugin.find(target, Path()).function)}

    others = [target for target in plugin.built_in() if name in keys_of(target)]
    return f"it is one of {' and '.join(others)}, so remove it" if others else ""


def suggestion(name: str, known: list[str]) -> str:
    """What to write instead of an unknown ``name``."""
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"write one of {', '.join(known)}, or remove it" if known else "remove it"
