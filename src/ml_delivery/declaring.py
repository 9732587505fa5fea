"""How a key of ``pipeline.toml`` is declared: what to write, and what is allowed."""

from __future__ import annotations

import dataclasses
from typing import Any

__all__ = ["hook", "key", "variables_key"]


def key(
    write: str,
    *,
    default: Any = dataclasses.MISSING,
    pattern: str = "",
    choices: tuple[str, ...] = (),
    within: Any = (),
    values: str = "",
    scalars: bool = False,
    of: Any = None,
) -> Any:
    """Declare a key: what to write, and what is allowed.

    ``within``: minimum and maximum; ``values``: a pattern for a table's values; ``scalars``: whether a table's values may
    also be numbers and booleans; ``of``: the class whose keys the tables of a list have.
    """
    limits = {"write": write, "pattern": pattern, "choices": choices, "within": within, "values": values}
    limits |= {"scalars": scalars, "of": of}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: dict(default), metadata=limits)
    return dataclasses.field(default=default, metadata=limits)


def variables_key() -> Any:
    """A key for a table of environment variables."""
    return key('a table of strings: LOG_LEVEL = "INFO"', default={}, pattern=r"[A-Za-z][A-Za-z0-9_]+")


def hook() -> Any:
    """A key for a command."""
    return key('a command as a list: ["python", "notify.py"]', default=(), pattern=r".+")
