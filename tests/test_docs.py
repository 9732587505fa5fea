"""The documents are true: what they name exists, and what exists is named."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields

import pytest
from bake import ROOT
from jinja2 import Environment, FileSystemLoader
from test_template import tasks
from tiny import PRICING, TEMPLATE

from ml_delivery import keys
from ml_delivery.targets.eks.settings import EksSettings
from ml_delivery.targets.lambda_function.settings import LambdaSettings
from ml_delivery.targets.sagemaker.settings import SagemakerSettings

ROOT_README = (ROOT / "README.md").read_text()
SERVICE_PAGE = (ROOT / "docs/service.md").read_text()
SERVICE_README = (TEMPLATE / "README.md").read_text()


@pytest.mark.parametrize("text", [ROOT_README, SERVICE_README, SERVICE_PAGE], ids=["root", "service", "page"])
def test_commands_exist(text: str) -> None:
    """Every ``invoke``, ``nox -s`` and ``make`` that a README tells to type exists."""
    written = "".join((folder / "noxfile.py").read_text() for folder in (TEMPLATE, ROOT))
    sessions = set(re.findall(r"^def (\w+)\(session", written, re.M))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    targets |= set(re.findall(r"^([a-z-]+):", (TEMPLATE / "Makefile").read_text(), re.M))
    code = "\n".join(re.findall(r"`[^`\n]+`|^\$ .*$|^&& .*$", text, re.M))
    known = tasks() | tasks(ROOT)
    for name in re.findall(r"invoke (?!-)([a-z.]+)", code):
        assert name in known, name
    for name in re.findall(r"nox -s (\w+)", code):
        assert name in sessions, name
    for name in re.findall(r"\bmake ([a-z-]+)", code):
        assert name in targets, name


def test_every_session_is_documented() -> None:
    """The service's README names every check that runs by default, and the one that makes the locks."""
    for name in re.findall(r"^@nox.session.*\ndef (\w+)", (TEMPLATE / "noxfile.py").read_text(), re.M):
        assert f"nox -s {name}" in SERVICE_README, name


MADE = {"vendor/"}  # by the hook of a bake


def test_paths_exist() -> None:
    """Every file that the page about a service names is in the template or the root."""
    for name in re.findall(r"^\| `([^`]+)`(?:, `([^`]+)`)? \|", SERVICE_PAGE, re.M):
        for path in filter(None, name):
            if re.fullmatch(r"[\w./-]+", path) and ("." in path or path.endswith("/") or path == "Makefile"):
                places = (TEMPLATE, ROOT, TEMPLATE / "starters/blank", TEMPLATE / "starters/pricing")
                assert any((place / path).exists() for place in places) or path in MADE, path


def test_named_tests_exist() -> None:
    """Every test that docs/extending.md names for an example is in the file that it names."""
    text = (ROOT / "docs/extending.md").read_text()
    named = re.findall(r"Test:\s+`(test_\w+\.py)`(?:,\s+`(test_\w+)`)?", text)
    assert len(named) == text.count("Test: ") + text.count("Test:\n") == 7
    for file, name in named:
        assert f"def {name}" in (ROOT / "tests" / file).read_text(), (file, name)


@pytest.mark.parametrize(
    ("target", "function"), [("lambda-zip", LambdaSettings), ("eks", EksSettings), ("sagemaker", SagemakerSettings)]
)
def test_every_setting_is_in_the_commented_file(target: str, function: type) -> None:
    """``pipeline.toml`` shows every key that there is for its target, and no other."""
    answers = {"starter": "pricing", "target": target, "project_slug": "x", "python_version": "3.12"}
    shown = Environment(loader=FileSystemLoader(TEMPLATE)).get_template("pipeline.toml").render(cookiecutter=answers)
    document = tomllib.loads(shown)
    kinds = {**keys.SECTIONS, "function": function}
    if target in ("eks", "sagemaker"):  # which have no front
        assert kinds.pop("http") is keys.Http
        assert "http" not in document
    for section, kind in kinds.items():
        assert set(document[section]) == {field.name for field in fields(kind)}, section
    for name, table in document["environments"].items():
        assert set(table) == {field.name for field in fields(keys.EnvironmentTable)} - {"name", "target"}, name


def test_every_module_says_what_it_is() -> None:
    """Each module of the delivery code and of the service begins with a docstring."""
    for folder in (ROOT / "src", PRICING / "src"):
        for path in folder.rglob("*.py"):
            assert path.read_text().startswith('"""'), path


def test_changelog_is_in_its_form() -> None:
    """Both changelogs are in the form of Keep a Changelog, with what is to come on top."""
    for text in ((ROOT / "CHANGELOG.md").read_text(), (TEMPLATE / "CHANGELOG.md").read_text()):
        assert text.startswith("# Changelog\n")
        assert re.findall(r"^## (.*)$", text, re.M)[0] == "[Unreleased]"
        assert set(re.findall(r"^### (.*)$", text, re.M)) <= {
            "Added",
            "Changed",
            "Deprecated",
            "Removed",
            "Fixed",
            "Security",
        }


def test_links_of_the_readme_lead_somewhere() -> None:
    """To a file of the repository; and each of the five promises to the tests that keep it."""
    links = re.findall(r"\]\(([^)#]+)\)", ROOT_README)
    assert all((ROOT / link).exists() for link in links if "://" not in link)
    promises = re.findall(r"^\d\. \*\*(.*?)(?=^\d\. |^\n*^And )", ROOT_README, re.M | re.S)
    assert len(promises) == 5
    for promise in promises:
        assert re.search(r"\]\(tests/test_\w+\.py\)", promise), promise
