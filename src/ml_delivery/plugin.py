"""Finds the target that ``pipeline.toml`` names: one of this package, or the user's own by a dotted path."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from pathlib import Path
from typing import Any

__all__ = ["NAME", "Missing", "built_in", "find"]

FOLDER = Path(__file__).parent / "targets"
# The name of a folder in ``targets/``, with dashes; or a dotted path: "my_package.module:MyTarget"
NAME = r"[a-z]+(-[a-z]+)*|[A-Za-z_][\w.]*:[A-Za-z_]\w*"


class Missing(Exception):
    """There is no such target; the message has the reason."""


def built_in() -> list[str]:
    """The names of this package's targets: the folders of ``targets/`` that define a ``TARGET``, with dashes."""
    return [name.replace("_", "-") for _, name, _ in pkgutil.iter_modules([str(FOLDER)]) if _has_target(name)]


def find(name: str, root: Path) -> Any:
    """The target ``name``; for a dotted path, an instance of the class that it names.

    Args:
        name: as in ``pipeline.toml``.
        root: the service's folder, which is put on the import path for a dotted path.

    Raises:
        Missing: there is none.
    """
    if ":" not in name:
        if name not in built_in():
            raise Missing(
                f"{name!r} is not one of {', '.join(built_in())}, nor a dotted path such as my_package:MyTarget"
            )
        return importlib.import_module(f"ml_delivery.targets.{name.replace('-', '_')}").TARGET
    module, _, attribute = name.partition(":")
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    try:
        return getattr(importlib.import_module(module), attribute)()
    except Exception as error:  # it is the user's own code, which may fail in any way
        kind = "" if isinstance(error, ImportError | AttributeError) else f"{type(error).__name__}: "
        raise Missing(f"{name!r} can't be loaded: {kind}{error}") from error


def _has_target(name: str) -> bool:
    return "\nTARGET = " in (FOLDER / name / "__init__.py").read_text(encoding="utf-8")
