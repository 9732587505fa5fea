"""The ruleset files of the service, ``.github/rulesets/*.json``, compared with the rules that GitHub has for a branch.

A file is in the form that GitHub imports and exports:
https://docs.github.com/en/repositories/configuring-branches-and-merges-in-your-repository/managing-rulesets/managing-rulesets-for-a-repository
"""

from __future__ import annotations

import json
import urllib.parse
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ml_delivery.account import github
from ml_delivery.errors import PipelineError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FOLDER", "Rule", "active", "lacking", "wanted"]

FOLDER = ".github/rulesets"


@dataclass(frozen=True)
class Rule:
    """One rule of a ruleset: its type, such as ``pull_request``, its parameters, and the file that it is from, if any."""

    type: str
    parameters: dict[str, Any] = field(default_factory=dict)
    file: str = ""


def wanted(root: Path, branch: str) -> list[Rule]:
    """The rules of the files in ``root`` whose conditions name ``branch``; empty without files.

    Raises:
        PipelineError: a file is not a ruleset.
    """
    found = []
    for path in sorted((root / FOLDER).glob("*.json")):
        name = path.relative_to(root).as_posix()
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            if f"refs/heads/{branch}" not in document["conditions"]["ref_name"]["include"]:
                continue
            found += [Rule(str(one["type"]), one.get("parameters", {}), name) for one in document["rules"]]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise PipelineError(f"{name} is not a ruleset: {error!r}", next=f"git restore {name}") from error
    return found


def active(repository: str, branch: str, token: str) -> list[Rule]:
    """The rules that GitHub applies to ``branch``: https://docs.github.com/en/rest/repos/rules#get-rules-for-a-branch

    Raises:
        PipelineError: GitHub refuses or does not answer.
    """
    fix = "use a token that may read the repository"
    path = f"{repository}/rules/branches/{urllib.parse.quote(branch, safe='')}?per_page=100"
    listed = github.ask(path, token, f"the rules of {branch} can't be read", fix)
    return [Rule(str(one["type"]), one.get("parameters") or {}) for one in listed]


def lacking(rules: list[Rule], there: list[Rule]) -> list[Rule]:
    """Those of ``rules`` than which no rule ``there`` of the same type is as strict."""
    return [
        rule
        for rule in rules
        if not any(one.type == rule.type and _as_strict(rule.parameters, one.parameters) for one in there)
    ]


def _as_strict(ours: Any, theirs: Any) -> bool:
    """Whether ``theirs`` requires all that ``ours`` does: no lower number, no switch that is off, and no part that is missing."""
    match ours:
        case bool():
            return not ours or theirs is True
        case int():
            return isinstance(theirs, int) and theirs >= ours
        case dict():
            return isinstance(theirs, dict) and all(_as_strict(value, theirs.get(name)) for name, value in ours.items())
        case list():
            return isinstance(theirs, list) and all(any(_as_strict(one, other) for other in theirs) for one in ours)
    return bool(ours == theirs)
