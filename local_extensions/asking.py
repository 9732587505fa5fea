"""What is asked: a short name to offer, a bad answer asked again at once, and what was given without being asked for.

A module of its own, as ``checkout``: in an update, what the old template imported is kept, and this is loaded from the new one.
"""

from __future__ import annotations

import json
import re
import unicodedata
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from jinja2.ext import Extension

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["Asking"]

QUESTIONS = Path(__file__).parent.parent / "cookiecutter.json"


class Asking(Extension):
    """Adds two filters, ``slug`` and ``settled``; refuses, before the first question, what was given and can't be used."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        environment.filters["slug"] = slug
        environment.filters["settled"] = settled
        if unusable := _unusable(_typed("extra_context")):
            from local_extensions.answers import stop

            stop(unusable)


def slug(name: str) -> str:
    """A short name that is accepted, of the ASCII letters and digits in ``name``."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    words = re.findall(r"[a-z0-9]+", plain.replace("'", ""))
    made = "-".join(words)
    if _refused(made[:32].rstrip("-")):
        made = "-".join(["my", *words]) if words else "my-service"
    return made[:32].rstrip("-")


def settled(answers: dict[str, Any]) -> str:
    """Nothing; when questions are asked, a bad answer to the last one is asked for again, until it will do."""
    if _typed("no_input") is not False:
        return ""
    from local_extensions.answers import problems

    while found := problems({name: text for name, text in answers.items() if not name.startswith("_")}):
        for name, reason in found.items():
            answers[name] = click.prompt(f"  ✗ {reason}\n      {name}")
    return ""


def _refused(made: str) -> bool:
    from local_extensions.answers import problems

    return bool(problems({"project_slug": made}))


def _typed(name: str) -> Any:
    """A parameter of the command line, of cookiecutter's or cruft's, that makes this bake; None without one."""
    context = click.get_current_context(silent=True)
    return context.params.get(name) if context else None


def _unusable(given: Any) -> dict[str, str]:
    """What is wrong with answers on the command line that cookiecutter would ignore, or evaluate as templates."""
    answers: dict[str, Any] = json.loads(given) if isinstance(given, str) else given or {}
    questions = [name for name in json.loads(QUESTIONS.read_text(encoding="utf-8")) if not name.startswith("_")]
    found = {}
    for name, text in answers.items():
        if name not in questions:
            near = get_close_matches(name, questions, 1)
            meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(questions)}"
            found[name] = f"there is no such question; {meant}"
        elif re.search(r"\{[{%#]", str(text)):
            found[name] = "template braces would be evaluated; leave them out"
    return found
