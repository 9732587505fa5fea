"""CI is the same commands: the shipped workflows' own steps, executed in a fresh bake against the embedded AWS."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import ThreadingHTTPServer

import pytest
import yaml
from bake import bake, start
from issuer import Issuer
from roles import ACCOUNT
from test_sca import Advisories
from tiny import TEMPLATE
from workflow import ALLOWED, ON_GITHUB, STEPS, WORKFLOWS, Event, Runner, asked, bootstrapped

from ml_delivery import config, emulator
from ml_delivery.release.delivery import open_delivery

HERE = f"py{sys.version_info.major}{sys.version_info.minor}"
# Workflows that are run by another test, and by which.
ELSEWHERE = {
    "upgrade.yml": "test_upgrade.py, in a service that cruft made",
    "train.yml": "test_parity_jobs.py, in a service that has jobs",
}


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """A fresh bake on main, with its account named, bootstrapped as its README says.

    The workflows are the same for each starter; what `pricing` does in them, `test_bake.py` runs.
    """
    made = bake(tmp_path_factory.mktemp("parity") / "out", starter="blank", project_slug="demand-pricing")
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
    subprocess.run(["make", "setup"], cwd=made, check=True, capture_output=True)
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
    found = bootstrapped(runner.checkout)
    network = {k: v for k, v in os.environ.items() if re.match(r"PIP_|UV_|SSL_|REQUESTS_|https?_proxy|HTTPS?_PROXY", k)}
    url = "https://github.com/your-organisation/demand-pricing.git"
    emulator.offer(
        runner.checkout, "demand-pricing-production", url, {**network, "PIPELINE_CACHE": os.environ["PIPELINE_CACHE"]}
    )
    return found


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
    """deploy.yml: plan, deploy, the deploy again, which is green; a rollback and a retirement are refused; a lock is released."""
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
    with pytest.raises(AssertionError, match="lambda-zip costs nothing while it is not called"):
        runner.job("deploy.yml", "deploy", replace(event, plan="skipped", inputs={**inputs, "action": "retire"}))
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
        elif step["run"] not in ALLOWED and workflow not in ELSEWHERE:
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
    """The variable holds, for each branch with an account, all that the workflows ask it for.

    The role that trains exists only where `[jobs]` is set: `test_parity_jobs.py` reads it.
    """
    assert json.loads(delivery).keys() == {"main"}
    assert set(json.loads(delivery)["main"]) == asked() - {"train"}
