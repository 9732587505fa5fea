"""A training of the pricing starter on real transactions, divided among two hosts, beside one host: processor time, digests.

``RETAIL_DATA=online_retail.csv.gz nox -s bench -- benchmarks/hosts_time.py``. Each host runs the command that a job gives it, with
the parts that ``--instances 2`` gives it; nothing is cut, so that the digests must be the same. The critical path is that of the
host that computes longest. Every host reads the data and estimates elasticities by itself, which limits what more hosts gain.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
TEMPLATE = ROOT / "{{cookiecutter.project_slug}}"
sys.path.insert(0, str(ROOT / "src"))

from ml_delivery.jobs import split
from ml_delivery.keys import Jobs

FASTER = 1.6


@dataclass(frozen=True)
class Host:
    """What a host trained: the digests, and the seconds of a processor that it took."""

    digests: set[str]
    seconds: float


def main() -> int:
    """Print what was measured; exit code 1 when a promise is missed, 75 without the data."""
    source = os.environ.get("RETAIL_DATA", "")
    if not source:
        print("NOT MEASURED: RETAIL_DATA names no file of transactions")
        return 75
    known = tomllib.loads((TEMPLATE / "starters/pricing/parts/commands.toml").read_text(encoding="utf-8"))["jobs"]
    jobs = Jobs(split=known["split"], parts=known["parts"])
    alone = _train(source, jobs, tuple(jobs.parts))
    hosts = [_train(source, jobs, parts) for parts in split.divide(jobs, 2)]
    for parts, host in zip(split.divide(jobs, 2), hosts, strict=True):
        print(f"host with {', '.join(parts)}: {host.seconds:.1f} s")
    faster = alone.seconds / max(host.seconds for host in hosts)
    print(f"one host {alone.seconds:.1f} s, two {faster:.2f} times faster, limit {FASTER}")
    same = alone.digests == set().union(*(host.digests for host in hosts))
    print(f"{len(alone.digests)} models, digests {'the same' if same else 'DIFFER'}")
    return 0 if same and faster >= FASTER else 1


def _train(source: str, jobs: Jobs, parts: tuple[str, ...]) -> Host:
    path = os.pathsep.join([str(TEMPLATE / "src"), str(TEMPLATE / "starters/pricing/src")])
    with tempfile.TemporaryDirectory() as scratch:
        words = ["-m", "service.training", "--root", scratch, "--data", source, "--seconds", "3600"]
        words += [f"--{jobs.split}", ",".join(parts)]
        before = os.times()
        subprocess.run(
            [sys.executable, *words], env={**os.environ, "PYTHONPATH": path}, check=True, stdout=subprocess.DEVNULL
        )
        after = os.times()
        (run,) = Path(scratch, ".pipeline").rglob("run-*.json")
        return Host(set(json.loads(run.read_text(encoding="utf-8"))["models"]), _children(after) - _children(before))


def _children(times: os.times_result) -> float:
    return times.children_user + times.children_system


if __name__ == "__main__":
    sys.exit(main())
