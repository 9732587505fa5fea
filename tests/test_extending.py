"""What a service may override, from a bake: hooks, own tasks, and the package itself by ``invoke eject``."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import json_shapes
import pytest
from bake import bake, commit, files, git, start
from tiny import HANDLER

import ml_delivery
from ml_delivery import config, eject, emulator, hooks
from ml_delivery.errors import PipelineError, Refused

NOTE = """\
import json, os, sys
facts = {k: v for k, v in os.environ.items() if k.startswith(("RELEASE_", "ARTIFACT_"))}
with open("build/hooks.jsonl", "a") as log:
    log.write(json.dumps(facts) + "\\n")
print("the hook says", facts["RELEASE_HOOK"])
sys.exit(int(open("build/code").read()) if facts["RELEASE_HOOK"] == open("build/fails").read() else 0)
"""
OWN = """
from invoke import task


@task
def greet(_, name="world"):
    \"\"\"Greet somebody by name.\"\"\"
    print(f"hello {name}")


namespace.add_task(greet)
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A bake that is set up, whose own code is as small as can be, and has a promoted model."""
    import hashlib

    made = bake(tmp_path_factory.mktemp("extending") / "out")
    (made / "src/service/handler.py").write_text(HANDLER)
    (made / "requirements/serve.txt").write_text("# nothing\n")
    project = (made / "pyproject.toml").read_text()
    (made / "pyproject.toml").write_text(re.sub(r"(?ms)^dependencies = \[.*?^\]", "dependencies = []", project))
    (made / "models").mkdir()
    (made / "models/tiny.onnx").write_bytes(b"a model")
    digest = f"sha256:{hashlib.sha256(b'a model').hexdigest()}"
    (made / "model.lock").write_text(f'[primary]\nkind = "test"\ndigest = "{digest}"\nfile = "models/tiny.onnx"\n')
    start(made)
    run(made, "make", "setup")
    yield made
    emulator.down(made)


def run(folder: Path, *words: str, code: int = 0) -> str:
    """A command's output; fails the test on another exit code than ``code``."""
    hidden = ("AWS_", "PIPELINE_PYTHON", "PYTHONPATH", "NOX", "CI")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
    done = subprocess.run(
        words, cwd=folder, env=clean, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == code, f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}"
    assert "Traceback" not in done.stdout, done.stdout
    return done.stdout


def invoke(folder: Path, *words: str, code: int = 0) -> str:
    return run(folder, ".venv/bin/invoke", *words, code=code)


def ran(service: Path) -> list[dict[str, str]]:
    """What each hook was passed, in their order."""
    log = service / "build/hooks.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def test_hooks_run_around_build_deploy_and_rollback(service: Path) -> None:
    """Each is run in its turn with what it is passed; one that fails before stops everything, after it nothing is undone."""
    (service / "note.py").write_text(NOTE)
    settings = service / "pipeline.toml"
    for name in ("pre_build", "post_build", "pre_deploy", "post_deploy", "post_rollback"):
        text = settings.read_text()
        assert f"{name} = []" in text
        settings.write_text(text.replace(f"{name} = []", f'{name} = [".venv/bin/python", "note.py"]'))
    commit(service, "Add hooks")
    (service / "build").mkdir(exist_ok=True)
    (service / "build/code").write_text("7")

    def failing(name: str) -> None:
        (service / "build/fails").write_text(name)

    failing("pre_build")
    refused = invoke(service, "build", code=1)
    assert "the hook says pre_build" in refused
    assert "hooks.pre_build: `.venv/bin/python note.py` ended with exit code 7; nothing was changed" in refused
    assert not (service / "build/manifest.json").exists()
    failing("post_build")
    assert "ended with exit code 7; the build itself succeeded" in invoke(service, "build", code=1)
    assert (service / "build/manifest.json").exists()
    failing("pre_deploy")
    invoke(service, "push")
    refused = invoke(service, "deploy", code=1)
    assert "hooks.pre_deploy: `.venv/bin/python note.py` ended with exit code 7; nothing was changed" in refused
    assert "next: fix what it reports, then invoke deploy --branch main\n" in refused
    assert "nothing is live" in invoke(service, "status") or "no release" in invoke(service, "status")
    failing("post_deploy")
    assert "ended with exit code 7; the deploy itself succeeded" in invoke(service, "deploy", code=1)
    assert json.loads(invoke(service, "call", "/version"))["release"] == 1
    failing("")
    (service / "src/service/handler.py").write_text(HANDLER.replace('"first"', '"second"'))
    commit(service, "Second")
    manifest = json.loads(subprocess.check_output([".venv/bin/invoke", "build", "--json"], cwd=service))
    (service / "build/hooks.jsonl").unlink()
    output = invoke(service, "build", "push", "deploy", "rollback")
    assert "release 2 is verified" in output
    assert "release 1 is verified" in output
    where = {"RELEASE_ENVIRONMENT": "production", "RELEASE_BRANCH": "main", "RELEASE_CLOUD": "embedded"}
    built = {"ARTIFACT_VERSION": git(service, "rev-parse", "HEAD"), "ARTIFACT_DIGEST": manifest["digest"]}
    assert ran(service) == [
        {"RELEASE_HOOK": "pre_build"},
        {"RELEASE_HOOK": "post_build", **built},
        {"RELEASE_HOOK": "pre_deploy", **where},
        {"RELEASE_HOOK": "post_deploy", **where, "RELEASE_NUMBER": "2", "RELEASE_VERSION": "2"},
        {"RELEASE_HOOK": "post_rollback", **where, "RELEASE_NUMBER": "1", "RELEASE_VERSION": "1"},
    ]


def test_hook_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A command that can't be run is as bad as one that fails, before and after; no hook is no fault."""
    made = bake(tmp_path / "out")
    settings = made / "pipeline.toml"
    text = settings.read_text()
    assert hooks.run(config.load(made, {}), "pre_build") is None
    settings.write_text(
        text.replace("pre_build = []", 'pre_build = ["./none"]').replace("post_build = []", 'post_build = ["."]')
    )
    with pytest.raises(Refused, match=r"`\./none` can't be run: No such file or directory; nothing was changed"):
        hooks.run(config.load(made, {}), "pre_build")
    with pytest.raises(PipelineError, match=r"`\.` can't be run: Permission denied; the build itself succeeded"):
        hooks.run(config.load(made, {}), "post_build")


def test_own_task_is_listed_and_run(service: Path) -> None:
    """A task that is added in ``tasks.py`` stands beside the others."""
    file = service / "tasks.py"
    good = file.read_text()
    try:
        file.write_text(good + OWN)
        listed = invoke(service, "--list")
        assert "greet" in listed
        assert "deploy" in listed
        assert invoke(service, "greet", "--name", "you") == "hello you\n"
    finally:
        file.write_text(good)


def package(service: Path) -> dict[str, Any]:
    """What ``doctor`` finds of the package."""
    findings = json.loads(
        subprocess.run([".venv/bin/invoke", "doctor", "--json"], cwd=service, capture_output=True).stdout
    )
    (finding,) = [f for f in findings if f["check"] == "package"]
    assert finding["ok"]
    return dict(finding["values"])


def own(content: dict[str, bytes]) -> dict[str, bytes]:
    """The files that no interpreter writes."""
    return {k: v for k, v in content.items() if "__pycache__" not in k}


def test_ejected_copy_wins_until_it_is_undone(service: Path, tmp_path: Path) -> None:
    """The copy runs for ``invoke``, ``python -m`` and whoever clones; doctor names what was changed; undo asks first."""
    version = ml_delivery.__version__
    before = set(files(service))
    runs = {"version": version, "installed": version, "changed": []}
    assert package(service) == {**runs, "where": "vendored"}
    assert "there is no copy of the package here" in invoke(service, "eject", "--undo", code=1)
    assert f"ml-delivery {version} is in embedded_aws/, ml_pages/, ml_delivery/" in invoke(service, "eject")
    added = {name.partition("/")[0] for name in set(files(service)) - before if "__pycache__" not in name}
    assert added == set(eject.FOLDERS)
    assert package(service) == {**runs, "where": "ejected"}
    content = files(service)
    json_shapes.check("eject", json.loads(invoke(service, "eject", "--json")))  # once more is no change
    assert own(files(service)) == own(content)
    run(service, ".venv/bin/nox", "-s", "lint", "--install-only")  # a bake's own lint takes the copy as it is
    run(service, ".nox/lint/bin/ruff", "check", *eject.FOLDERS)
    run(service, ".nox/lint/bin/ruff", "format", "--check", *eject.FOLDERS)
    commit(service, "Eject")

    changed = service / "ml_delivery/tasks/console.py"
    changed.write_text(changed.read_text() + '\nprint("mine, tasks")\n')
    locks = service / "ml_delivery/dependencies/locks.py"
    locks.write_text(locks.read_text().replace("def main() -> int:", 'print("mine, module")\n\n\ndef main() -> int:'))
    (service / "ml_delivery/more.py").write_text('"""Mine."""\n')
    (service / "embedded_aws/ecr.py").unlink()
    assert invoke(service, "config").startswith("mine, tasks\n")
    stale = run(
        service, ".venv/bin/python", "-m", "ml_delivery.dependencies.locks", code=1
    )  # its locks are emptied above
    assert stale.startswith("mine, module\n")
    says = run(service, ".venv/bin/invoke", "doctor", "--json", code=1)
    for path in ("tasks/console.py", "dependencies/locks.py", "more.py"):
        assert f"ml_delivery/{path}" in says
    assert "embedded_aws/ecr.py" in says
    commit(service, "Change the copy")
    git(tmp_path, "clone", "--quiet", str(service), "colleague")
    run(tmp_path / "colleague", "make", "setup")
    assert invoke(tmp_path / "colleague", "config").startswith("mine, tasks\n")

    refused = invoke(service, "eject", "--undo", code=1)
    assert "the copy was changed: embedded_aws/ecr.py, ml_delivery/dependencies/locks.py" in refused
    assert "there is already a copy, and it was changed" in invoke(service, "eject", code=1)
    assert f"ml-delivery {version} runs as it is vendored" in invoke(service, "eject", "--undo", "--yes")
    assert not [folder for folder in eject.FOLDERS if (service / folder).exists()]
    assert not list(service.glob(".eject*"))
    runs = {"version": version, "installed": version, "changed": []}
    assert package(service) == {**runs, "where": "vendored"}
    commit(service, "Back")


def test_eject_leaves_what_is_not_its_own(service: Path) -> None:
    """A folder of that name that is no copy is not touched; what an interrupted run left is completed."""
    own = service / "ml_delivery"
    own.mkdir()
    (own / "mine.txt").write_text("mine")
    (service / "tasks.py").rename(service / "tasks.txt")
    script = "import sys; sys.path.pop(0); from pathlib import Path; from ml_delivery import eject; print(eject.eject(Path()))"
    try:
        assert (
            "is not a copy of the package"
            in subprocess.run([".venv/bin/python", "-c", script], cwd=service, capture_output=True, text=True).stderr
        )
        assert (own / "mine.txt").read_text() == "mine"
    finally:
        (service / "tasks.txt").rename(service / "tasks.py")
        (own / "mine.txt").unlink()
        own.rmdir()
    invoke(service, "eject")
    (service / "build").mkdir(exist_ok=True)
    (service / "ml_delivery").rename(service / "build/taken")  # as if it had been stopped between its two folders
    assert "is in embedded_aws" in invoke(service, "eject")
    assert package(service)["where"] == "ejected"
    invoke(service, "eject", "--undo")
