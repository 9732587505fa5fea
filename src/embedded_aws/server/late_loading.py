"""Patches of a service that ministack loads when it is first used, because loading it is slow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def patch(app: Any, name: str, *patches: Callable[[], None]) -> None:
    """Apply ``patches`` when ministack's service ``name`` has been loaded."""
    load = app._get_module
    pending = list(patches)

    def load_and_patch(wanted: str) -> Any:
        module = load(wanted)
        while wanted == name and pending:
            pending.pop(0)()
        return module

    app._get_module = load_and_patch
