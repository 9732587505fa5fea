"""Training, interrupted for real: a process that is stopped or killed in the middle costs one trial and no result."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import PRICING

from service import evaluation, market, registry, training

WORDS = [sys.executable, "-m", "service.training"]
ENVIRONMENT = {"PYTHONPATH": str(PRICING / "src"), "PATH": "/bin"}


def test_killed_training_goes_on_and_ends_as_if_nothing_had_been(tmp_path: Path) -> None:
    """Interrupted and then killed in the middle, training resumes at its finished trials and gives the same digests."""
    small = tmp_path / "small.csv"
    frame = market.generate(7, days=200)
    frame[frame["stockcode"].isin(["85111", "85222", "85333"])].to_csv(small, index=False)
    words = [*WORDS, "--data", str(small), "--trials", "9"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert training.main([*words[3:], "--root", str(whole)]) == 0

    for stop, until, code in ((signal.SIGINT, "network        4/9", 130), (signal.SIGKILL, "lightgbm       6/9", -9)):
        with subprocess.Popen(
            [*words, "--root", str(broken)], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            for line in process.stdout:
                if until in line:
                    os.kill(process.pid, stop)
                    break
            said = process.stderr.read()
        assert process.returncode == code
        assert "Traceback" not in said
    done = subprocess.run([*words, "--root", str(broken)], check=True, env=ENVIRONMENT, capture_output=True, text=True)
    assert "elasticnet   deviance" in done.stdout
    assert "9 trials, 9 of them earlier" in done.stdout
    assert registry.last_run(broken)[0] == registry.last_run(whole)[0]


def test_another_process_trains_the_same_models(promoted: Path, tmp_path: Path) -> None:
    """Training in another process, with another hash seed, gives the same digests."""
    words = [*WORDS, "--root", str(tmp_path), "--trials", "1"]
    subprocess.run(words, check=True, env={**ENVIRONMENT, "PYTHONHASHSEED": "1"}, capture_output=True)
    assert registry.last_run(tmp_path)[0] == registry.last_run(promoted)[0]


@pytest.mark.parametrize("seed", [8, 9])
def test_other_markets_are_learned_as_well(tmp_path: Path, seed: int) -> None:
    """On other products too, the best model's prices earn 95 % of the best revenue, and most elasticities are within 15 %."""
    assert training.main(["--root", str(tmp_path), "--seed", str(seed), "--trials", "1"]) == 0
    found, run = evaluation.load(tmp_path)
    best = evaluation.evaluate(found, evaluation.challengers(tmp_path, run)).models[0].decisions
    assert best is not None
    assert best.good is not None
    assert best.good >= 0.9
    assert best.right is not None
    assert best.right >= 0.85
