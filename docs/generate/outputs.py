"""What ``--json`` prints: the members of each document, from its schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["page"]

FOLDER = Path("docs/json")
HEAD = """\
# JSON documents

What the schemas of [`--json`](../json/README.md) hold, to be read. An indented name is a member of the one above it.
"""


def page() -> str:
    """The page, in Markdown."""
    text = HEAD
    for path in sorted(FOLDER.glob("*.schema.json")):
        schema = json.loads(path.read_text(encoding="utf-8"))
        text += f"\n## {schema['title']}\n\nSchema: [{path.name}](../json/{path.name})\n\n"
        text += "\n".join(_members(schema, schema.get("$defs", {}), 0, ())) + "\n"
    return text


def _members(schema: dict[str, Any], known: dict[str, Any], depth: int, seen: tuple[str, ...]) -> list[str]:
    """A line for each member; a record within itself is not repeated."""
    name, schema = _resolved(schema, known)
    if name in seen or depth > 3:
        return []
    inner = (*seen, name) if name else seen
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            return _members(schema[key], known, depth, inner)
    for one in schema.get("anyOf", []):
        if lines := _members(one, known, depth, inner):
            return lines
    lines = []
    for member, value in schema.get("properties", {}).items():
        _, resolved = _resolved(value, known)
        about = f": {resolved['description']}" if "description" in resolved and "$ref" in value else ""
        lines.append(f"{'  ' * depth}- `{member}` ({_kind(value, known)}){about}")
        lines += _members(value, known, depth + 1, inner)
    return lines


def _resolved(schema: dict[str, Any], known: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    if "$ref" not in schema:
        return "", schema
    name = schema["$ref"].rpartition("/")[2]
    return name, known[name]


def _kind(schema: dict[str, Any], known: dict[str, Any]) -> str:
    _, schema = _resolved(schema, known)
    if "anyOf" in schema:
        return " or ".join(_kind(one, known) for one in schema["anyOf"])
    if "enum" in schema:
        return (
            " or ".join(f"`{value}`" for value in schema["enum"])
            if len(schema["enum"]) < 10
            else "one of a list of names"
        )
    if schema.get("type") == "array":
        return f"array of {_kind(schema.get('items', {}), known)}" if schema.get("items") else "array"
    return str(schema.get("type", "any"))
