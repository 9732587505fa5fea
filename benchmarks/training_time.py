"""From nothing to a judged and promoted model with the default budget: time, memory, and how good the best one is.

``nox -s bench -- benchmarks/training_time.py``
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

TEMPLATE = Path(__file__).parent.parent / "{{cookiecutter.project_slug}}"
SECONDS, MEMORY, GOOD, RIGHT = 60.0, 1500.0, 0.9, 0.85


def main() -> int:
    """Print what was measured; exit code 1 when a promise is missed."""
    steps = {"train": "service.training", "evaluate": "service.report", "promote": "service.promotion"}
    folders = (TEMPLATE.parent / "src", TEMPLATE / "src", TEMPLATE / "starters/pricing/src")
    path = os.pathsep.join(map(str, folders))
    environment = {**os.environ, "PYTHONPATH": path}
    with tempfile.TemporaryDirectory() as scratch:
        taken = {}
        for name, module in steps.items():
            began = time.perf_counter()
            command = [sys.executable, "-m", module, "--root", scratch]
            done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
            taken[name] = time.perf_counter() - began
            assert "cut after" not in done.stdout, done.stdout
        print(done.stdout)
        best = tomllib.loads(Path(scratch, "model.lock").read_text())["primary"]["metrics"]
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    judged = taken["train"] + taken["evaluate"]
    print("the default trials of each of four kinds: " + ", ".join(f"{k} {v:.1f} s" for k, v in taken.items()))
    print(f"train and evaluate     {judged:.1f} s, limit {SECONDS:g}")
    print(f"most memory            {memory:.0f} MB, limit {MEMORY:g}")
    print(f"good prices            {best['good']:.0%}, limit {GOOD:.0%}")
    print(f"elasticities right     {best['right']:.0%}, limit {RIGHT:.0%}")
    kept = best["good"] >= GOOD and best["right"] >= RIGHT
    return 0 if judged < SECONDS and memory < MEMORY and kept else 1


if __name__ == "__main__":
    sys.exit(main())
