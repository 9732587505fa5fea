"""Findings of ``invoke doctor`` are fields, and each kind has its sentence."""

from __future__ import annotations

import ast
import string
from collections.abc import Iterator

import pytest
from tiny import ROOT

from ml_delivery.dependencies.locks import Stale
from ml_delivery.findings import Finding, Kind
from ml_delivery.tasks import findings

SRC = ROOT / "src/ml_delivery"


def kind_of(node: ast.AST) -> str:
    found = ast.unparse(node)
    return found.removeprefix("Kind.") if found.startswith("Kind.") else ""


def found() -> Iterator[tuple[Kind, set[str] | None]]:
    """Each kind that a check reports, with the names of its values; None where these are put together elsewhere."""
    for path in SRC.rglob("*.py"):
        if path == SRC / "tasks/findings.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Name("Problem"), args=[kind], keywords=words) if kind_of(kind):
                    yield Kind[kind_of(kind)], {word.arg or "" for word in words} - {"next"}
                case ast.Tuple(elts=[kind, values]) if kind_of(kind):
                    whole = isinstance(values, ast.Dict) and all(isinstance(key, ast.Constant) for key in values.keys)
                    yield Kind[kind_of(kind)], {key.value for key in values.keys} if whole else None  # type: ignore
                case ast.Call(func=ast.Name("Finding"), args=[_, _, kind, *_]) if kind_of(kind):
                    yield Kind[kind_of(kind)], None


def test_each_kind_is_found_somewhere() -> None:
    """No kind is left over, and each sentence uses all the values of its kind, and no other ones."""
    reported = list(found())
    assert {kind for kind, _ in reported} == set(Kind)
    for kind, values in reported:
        if values is not None and kind in findings.SENTENCES:
            used = {name for _, name, _, _ in string.Formatter().parse(findings.SENTENCES[kind]) if name}
            given = values | ({"role"} if kind == Kind.ISSUER_DIFFERS else set())
            assert used == given, kind


VALUES = {
    Kind.FACTS: ({"answers": "podman"}, "answers: podman"),
    Kind.TREE: ({"branch": "", "commit": "c" * 40, "dirty": True}, f"detached HEAD at {'c' * 12}, with changes"),
    Kind.PACKAGE: (
        {"version": "1", "installed": "2", "where": "ejected", "changed": ["a.py", "b.py"]},
        "ml-delivery 1, ejected, and changed: a.py, b.py; the installed one is 2",
    ),
    Kind.LOCKS_STALE: (
        {"lockfiles": [Stale("a.txt", "missing"), Stale("b.txt", "differs", "flask>=3", ("2.0",))]},
        "a.txt: missing; b.txt: pyproject.toml declares flask>=3, the lockfile locks 2.0",
    ),
    Kind.PROTECTED: (
        {"environment": "staging", "branch": "main", "reviewers": 2, "bypass": False},
        "staging is for main alone, after a review by another person of 2 reviewers; administrators may not bypass that",
    ),
    Kind.OTHER_BRANCHES: (
        {"environment": "staging", "branch": "main", "branches": ["x/*"], "tags": ["v*"]},
        "more than main may use staging: x/*, the tag v*",
    ),
    Kind.CLAIM_DIFFERS: (
        {"role": "a-deploy", "claim": "sub", "found": None, "required": ["x", "y"]},
        "a-deploy: sub is None, the role requires 'x' or 'y'",
    ),
    Kind.COMMAND: ({"command": ["python", "-m", "service.training"]}, "python -m service.training"),
    Kind.MODELS: ({"files": {}}, "none, so the service has no model"),
    Kind.VERSION_DIFFERS: (
        {"found": {"release": '"7"'}, "wanted": {"release": "7", "commit": '"c"'}},
        '/version: release is "7", it must be 7; commit is missing',
    ),
    Kind.ROLE_LACKS: ({"role": "a-deploy", "actions": ["s3:Get", "s3:Put"]}, "a-deploy lacks s3:Get, s3:Put"),
    Kind.REPOSITORY_DIFFERS: (
        {"repository": "o/r", "found": {"owner_id": "1"}, "configured": {"owner_id": "2"}},
        "o/r has owner_id 1, pipeline.toml has owner_id 2: it is another repository of this name",
    ),
}


@pytest.mark.parametrize("kind", sorted(set(Kind) - set(findings.SENTENCES) | set(VALUES)))
def test_sentence_is_made_of_the_values(kind: Kind) -> None:
    """A kind whose sentence is more than a template, and templates with lists."""
    values, text = VALUES[kind]
    assert findings.sentence(Finding("check", False, kind, values)) == text


def test_label_names_the_stage() -> None:
    """A check of a role is named after the stage that takes it."""
    assert findings.label(Finding("role", True, Kind.ROLE, stage="deploy")) == "deploy role"
    assert findings.label(Finding("trust", True, Kind.TRUSTED, stage="plan")) == "trust of plan"
    assert findings.label(Finding("git", True, Kind.TREE)) == "git"
