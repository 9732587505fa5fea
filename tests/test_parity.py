"""CI is the same commands: the shipped workflows' own steps, executed in a fresh bake against the embedded AWS."""

from __future__ import annotations

import copy
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from bake import BIN, ROOT, bake, commit, start
from issuer import Issuer
from roles import ACCOUNT
from test_sca import Advisories
from tiny import TEMPLATE
from workflow import ON_GITHUB, WORKFLOWS, Event, Runner, read

from ml_delivery import config, emulator
from ml_delivery.release import rollout
from ml_delivery.release.delivery import open_delivery

HERE = f"py{sys.version_info.major}{sys.version_info.minor}"
STEPS = [
    (workflow, job, step)
    for workflow, document in WORKFLOWS.items()
    for job, content in document["jobs"].items()
    for step in content["steps"]
]
OURS = r"(exec )?(make|\.venv/bin/(nox|tox|invoke))( [^|;&<>`]*)?"
# What is no call of ours, and why.
ALLOWED = {"exit 1": "fails the gate; calls nothing"}
# Workflows and jobs that are run by another test, and by which.
JOBS = "test_parity_jobs.py, in a service that has jobs"
ELSEWHERE = {"upgrade.yml": "test_upgrade.py, in a service that cruft made", "train.yml": JOBS}
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
        for action in ("deploy", "rollback", "unlock")
        for plan in ("success", "failure", "cancelled", "skipped")
        if Event("workflow_dispatch", "main", "{}", {"action": action}, plan=plan).holds(jobs["deploy"]["if"])
    }
    assert runs == {("deploy", "success"), ("rollback", "skipped"), ("unlock", "skipped")}
    # A group would cancel the run that waits in it when a third one starts; they wait for the ledger's lock instead.
    assert "concurrency" not in WORKFLOWS["deploy.yml"]
    waits = [re.search(r"invoke (\w+).*--wait (\d+)$", step.get("run", "")) for step in jobs["deploy"]["steps"]]
    assert {found[1] for found in waits if found} == {"deploy", "rollback"}
    seconds = max(int(found[2]) for found in waits if found)
    assert seconds + rollout.SESSION_SECONDS < 3600  # the session of the role, which was taken before
    assert not any("environment" in job for job in WORKFLOWS["build_test.yml"]["jobs"].values())


def test_signal_of_a_cancelled_run_reaches_what_has_something_to_put_back(tmp_path: Path) -> None:
    """GitHub interrupts a step's shell only, which tells nobody; so that what changes something takes the shell's place."""
    changing = [
        step["run"]
        for _, _, step in STEPS
        if re.search(r"invoke (deploy|rollback|build --on|(train|tune) .*--branch)", step.get("run", ""))
    ]
    assert len(changing) == 5
    assert all(command.startswith("exec ") for command in changing)
    for command, code in ((changing[0], 130), (changing[0].removeprefix("exec "), 0)):
        script = tmp_path / "step.sh"
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
        pytest.skip("ACTIONLINT names no actionlint; .ci/run installs one")
    for path in (folder / ".github/workflows").glob("*.yml"):
        target = tmp_path / ".github/workflows" / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(path.read_text().replace(old, new) if old else path.read_text())
    words = [program, ".github/workflows/*.yml"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode != 0) == bool(old), done.stdout + done.stderr


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """A fresh bake on main, with its account named, trained and bootstrapped as its README says."""
    made = bake(tmp_path_factory.mktemp("parity") / "out")
    settings = made / "pipeline.toml"
    settings.write_text(
        settings.read_text().replace('branch = "main"\naccount = ""', f'branch = "main"\naccount = "{ACCOUNT}"')
    )
    start(made)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Advisories)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Advisories.known, Advisories.asked, Advisories.silent = {}, [], set()
    more = {
        "PIP_AUDIT_VULNERABILITY_SERVICE": "osv",
        "PIP_AUDIT_OSV_URL": f"http://127.0.0.1:{server.server_port}/v1/query",
    }
    issuer = Issuer()
    runner = Runner(made, "", issuer, more)
    subprocess.run(["make", "train"], cwd=made, check=True, capture_output=True)
    commit(made, "Train")
    running = emulator.up(made)
    issuer.publish(made / ".pipeline/cloud")
    runner.endpoint = running.endpoint
    yield runner
    emulator.down(made)
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def delivery(runner: Runner) -> str:
    """The variable that ``invoke bootstrap`` prints."""
    words = [".venv/bin/invoke", "bootstrap"]
    printed = subprocess.run(words, cwd=runner.checkout, check=True, capture_output=True, text=True).stdout
    found = re.search(r"^  DELIVERY = (.*)$", printed, re.M)
    assert found
    network = {k: v for k, v in os.environ.items() if re.match(r"PIP_|UV_|SSL_|REQUESTS_|https?_proxy|HTTPS?_PROXY", k)}
    url = "https://github.com/your-organisation/demand-pricing.git"
    emulator.offer(
        runner.checkout, "demand-pricing-production", url, {**network, "PIPELINE_CACHE": os.environ["PIPELINE_CACHE"]}
    )
    return found[1]


def test_push_is_checked_built_and_pushed(runner: Runner, delivery: str) -> None:
    """build_test.yml on a push to main: checks, security, this machine's Python, and the build on CodeBuild, as its role."""
    event = Event("push", "main", delivery)
    for job in ("checks", "security", "pythons", "build", "build-only"):
        for matrix in (
            WORKFLOWS["build_test.yml"]["jobs"][job].get("strategy", {}).get("matrix", {}).get("include", [{}])
        ):
            if matrix.get("environment", HERE) == HERE:  # the other Pythons are GitHub's
                runner.job("build_test.yml", job, event, matrix)
    assert runner.ran[-1] == "exec .venv/bin/invoke build --on codebuild"
    buildspec = yaml.safe_load((TEMPLATE / "buildspec.yml").read_text())
    log = runner.printed[-1]
    for phase in buildspec["phases"].values():
        for command in phase["commands"]:
            assert f"Running command {command.splitlines()[0]}" in log, command
    assert {"sast.sarif", "sca.json"} <= {path.name for path in (runner.checkout / "build/scans").iterdir()}


def test_deploy_is_planned_reviewed_and_done(runner: Runner, delivery: str) -> None:
    """deploy.yml: plan, deploy, the deploy again, which is green; a rollback has nowhere to go; a lock is released."""
    inputs = {"action": "deploy", "release": "0", "reason": "its runner died"}
    event = Event("workflow_dispatch", "main", delivery, inputs)
    event.planned, event.plan = runner.job("deploy.yml", "plan", event), "success"
    runner.job("deploy.yml", "deploy", event)
    assert "release 1 is verified" in runner.printed[-1]
    summary = runner.summary.read_text()
    assert "plan for production:" in summary
    assert "✓ deploy of demand-pricing in production" in summary
    with pytest.raises(AssertionError, match="production has no verified release before 1 to roll back to"):
        runner.job("deploy.yml", "deploy", replace(event, plan="skipped", inputs={**inputs, "action": "rollback"}))
    runner.job("deploy.yml", "deploy", event)
    assert "nothing to do: release 1 has already deployed this plan and is live in production" in runner.printed[-1]
    opened = open_delivery(config.load(runner.checkout), "main", "embedded")
    with opened.ledger.locked("another runner", "deploy"):
        runner.job("deploy.yml", "deploy", replace(event, plan="skipped", inputs={**inputs, "action": "unlock"}))
    assert "unlocked; it was held by another runner" in runner.printed[-1]


def test_pull_request_builds_and_pushes_nothing(runner: Runner) -> None:
    """A pull request, also from a fork and without any variable, builds here, without credentials."""
    before = len(runner.ran)
    runner.job("build_test.yml", "build", Event("pull_request", "main", ""))
    runner.job("build_test.yml", "build", Event("push", "develop", '{"main": {}}'))  # it is delivered nowhere
    runner.job("build_test.yml", "build-only", Event("pull_request", "main", ""))
    assert runner.ran[before:] == ["make setup", ".venv/bin/invoke build"]


def test_every_step_is_run_or_has_its_reason(runner: Runner, delivery: str) -> None:
    """Nothing is skipped but what is named: each ``run:`` was executed above, each ``uses:`` has what stands in for it."""
    del delivery
    for workflow, job, step in STEPS:
        if "uses" in step:
            assert step["uses"].partition("@")[0] in ON_GITHUB, (workflow, job)
        elif step["run"] not in ALLOWED and not {workflow, job} & set(ELSEWHERE):
            assert step["run"] in runner.ran, (workflow, job, step["run"])
    used = {step["uses"].partition("@")[0] for _, _, step in STEPS if "uses" in step}
    assert used == set(ON_GITHUB)


def test_unknown_action_is_not_passed_over(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step with an action that nothing stands in for fails the parity test."""
    changed = copy.deepcopy(WORKFLOWS)
    changed["deploy.yml"]["jobs"]["plan"]["steps"] = [{"uses": "someone/else@v1"}]
    monkeypatch.setattr("workflow.WORKFLOWS", changed)
    event = Event("workflow_dispatch", "main", json.dumps({}), {"action": "deploy"})
    with pytest.raises(AssertionError, match="nothing stands in for someone/else"):
        runner.job("deploy.yml", "plan", event)


def test_delivery_names_what_workflows_read(delivery: str) -> None:
    """The variable holds, for each branch with an account, all that the workflows ask it for."""
    asked: set[Any] = set()
    for path in (TEMPLATE / ".github/workflows").glob("*.yml"):
        asked |= set(re.findall(r"fromJSON\(vars\.DELIVERY\)\[github\.ref_name\]\.(\w+)", path.read_text()))
    assert json.loads(delivery).keys() == {"main"}
    assert set(json.loads(delivery)["main"]) == asked
