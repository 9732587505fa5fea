"""What keeps a repository: hooks, rules of branches, owners, the editor's settings, the development container."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from bake import ROOT, bake, start
from test_bake import run
from test_template import tracked
from tiny import TEMPLATE

BOTH = pytest.mark.parametrize("folder", [ROOT, TEMPLATE], ids=["root", "template"])
SESSIONS = set(re.findall(r"^def (\w+)\(session", (TEMPLATE / "noxfile.py").read_text(encoding="utf-8"), re.M))
BINARY = (".whl", ".onnx", ".png", ".gz", ".parquet", ".zip")


def hooks(folder: Path) -> list[dict[str, object]]:
    (repository,) = yaml.safe_load((folder / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert repository["repo"] == "local"  # what is from elsewhere would be downloaded, and not by hash
    return list(repository["hooks"])


@BOTH
def test_hooks_are_sessions(folder: Path) -> None:
    """Each hook is nox of the locked environment, with sessions that exist; one is for a commit, one for a push."""
    for hook in hooks(folder):
        program, option, *names = [word for word in str(hook["entry"]).split() if word != "--"]
        assert (program, option, hook["language"]) == (".venv/bin/nox", "-s", "system")
        assert set(names) <= SESSIONS
    assert [hook.get("stages", ["pre-commit"]) for hook in hooks(folder)] == [["pre-commit"], ["pre-push"]]


def test_hooks_are_checks_that_go_red(tmp_path: Path) -> None:
    """In a bake, what runs on a commit passes as it is, fails on a changed file with a fault, and looks at no other file."""
    made = bake(tmp_path / "out", starter="blank")
    start(made)
    run(made, "make", "setup")
    words = [*str(hooks(made)[0]["entry"]).split(), "src/service/model.py"]
    file = made / "src/service/model.py"
    good = file.read_text(encoding="utf-8")
    for fault, says in (("import os\n", "F401"), ("x  =  1\n", "would be reformatted")):
        file.write_text(good + fault, encoding="utf-8")
        assert says in run(made, *words, code=1)
    file.write_text(good, encoding="utf-8")
    (made / "src/service/app.py").write_text("import os\n", encoding="utf-8")
    assert "zizmor" not in run(made, *words)


@BOTH
def test_ruleset_requires_the_check_that_the_workflow_has(folder: Path) -> None:
    """The named check is a job's name, in a workflow that runs for a pull request."""
    rules = json.loads((folder / ".github/rulesets/main.json").read_text(encoding="utf-8"))["rules"]
    (checks,) = (
        rule["parameters"]["required_status_checks"] for rule in rules if rule["type"] == "required_status_checks"
    )
    jobs = set()
    for path in (folder / ".github/workflows").glob("*.yml"):
        workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
        if "pull_request" in workflow[True]:  # `on`, as YAML 1.1 reads it
            jobs |= {job.get("name", name) for name, job in workflow["jobs"].items()}
    assert {check["context"] for check in checks} == {"Pass"} <= jobs


def test_ruleset_names_the_branches_that_are_delivered(tmp_path: Path) -> None:
    """Those of a new service's environments, so that ``invoke doctor`` finds rules for each."""
    from ml_delivery import config
    from ml_delivery.account import rules

    made = bake(tmp_path / "out", starter="blank")
    for environment in config.load(made, {}).environments.values():
        assert {rule.type for rule in rules.wanted(made, environment.branch)} >= {
            "pull_request",
            "required_status_checks",
        }


@BOTH
def test_owners_are_a_placeholder(folder: Path) -> None:
    """CODEOWNERS holds only comments: a team that does not exist would make every review wait for it."""
    text = (folder / ".github/CODEOWNERS").read_text(encoding="utf-8")
    assert all(line.startswith("#") for line in text.splitlines() if line)
    assert "@ORGANISATION/TEAM" in text


def test_editors_settings_are_kept() -> None:
    """``.editorconfig`` is one file for root and service, and every text file is as it says."""
    settings = (ROOT / ".editorconfig").read_bytes()
    assert (TEMPLATE / ".editorconfig").read_bytes() == settings
    assert b"insert_final_newline = true\ntrim_trailing_whitespace = true" in settings  # but of Markdown
    wrong = []
    for path in tracked():
        if path.suffix in BINARY or path.is_symlink() or "tests/data" in path.as_posix():
            continue
        content = path.read_bytes()
        if content and (
            b"\r" in content
            or not content.endswith(b"\n")
            or (path.suffix != ".md" and re.search(rb"[ \t]$", content, re.M))
        ):
            wrong.append(path.relative_to(ROOT).as_posix())
    assert not wrong


def test_development_container_sets_up_by_make() -> None:
    """It runs a target of the Makefile, and nothing that only it has."""
    made = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text(encoding="utf-8"))
    program, target = made["postCreateCommand"].split()
    assert program == "make"
    subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)
    assert "containerWorkspaceFolder}/.venv/bin" in made["remoteEnv"]["PATH"]
