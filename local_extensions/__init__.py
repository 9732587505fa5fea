"""What ``cookiecutter.json`` can't say by itself: this machine's Python, and whether the answers will do.

cookiecutter, and cruft, load this for the time of a bake. The answers are checked here rather than in a hook, because a
hook runs when the folder is made already, and its failure is shown with a traceback.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from jinja2.ext import Extension

from local_extensions.answers import PYTHONS, refuse

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["Answers"]


class Answers(Extension):
    """Adds two filters: ``running_python``, and ``checked``, which ends the bake on a bad answer."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        environment.filters["running_python"] = running_python
        environment.filters["checked"] = checked


def running_python(_: str) -> str:
    """The version of the Python that runs this, for example "3.12"; the nearest that Lambda runs, if it doesn't run it."""
    minors = [int(version.removeprefix("3.")) for version in PYTHONS]
    return f"3.{min(max(sys.version_info.minor, min(minors)), max(minors))}"


def checked(answers: dict[str, Any]) -> str:
    """Nothing, if all answers will do; otherwise every problem is printed and the bake ends with exit code 1."""
    refuse(answers)
    return ""
