"""docs/your-own-model.md, done as it is written: its files written, its changes applied, its commands typed."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from bake import ROOT, bake, files, git, start
from site_pages import written

PAGE = (ROOT / "docs/your-own-model.md").read_text(encoding="utf-8")
FILES, CHANGES = written(PAGE)
COMMANDS = re.findall(r"^\$ (.*)$", PAGE.partition("## 7.")[2], re.M)
# What an update brings; the page touches none of it.
TEMPLATES = ("src/ml_service/", "vendor/", ".github/", "noxfile.py", "tasks.py", "Makefile", "tox.ini", "buildspec.yml")


def run(folder: Path, command: str) -> str:
    """Run a command in a bake with its own tools first on the PATH; its output."""
    hidden = ("AWS_", "PIPELINE_PYTHON", "PYTHONPATH", "NOX", "CI", "COV")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
    environment["PATH"] = f"{folder}/.venv/bin:{environment['PATH']}"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


def test_another_model_replaces_the_example(tmp_path: Path) -> None:
    """A text classifier by scikit-learn, from twelve files and no edit of the template's: checked, deployed, asked."""
    made = bake(tmp_path / "out", starter="blank", project_slug="help-desk")
    start(made)
    before = files(made)
    run(made, "make deploy")
    try:
        assert {name for name, _ in FILES} == {"data/examples.csv", "src/service/model.py", "tests/test_service.py"}
        for name, content in FILES:
            (made / name).write_text(content, encoding="utf-8")
        for change in CHANGES:
            subprocess.run(["git", "apply", "-"], cwd=made, input=change, text=True, check=True)
        printed = {" ".join(command.split()[:2]): run(made, command) for command in COMMANDS}
        changed = git(made, "diff", "--name-only", "--no-renames", "HEAD~1").splitlines()
        assert len(changed) <= 12, changed
        assert not [name for name in changed if name.startswith(TEMPLATES)]
        assert all(
            before[name] == content
            for name, content in files(made).items()
            if name.startswith(TEMPLATES) and "__pycache__" not in name
        )
        assert "✗" not in printed["invoke doctor"]
        assert printed["nox -s"].count("was successful") == 3
        assert "release 2 is verified" in printed["make deploy"]
        said = json.loads(printed["invoke call"])
        assert said["label"] == "delivery"
        assert said["model"] in (made / "model.lock").read_text()

        # Another content under the promoted name is refused before anything opens it.
        (model,) = (made / "models").iterdir()
        model.write_bytes(model.read_bytes() + b".")
        with pytest.raises(AssertionError, match=r"is not the model that model\.lock names"):
            run(made, "invoke build")
    finally:
        run(made, "invoke cloud.down")
