"""A bake whose target is a SageMaker endpoint lives: checked, built, deployed, called, broken, retired."""

from __future__ import annotations

import json
from pathlib import Path

import endpointed
from bake import bake, commit, start
from endpointing import based
from test_bake import run

__all__ = ["based"]  # a fixture


def test_bake_of_an_endpoint_lives(tmp_path: Path, based: None) -> None:
    """The starter blank keeps the contract, answers as its model, survives a release that does not start, and is retired."""
    made = bake(tmp_path / "out", starter="blank", target="sagemaker")
    settings, app = made / "pipeline.toml", made / "src/service/app.py"
    settings.write_text(settings.read_text().replace('base = ""', f'base = "{endpointed.BASE}"'))
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
        assert "release 1 is retired" in run(made, "invoke", "retire", "--yes")
        assert "release 1 is retired" in run(made, "invoke", "status")
    finally:
        run(made, "invoke", "cloud.down")
