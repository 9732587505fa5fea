"""LightGBM's data-parallel learner, as `[jobs] together` uses it, beside one host: processor time of a host, and quality.

``nox -s bench -- benchmarks/together_time.py``. The rows are made up, with known expectations; the hosts are processes of this
machine, so that the network costs next to nothing.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

TEMPLATE = Path(__file__).parent.parent / "{{cookiecutter.project_slug}}"
sys.path[:0] = [str(TEMPLATE / "src"), str(TEMPLATE / "starters/pricing/src")]

import numpy as np

from service import models
from service.features import NAMES
from service.together import Hosts

ROWS, FASTER, WORSE = 400_000, 1.6, 0.002
PARAMETERS = {"n_estimators": 100, "learning_rate": 0.1, "num_leaves": 31, "min_child_samples": 100}


@dataclass(frozen=True)
class Learned:
    """How long a host computed, in seconds, and the mean Poisson deviance of its model on other rows."""

    seconds: float
    deviance: float


def learn(rank: int, count: int) -> Learned:
    """Learn as host ``rank`` of ``count``."""
    random = np.random.default_rng(7)
    rows = random.normal(size=(ROWS * 5 // 4, len(NAMES))).astype(np.float32)
    expected = np.exp(0.5 * rows[:, 0] - 0.3 * rows[:, 1] * rows[:, 2] + 0.2 * np.sin(3 * rows[:, 3]))
    sold = random.poisson(expected).astype(float)
    hosts = Hosts(("127.0.0.1",) * count, rank, iter([25_000 + os.getppid() % 5_000])) if count > 1 else None
    began = time.process_time()
    model = models.Trees(7, hosts, **PARAMETERS).fit(rows[:ROWS], sold[:ROWS], np.ones(ROWS))
    seconds = time.process_time() - began
    wanted, found = sold[ROWS:], np.exp(model.predict(rows[ROWS:]))
    terms = found - wanted + wanted * np.log(np.maximum(wanted, 1e-9) / found)
    return Learned(seconds, float(2 * terms.mean()))


def main() -> int:
    """Print what was measured; exit code 1 when a promise is missed."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        alone = pool.apply(learn, (0, 1))
        both = pool.starmap(learn, [(0, 2), (1, 2)], chunksize=1)
    slowest = max(host.seconds for host in both)
    faster, worse = alone.seconds / slowest, both[0].deviance / alone.deviance - 1
    print(
        f"{ROWS:,} rows: one host {alone.seconds:.2f} s, each of two {slowest:.2f} s, {faster:.2f} times faster, limit {FASTER}"
    )
    print(f"deviance {alone.deviance:.5f} and {both[0].deviance:.5f}, {worse:+.2%}, limit {WORSE:.1%}")
    same = both[0].deviance == both[1].deviance
    print(f"the models of both hosts are {'the same' if same else 'DIFFERENT'}")
    return 0 if same and faster >= FASTER and worse <= WORSE else 1


if __name__ == "__main__":
    sys.exit(main())
