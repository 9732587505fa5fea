"""Tests can't write artifacts: what runs them has no role and shares no cache with what builds; here a hostile one tries."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from bake import ROOT, bake, commit, git, start
from test_extending import run
from tiny import INFRA, TEMPLATE
from workflow import WORKFLOWS

from ml_delivery import emulator

TESTS = re.compile(r"\b(nox|tox|pytest)\b")
# As a test, or a package that one needs, could: leaves a mark, and puts something into whatever is kept from build to build.
HOSTILE = """\
import hashlib, json, pathlib, zipfile

pathlib.Path({mark!r}).touch()
cache = pathlib.Path(".pipeline/cache")
for wheel in sorted(cache.glob("wheels/*/*.whl"))[:1]:
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("implant.py", "print('implanted')")
for index in cache.glob("bundles/*.json"):
    archive = index.with_suffix(".zip")
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    archive.write_bytes(content)
    _, *rest = json.loads(index.read_bytes().partition(b"\\n")[2])
    text = json.dumps([hashlib.sha256(content).hexdigest(), *rest]).encode()
    index.write_bytes(hashlib.sha256(text).hexdigest().encode() + b"\\n" + text)
"""


@pytest.fixture(scope="module")
def mark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile") / "ran"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, mark: Path) -> Iterator[Path]:
    """A bake whose tests are hostile."""
    made = bake(tmp_path_factory.mktemp("apart") / "out", starter="blank")
    (made / "tests/conftest.py").write_text(HOSTILE.format(mark=str(mark)))
    start(made)
    run(made, "make", "setup")
    yield made
    emulator.down(made)


def on_codebuild(service: Path, code: int = 0) -> str:
    """The digest of what CodeBuild pushed of the commit that is checked out, or the output where it fails."""
    output = run(
        service, ".venv/bin/invoke", "build", "--on", "codebuild", *(["--json"] if not code else []), code=code
    )
    return output if code else str(json.loads(output)["exported"]["ARTIFACT_DIGEST"])


def honest(service: Path, folder: Path) -> str:
    """The digest of a build of the same commit in a clean clone, with a cache that nothing else can write."""
    clone = folder / git(service, "rev-parse", "HEAD")
    subprocess.run(["git", "clone", "--quiet", str(service), str(clone)], check=True)
    variables = ["env", f"PYTHONPATH={ROOT / 'src'}", f"PIPELINE_CACHE={folder}/cache"]
    return str(json.loads(run(clone, *variables, sys.executable, "-m", "invoke", "build", "--json"))["digest"])


def test_hostile_tests_reach_no_artifact(service: Path, mark: Path, tmp_path: Path) -> None:
    """CodeBuild, by the shipped buildspec, does not run them: this commit's artifact and the next one's are an honest build's."""
    first = on_codebuild(service)
    assert first == honest(service, tmp_path)
    source = service / "src/service/model.py"
    source.write_text(source.read_text() + "# changed\n")
    commit(service, "Change")
    assert on_codebuild(service) == honest(service, tmp_path)
    assert not mark.exists()


def test_hostile_build_reaches_no_other_commits_artifact(service: Path, mark: Path, tmp_path: Path) -> None:
    """Whatever ran in one build, the next takes only wheels from it, each by its hash: it stops with the name, then is honest."""
    shipped = (service / "buildspec.yml").read_text()
    (service / "hostile.py").write_text((service / "tests/conftest.py").read_text())
    phases, cache = shipped.split("\n\ncache:")
    (service / "buildspec.yml").write_text(f"{phases}\n      - python3 hostile.py\n\ncache:{cache}")
    commit(service, "Hostile")
    on_codebuild(service)
    assert mark.exists()
    (service / "buildspec.yml").write_text(shipped)
    commit(service, "Shipped again")
    assert re.search(r"✗ \S+\.whl was altered after it was fetched; it is removed", on_codebuild(service, code=1))
    assert on_codebuild(service) == honest(service, tmp_path)


def test_what_can_write_artifacts_runs_no_tests() -> None:
    """One role can: that of the CodeBuild project, whose buildspec runs neither nox, tox nor pytest and caches only wheels."""
    text = re.sub(r"!(\w+)", r"", (INFRA / "delivery.yaml").read_text())
    resources = yaml.safe_load(text)["Resources"]
    writers = set()
    for name, resource in resources.items():
        for policy in resource["Properties"].get("Policies", []):
            for statement in policy["PolicyDocument"]["Statement"]:
                actions = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
                if "s3:PutObject" in actions and "/artifacts/" in str(statement["Resource"]):
                    writers.add(name)
    assert writers == {"ProjectRole"}
    trusted = resources["ProjectRole"]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert [one["Principal"] for one in trusted] == [{"Service": "codebuild.amazonaws.com"}]
    spec = yaml.safe_load((TEMPLATE / "buildspec.yml").read_text())
    commands = [command for phase in spec["phases"].values() for command in phase["commands"]]
    assert not [command for command in commands if TESTS.search(command)]
    assert spec["cache"]["paths"] == [".pipeline/cache/wheels/**/*"]
    assert "UV_CACHE_DIR" not in spec["env"].get("variables", {})


def test_jobs_that_run_tests_have_no_role_and_no_cache_of_theirs_is_used() -> None:
    """A job runs tests, or can take a role; and what can take a role, or has a secret, restores no cache that a test may write."""
    tests, roles = set(), set()
    for workflow, document in WORKFLOWS.items():
        for name, job in document["jobs"].items():
            runs = " ".join(step.get("run", "") for step in job["steps"])
            uses = " ".join(step.get("uses", "") for step in job["steps"])
            if TESTS.search(runs):
                tests.add((workflow, name))
                assert set(job["permissions"]) <= {"contents", "security-events"}, (workflow, name)
                assert "environment" not in job
            if "secrets." in json.dumps(job):  # setup-uv has a cache unless it is switched off
                kept = [step.get("with", {}) for step in job["steps"] if "setup-uv" in step.get("uses", "")]
                assert all(one.get("enable-cache") is False for one in kept), (workflow, name)
            if job["permissions"].get("id-token"):
                roles.add((workflow, name))
                assert not re.search(r"cache|setup-uv", uses), (workflow, name)
                assert not [step for step in job["steps"] if "cache" in step.get("with", {})]
    assert {name for _, name in tests} == {"checks", "security", "pythons"}
    assert {name for _, name in roles} == {"build", "plan", "deploy", "train"}
