"""From before the delivery code was a package: a service that was deployed then goes on, by the documented steps alone."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from bake import BIN, ROOT, commit, copy_tree, cruft, files, git, start

BEFORE = "f74dbf5d1928123b80ee6f6b2307abe6c7934f53"
# The last lines check the whole service, whose code the update did not touch; here only what it did is looked at.
SHORTER = {".venv/bin/nox": ".venv/bin/nox -s lint"}


def documented(kind: str) -> list[str]:
    """The lines of docs/upgrading.md that a service from before 0.1.0 is updated with: commands (sh), or settings (toml)."""
    section = (ROOT / "docs/upgrading.md").read_text().partition("## From before 0.1.0")[2]
    blocks = re.findall(rf"^ *```{kind}\n(.*?)^ *```", section, re.M | re.S)
    return [line.strip() for block in blocks for line in block.splitlines()]


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """The template as it was then; the working tree is its next commit."""
    if subprocess.run(["git", "cat-file", "-e", BEFORE], cwd=ROOT, capture_output=True, check=False).returncode:
        pytest.skip(f"this clone is without the template of then, {BEFORE[:7]}: git fetch --unshallow")
    git(tmp_path, "clone", "--quiet", "--no-checkout", str(ROOT), "cookiecutter-ml-service")
    into = tmp_path / "cookiecutter-ml-service"
    git(into, "config", "user.name", "tests")
    git(into, "config", "user.email", "tests@localhost")
    git(into, "checkout", "--quiet", "-B", "main", BEFORE)
    return into


@pytest.fixture
def service(tmp_path: Path, template: Path) -> Iterator[Path]:
    """A service of then: trained with the smallest budget, deployed as release 1."""
    made = cruft(tmp_path / "made", template)
    start(made)
    try:
        run(made, "make setup")
        run(made, ".venv/bin/invoke train --trials 1 --seconds 5 evaluate promote")
        commit(made, "Train")
        assert "release 1 is verified" in run(made, ".venv/bin/invoke build push deploy")
        yield made
    finally:
        run(made, ".venv/bin/invoke cloud.down")


def run(service: Path, command: str) -> str:
    """What a command prints, run by a user's shell."""
    hidden = ("AWS_", "PIPELINE_", "PYTHON", "NOX", "VIRTUAL_ENV")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
    variables = {**clean, "PIPELINE_CACHE": os.environ["PIPELINE_CACHE"], "PATH": f"{os.environ['PATH']}:{BIN}"}
    done = subprocess.run(
        ["bash", "-ec", command],
        cwd=service,
        env=variables,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


def test_service_goes_on_across_the_border(service: Path, template: Path) -> None:
    """Updated, set up and deployed as release 2 by the documented steps; then back to release 1, which answers."""
    before = files(service)
    git(template, "rm", "-r", "--quiet", ".")
    copy_tree(template)
    commit(template, "Now")
    steps = documented("sh")
    assert steps[-1] == ".venv/bin/invoke build push deploy"
    for step in steps:
        if step == "make setup":
            settings = service / "pipeline.toml"
            table = re.search(r"^\[model\].*?(?=^\[)", settings.read_text(), re.M | re.S)
            assert table
            text = settings.read_text().replace(table[0], "\n".join([*documented("toml"), "", ""]))
            settings.write_text(re.sub(r"^max_(backup|drift) = .*\n", "", text, flags=re.M))
        printed = run(service, SHORTER.get(step, step))
    assert "release 2 is verified" in printed
    after = files(service)
    assert [name for name in after if name.endswith((".rej", ".orig"))] == []
    assert git(service, "ls-files", "pipeline", "infra/*.yaml") == ""
    owned = [
        name for name in before if name.startswith(("src/service/", "tests/", "models/", "model.lock", "README.md"))
    ]
    assert len(owned) > 30
    assert {name for name in owned if before[name] != after.get(name)} == set()
    run(service, ".venv/bin/invoke train --option trials=1 --option seconds=5 evaluate")
    assert "demand-pricing-production-monitoring: done" in run(service, ".venv/bin/invoke bootstrap")
    printed = run(service, ".venv/bin/invoke rollback")
    assert "release 1 is verified" in printed
    assert json.loads(run(service, ".venv/bin/invoke call /version"))["release"] == 1
    assert re.findall(r"^ +(\d+) +([\w-]+)", run(service, ".venv/bin/invoke releases"), re.M) == [
        ("2", "rolled-back"),
        ("1", "verified"),
    ]
