"""Mends of what ministack loads only when it is first used, because that is slow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def once_loaded(app: Any, name: str, *mends: Callable[[], None]) -> None:
    """Call ``mends`` when ministack's service ``name`` has been loaded."""
    load = app._get_module
    left = list(mends)

    def loaded(wanted: str) -> Any:
        module = load(wanted)
        while wanted == name and left:
            left.pop(0)()
        return module

    app._get_module = loaded
