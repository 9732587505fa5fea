"""What ``cookiecutter.json`` and the hook can't say without Python. Kept so small that an old copy of it does no harm:
``cruft update`` renders a new template with the extension of the old one.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2.exceptions import UndefinedError
from jinja2.ext import Extension

if TYPE_CHECKING:
    from jinja2 import Environment


def one_folder(name: str) -> str:
    """``name``, unless it is a path: the folders of one would be made before the hook can refuse it."""
    if "/" in name or "\\" in name:
        raise UndefinedError(f"project_slug: {name!r} is a path; write for example 'demand-pricing'")
    return name


class Answers(Extension):
    """Adds ``running_python`` (this interpreter's version), ``one_folder``, ``hex``, and ``template_folder``."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        environment.filters["running_python"] = lambda _: f"{sys.version_info.major}.{sys.version_info.minor}"
        environment.filters["one_folder"] = one_folder
        environment.filters["hex"] = lambda text: text.encode().hex()
        environment.globals["template_folder"] = Path(__file__).parent.as_posix()
