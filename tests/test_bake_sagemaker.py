"""A bake whose target is a SageMaker endpoint lives: checked, built, deployed, called, broken, retired by its workflow."""

from __future__ import annotations

import json
from pathlib import Path

import endpointed
from bake import bake, commit, start
from endpointing import based
from issuer import Issuer
from roles import ACCOUNT
from test_bake import run
from workflow import Event, Runner, bootstrapped

from ml_delivery import emulator

__all__ = ["based"]  # a fixture


def test_bake_of_an_endpoint_lives(tmp_path: Path, based: None) -> None:
    """The starter blank keeps the contract, answers as its model, survives a release that does not start, and is retired."""
    made = bake(tmp_path / "out", starter="blank", target="sagemaker", project_slug="demand-pricing")
    settings, app = made / "pipeline.toml", made / "src/service/app.py"
    text = settings.read_text().replace('base = ""', f'base = "{endpointed.BASE}"')
    settings.write_text(text.replace('branch = "main"\naccount = ""', f'branch = "main"\naccount = "{ACCOUNT}"'))
    start(made)
    try:
        run(made, "make", "setup")
        assert "✗" not in run(made, "invoke", "doctor", "--contract")
        assert "release 1 is verified" in run(made, "invoke", "ship")
        assert 20 < json.loads(run(made, "invoke", "call", "/v1/predict?kilometres=10"))["minutes"] < 35
        assert "nothing to do" in run(made, "invoke", "plan")
        app.write_text('"""Broken."""\n\nraise RuntimeError("broken on purpose")\n')
        commit(made, "Break")
        run(made, "invoke", "build")
        run(made, "invoke", "push")
        assert "release 1 serves as before" in run(made, "invoke", "deploy", code=1)
        assert json.loads(run(made, "invoke", "call", "/version"))["release"] == 1
        _retired_by_the_workflow(made)
        assert "release 1 is retired" in run(made, "invoke", "status")
    finally:
        run(made, "invoke", "cloud.down")


def _retired_by_the_workflow(made: Path) -> None:
    """deploy.yml with the action retire, as the role that GitHub's token admits to."""
    issuer = Issuer()
    issuer.publish(made / ".pipeline/cloud")
    runner = Runner(made, emulator.up(made).endpoint, issuer, {})
    inputs = {"action": "retire", "release": "0", "reason": ""}
    runner.job("deploy.yml", "deploy", Event("workflow_dispatch", "main", bootstrapped(made), inputs))
    assert "release 1 is retired" in runner.printed[-1]
