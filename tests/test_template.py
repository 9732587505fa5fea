"""The rules of the repository, each one a test: what is a link, what may vary, who owns what."""

from __future__ import annotations

import ast
import dataclasses
import json
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from bake import QUESTIONS, ROOT
from packaging.requirements import Requirement
from tiny import PRICING, TEMPLATE

from local_extensions import answers
from ml_delivery import keys, plugin
from ml_delivery.dependencies import locks

DATA_FILES = {"pyproject.toml", "pipeline.toml", "README.md", "CHANGELOG.md", "LICENSE"}
# What the root's top level shares with a service, and so leads into the template.
LINKS = {"Dockerfile.lambda", "buildspec.yml", "requirements/uv.txt", "tox.ini"}


def baked(path: Path) -> str:
    """The name in a bake of a file of the template: a starter's files move to the top, as do those for one target."""
    return re.sub("^starters/[^/]+/(eks/)?", "", path.relative_to(TEMPLATE).as_posix())


def tracked(folder: Path = ROOT) -> list[Path]:
    """Files that git has, or would take."""
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(words, cwd=folder, check=True, capture_output=True).stdout.decode()
    return [folder / name for name in filter(None, listed.split("\0")) if os.path.lexists(folder / name)]


def test_links_lead_from_the_root_into_the_template_only() -> None:
    """A link inside the template would bake as nothing; one that leads elsewhere is none of ours."""
    links = [path for path in tracked() if path.is_symlink()]
    assert {path.relative_to(ROOT).as_posix() for path in links} == LINKS
    for link in links:
        assert TEMPLATE not in link.parents
        assert link.resolve().is_relative_to(TEMPLATE), link
        assert link.exists()


def test_only_data_files_hold_jinja() -> None:
    """Shipped code is code that every tool can read: Jinja is in the named data files and what they include, and nowhere else."""
    for path in tracked(TEMPLATE):
        text = path.read_text(encoding="utf-8")
        holds = bool(re.search(r"\{\{ ?cookiecutter|\{%|\{#", text))
        assert holds <= (baked(path) in DATA_FILES or "parts" in path.parts), path
        if path.suffix == ".py":
            ast.parse(text)


def test_code_is_copied_and_data_is_rendered() -> None:
    """Every file of the template is either one of the data files or copied without rendering."""
    from fnmatch import fnmatch

    for path in tracked(TEMPLATE):
        name = path.relative_to(TEMPLATE).as_posix()
        copied = any(
            fnmatch(name, pattern) or fnmatch(path.name, pattern) for pattern in QUESTIONS["_copy_without_render"]
        )
        assert copied != (baked(path) in DATA_FILES), name


def test_modules_are_read_in_one_sitting() -> None:
    """No Python file has more than about 300 lines."""
    long = {p.name: n for p in tracked() if p.suffix == ".py" and (n := len(p.read_text().splitlines())) > 330}
    assert not long


def test_import_package_is_always_service() -> None:
    """A service is deployed, not imported: its package has one name in every bake."""
    assert [p.name for p in (PRICING / "src").iterdir() if p.name != "__pycache__"] == ["service"]


def test_roots_dependencies_are_the_templates() -> None:
    """The root declares what the starter declares, and, of checks, what only the template and the package need."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    shipped = tomllib.loads((PRICING / "pyproject.toml").read_text())
    assert groups["service"] == shipped["project"]["dependencies"]
    for group, declared in shipped["dependency-groups"].items():
        ours = set(groups["dev" if group == "nox" else group])
        assert set(declared) <= ours, group
        more = {Requirement(text).name for text in ours - set(declared)}
        assert (
            more
            <= {
                "train": set(),
                "nox": {"cookiecutter", "cruft"},
                "lint": {"cfn-lint"},
                "check": {
                    "boto3",
                    "cyclonedx-python-lib",
                    "in-toto-attestation",
                    "kubernetes-validate",
                    "types-pyyaml",
                },
            }[group]
        )


@pytest.mark.parametrize("folder", [ROOT, PRICING], ids=["root", "pricing"])
def test_locks_are_not_stale_and_name_no_host(folder: Path) -> None:
    """Every lock holds what is declared, with hashes, and nothing of where it was made."""
    assert locks.stale(folder) == []
    written = {lock.relative_to(folder).as_posix() for lock in (folder / "requirements").glob("*.txt")}
    assert written <= set(locks.declared(folder))
    for name in locks.declared(folder):
        lock = folder / name
        text = lock.read_text()
        assert "://" not in text
        assert "index" not in text.partition("\n\n")[0].lower()
        assert all(pin.hashes for pin in locks.read(lock))


def test_hook_and_configuration_agree() -> None:
    """What the hook lets through, the configuration accepts; what it lists is what botocore and Lambda know."""
    from botocore.session import Session

    fields = {f.name: f.metadata for f in dataclasses.fields(keys.Service)}
    assert answers.PYTHONS == keys.PYTHONS == fields["python"]["choices"]
    assert answers.SLUG in fields["name"]["pattern"]
    assert set(answers.REGIONS) >= set(Session().get_available_regions("lambda")) - {"ap-east-2"}
    assert all(re.fullmatch(fields["region"]["pattern"], region) for region in answers.REGIONS)
    assert sorted(answers.CHOICES["target"]) == sorted(plugin.built_in())


def test_every_question_is_asked_in_words() -> None:
    """Each question has a prompt."""
    asked = {name for name in QUESTIONS if not name.startswith("_")}
    assert set(QUESTIONS["__prompts__"]) == asked


@pytest.mark.parametrize("folder", [ROOT, TEMPLATE], ids=["root", "template"])
def test_front_door_names_what_exists(folder: Path) -> None:
    """Each make target is one nox or invoke line, of a session or task that exists, and is in the help."""
    text = (folder / "Makefile").read_text()
    files = (TEMPLATE / "noxfile.py", folder / "noxfile.py")  # the root's runs the template's sessions, too
    sessions = {name for file in files for name in re.findall(r"^def (\w+)\(session", file.read_text(), re.M)}
    for line in re.findall(r"^\t@?\$\(BIN\)/(nox|invoke)(.*)$", text, re.M):
        for word in re.findall(r"(?<![-\w])[a-z][a-z.]*", line[1].replace("-s", "")):
            known = sessions if line[0] == "nox" else tasks(folder)
            assert word in known, f"{line}: {word}"
    targets = set(re.findall(r"^([a-z-]+):", text, re.M))
    phony = set(re.search(r"^\.PHONY: (.*)$", text, re.M)[1].split())  # type: ignore[index]
    assert targets == phony == set(re.findall(r"^([a-z-]+):.*## ", text, re.M))


def tasks(folder: Path = TEMPLATE) -> set[str]:
    """The names of all tasks of a service, or of the root's own."""
    import sys

    words = [sys.executable, "-m", "invoke", "--list", "--list-format=json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(words, cwd=folder, check=True, capture_output=True, text=True, env=environment)
    found = json.loads(done.stdout)
    cloud = {f"{c['name']}.{t['name']}" for c in found["collections"] for t in c["tasks"]}
    return {task["name"] for task in found["tasks"]} | cloud
