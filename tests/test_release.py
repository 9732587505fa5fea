"""A tag makes a release: what must agree is checked, and the release workflow's own steps are executed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from bake import BIN, ROOT, commit, repository

import ml_delivery

sys.path.insert(0, str(ROOT / "hooks"))
import package_wheel

VERSION = ml_delivery.__version__
TAG = f"v{VERSION}"
SECTION = f"## [{VERSION}] - 2026-01-31\n\n### Added\n\n- What is new.\n"
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository whose changelog's newest section is this version's."""
    made = repository(tmp_path / "template")
    text = (made / "CHANGELOG.md").read_text()
    head, _, rest = text.partition("## [Unreleased]\n")
    released = rest.partition("\n## [")[1] + rest.partition("\n## [")[2] if f"## [{VERSION}]" not in rest else ""
    (made / "CHANGELOG.md").write_text(f"{head}## [Unreleased]\n\n{SECTION}{released}")
    commit(made, "Release")
    return made


def invoke(checkout: Path, *words: str, code: int = 0, **variables: str) -> str:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PIPELINE_", "AWS_"))}
    done = subprocess.run(
        [BIN / "invoke", *words],
        cwd=checkout,
        env={**clean, "HOME": str(checkout.parent), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout
    assert "Traceback" not in done.stdout, done.stdout
    return done.stdout


def test_release_is_checked_and_described(checkout: Path, tmp_path: Path) -> None:
    """What agrees is built, compared with a bake, and described by the changelog's section; its digest goes on."""
    (tmp_path / "output").touch()
    output = invoke(checkout, "release", "--check", TAG, GITHUB_OUTPUT=str(tmp_path / "output"))
    digest = package_wheel.digest(package_wheel.wheel(checkout))
    assert f"{TAG} may be released: {package_wheel.name(checkout)}, sha256 {digest}, as a bake vendors it" in output
    assert (tmp_path / "output").read_text() == f"digest={digest}\n"
    assert (checkout / "dist/notes.md").read_text() == "### Added\n\n- What is new.\n"
    names = {path.name for path in (checkout / "dist").iterdir()}
    assert names == {package_wheel.name(checkout), f"ml_delivery-{VERSION}.tar.gz", "notes.md"}
    invoke(checkout, "release", "--check", TAG, "--digest", digest)


def edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(checkout: Path) -> None:
        text = (checkout / name).read_text()
        assert old in text
        (checkout / name).write_text(text.replace(old, new))

    return change


def nothing(_: Path) -> None:
    """Leave it as it is."""


def uncommitted(checkout: Path) -> None:
    with (checkout / "src/ml_delivery/errors.py").open("a") as file:
        file.write("#\n")


FAULTS: dict[str, tuple[Callable[[Path], None], list[str], bool, str]] = {
    "another tag": (nothing, ["v9.9.9"], True, f"the tag is v9.9.9, __version__ is {VERSION}"),
    "another version": (
        edit("src/ml_delivery/__init__.py", f'"{VERSION}"', '"9.9.9"'),
        [TAG],
        True,
        f"the tag is {TAG}, __version__ is 9.9.9",
    ),
    "another section": (
        edit("CHANGELOG.md", f"[{VERSION}]", "[0.0.9]"),
        [TAG],
        True,
        "its newest section is '[0.0.9] - 2026-01-31'",
    ),
    "no section": (edit("CHANGELOG.md", SECTION, ""), [TAG], True, "it has no section but [Unreleased]"),
    "changes that are not in it": (
        edit("CHANGELOG.md", "## [Unreleased]\n", "## [Unreleased]\n\n- One more.\n"),
        [TAG],
        True,
        "[Unreleased] is not empty",
    ),
    "no date": (edit("CHANGELOG.md", " - 2026-01-31", ""), [TAG], True, "its newest section is"),
    "nothing new": (
        edit("CHANGELOG.md", "### Added\n\n- What is new.\n", ""),
        [TAG],
        True,
        f"the section of {VERSION} is empty",
    ),
    "not committed": (uncommitted, [TAG], False, "what is packed is not what is committed"),
    "another digest": (nothing, [TAG, "--digest", "0" * 64], True, f"before it had {'0' * 64}"),
    "a hook that packs otherwise": (
        edit(
            "hooks/post_gen_project.py",
            "content = package_wheel.wheel(CHECKOUT)",
            'content = package_wheel.wheel(CHECKOUT) + b"x"',
        ),
        [TAG],
        True,
        ", a bake vendors ",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_disagrees_is_not_released(checkout: Path, name: str) -> None:
    """Each disagreement ends with exit code 1, what it is, and what to do."""
    harm, words, committed, says = FAULTS[name]
    harm(checkout)
    if committed and harm is not nothing:
        commit(checkout, "Harm")
    output = invoke(checkout, "release", "--check", *words, code=1)
    assert says in output
    assert "\n  next: " in output


RECORD = """#!/bin/sh
for word in {name} "$@"; do echo "$word"; done >> {log}
"""


def test_workflow_runs_what_a_laptop_runs(checkout: Path, tmp_path: Path) -> None:
    """Each ``run`` step of release.yml is executed; what it uploads are the files that were checked, and no others."""
    tools, log = tmp_path / "tools", tmp_path / "log"
    (checkout / ".venv/bin").mkdir(parents=True)
    tools.mkdir()
    (checkout / ".venv/bin/invoke").symlink_to(BIN / "invoke")
    for path in (tools / "gh", tools / "make", checkout / ".venv/bin/uv"):
        path.write_text(RECORD.format(name=path.name, log=log))
        path.chmod(0o755)
    digest = package_wheel.digest(package_wheel.wheel(checkout))
    index = "https://index.example/legacy/"
    values = {
        "github.ref_name": TAG,
        "github.token": "token",
        "needs.release.outputs.digest": digest,
        "vars.PUBLISH_URL": index,
    }
    commands = []
    for job in WORKFLOW["jobs"].values():
        for step in job["steps"]:
            if command := step.get("run"):
                given = {k: values[v.strip("${ }")] for k, v in step.get("env", {}).items()}
                clean = {k: v for k, v in os.environ.items() if not k.startswith(("PIPELINE_", "AWS_"))}
                environment = {**clean, **given, "PATH": f"{tools}:{clean['PATH']}", "HOME": str(tmp_path)}
                words = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", command]
                subprocess.run(words, cwd=checkout, env=environment, check=True, capture_output=True)
                commands.append(command.split()[0])
    assert commands == ["make", ".venv/bin/invoke", "gh", "make", ".venv/bin/invoke", ".venv/bin/uv"]
    uploaded = [f"dist/{package_wheel.name(checkout)}", f"dist/ml_delivery-{VERSION}.tar.gz"]
    release = ["gh", "release", "create", TAG, "--verify-tag", "--title", TAG, "--notes-file", "dist/notes.md"]
    publish = ["uv", "publish", "--trusted-publishing", "always", "--publish-url", index]
    assert log.read_text().split() == ["make", "setup", *release, *uploaded, "make", "setup", *publish, *uploaded]


def test_publishing_waits_for_its_variable_and_the_release() -> None:
    """Nothing is published without the variable; only a tag starts it; only the release itself may write."""
    on = WORKFLOW[True]  # YAML 1.1 takes the word `on` for a truth value
    assert on == {"push": {"tags": ["v*"]}}
    publish = WORKFLOW["jobs"]["publish"]
    assert (publish["if"], publish["needs"], publish["environment"]) == ("vars.PUBLISH_URL", "release", "publish")
    writing = [name for name, job in WORKFLOW["jobs"].items() if job["permissions"].get("contents") == "write"]
    assert writing == ["release"]


def test_dist_is_no_part_of_the_repository(checkout: Path) -> None:
    """What was built is ignored by git, and a second build replaces it."""
    (checkout / "dist").mkdir()
    (checkout / "dist/old.whl").touch()
    output = invoke(checkout, "build")
    assert json.dumps(sorted(p.name for p in (checkout / "dist").iterdir())).count("ml_delivery-") == 2
    assert not (checkout / "dist/old.whl").exists()
    assert output.count("sha256:") == 2
    status = subprocess.run(["git", "status", "--porcelain"], cwd=checkout, check=True, capture_output=True, text=True)
    assert status.stdout == ""
    shutil.rmtree(checkout / "dist")
