"""``cruft update``: an old service moves to a new template, and what its owner changed stays."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import zipfile
from pathlib import Path

import pytest
from bake import BIN, commit, cruft, files, git, repository, start

SHIPPED = "{{cookiecutter.project_slug}}"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return repository(tmp_path_factory.mktemp("template") / "cookiecutter-ml-service")


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, path
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize("target", ["lambda-zip", "lambda-image"])
def test_old_service_moves_to_a_new_template(tmp_path: Path, template: Path, target: str) -> None:
    """The package, workflows and front doors come; the owner's code, settings, dependencies and locks stay as they are."""
    made = cruft(tmp_path / "made", template, target=target)
    start(made)
    owned = {
        "src/service/features.py": ("import", "# mine\nimport"),
        "pipeline.toml": ("memory = 1024", "memory = 2048"),
        "README.md": ("\n## ", "\n## Mine\n\n## "),
        "pyproject.toml": ('"gunicorn>=23",', '"gunicorn>=23",\n  "orjson>=3",'),
    }
    for name, words in owned.items():
        change(made / name, *words)
    (made / "src/service/extra.py").write_text('"""Mine."""\n')
    commit(made, "Mine")
    before = files(made)

    shipped, package = template / SHIPPED, template / "src/ml_delivery"
    moved = ["tasks.py", "noxfile.py", ".github/workflows/deploy.yml", "Makefile"]
    for name in moved:
        (shipped / name).write_text((shipped / name).read_text() + "# newer\n")
    (package / "newer.py").write_text('"""New."""\n')
    (package / "scanning.py").unlink()
    starter = shipped / "starters/pricing"
    change(starter / "pyproject.toml", "[tool.bandit]", "[tool.newer]\n\n[tool.bandit]")
    (starter / "src/service/features.py").write_text('"""Theirs."""\n')
    (starter / "requirements/serve.txt").write_text("# theirs\n")
    commit(template, "Newer")
    try:
        said = run(made, "update", "--skip-apply-ask")
    finally:
        git(template, "reset", "--quiet", "--hard", "HEAD~1")
    after = files(made)
    assert "Good work! Project's cruft has been updated" in said
    assert [name for name in after if name.endswith((".rej", ".orig"))] == []
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    (wheel,) = (name for name in after if name.endswith(".whl"))
    assert changed == {*moved, wheel, "requirements/delivery.txt", ".cruft.json"}
    assert all(after[name].endswith(b"# newer\n") for name in moved)
    with zipfile.ZipFile(io.BytesIO(after[wheel])) as archive:
        assert "ml_delivery/newer.py" in archive.namelist()
        assert "ml_delivery/scanning.py" not in archive.namelist()
    assert hashlib.sha256(after[wheel]).hexdigest() in after["requirements/delivery.txt"].decode()
    assert json.loads(after[".cruft.json"])["commit"] != json.loads(before[".cruft.json"])["commit"]


def test_update_that_changes_nothing_is_said_to_be_one(tmp_path: Path, template: Path) -> None:
    """A service of today's template is up to date."""
    made = cruft(tmp_path / "made", template)
    start(made)
    assert "SUCCESS" in run(made, "check")


def run(folder: Path, *words: str) -> str:
    """What cruft says; fails the test on another exit code than 0."""
    done = subprocess.run([str(BIN / "cruft"), *words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
