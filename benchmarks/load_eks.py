"""Users at 100 requests a second through the Gateway of a cluster, during ten deploys, one of them broken, and three rollbacks.

Promises: no request fails; from a pushed image to verified takes at most 1.5 × what the cluster itself needs for that very
release, from when its pod exists until it is ready (the median of all); a rollback to a resting release takes at most 10 s.
``--kills`` also kills a deploy after each of its writes, and goes on; ``--down`` keeps the API server down for 20 s in mid-shift.
Run it with ``tests/engine.sh tests/cluster.sh .venv/bin/nox -s bench -- benchmarks/load_eks.py``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

from faults import conflict, faults
from podding import Callers, Podded
from steady import DEPLOYS, deploys, kills
from tiny import Tiny

from ml_delivery import emulator
from ml_delivery.records import FAILED

SHIFT = r"PATCH .*/httproutes/live"
DOWN = 20.0


class Pods(threading.Thread):
    """Sees how long the cluster itself needs for each release's first pod: from when it exists until it is ready."""

    def __init__(self, service: Podded) -> None:
        super().__init__()
        self._client, self._path = service.client, service.paths.core("pods")
        self._ended, self._before = threading.Event(), {pod["metadata"]["name"] for pod in self._listed()}
        self._took: dict[str, float] = {}
        self.start()

    def run(self) -> None:
        since: dict[str, float] = {}
        while not self._ended.wait(0.05):  # how exactly it is seen
            for pod in self._listed():
                name, release = pod["metadata"]["name"], pod["metadata"]["labels"]["app.kubernetes.io/instance"]
                if name not in self._before and release not in self._took:
                    began = since.setdefault(name, time.monotonic())
                    states = {one["type"]: one["status"] for one in pod["status"].get("conditions", [])}
                    if states.get("Ready") == "True":
                        self._took[release] = time.monotonic() - began

    def stop(self) -> dict[str, float]:
        """The seconds of each deployed version whose pod became ready."""
        self._ended.set()
        self.join()
        return self._took

    def _listed(self) -> list[dict[str, Any]]:
        return self._client.items(self._path)


def down(service: Podded) -> float:
    """Deploy while the API server is down for a while, from just before the shift; how long it took."""
    ended = threading.Event()

    def keep() -> None:
        while not ended.wait(0.3):
            service.cluster.kill("kube-apiserver")

    def begin() -> None:
        service.cluster.kill("kube-apiserver")
        keeper.start()
        threading.Timer(DOWN, ended.set).start()

    keeper, began = threading.Thread(target=keep), time.monotonic()
    with faults(conflict(begin, SHIFT, 2)):
        service.deploy(NOTE="down")
    assert ended.is_set()
    return time.monotonic() - began


def main() -> int:
    """Print what users met and how long deploys took; exit code 1 when a promise is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", action="store_true")
    parser.add_argument("--down", action="store_true")
    asked = parser.parse_args()
    if not os.environ.get("PIPELINE_CLUSTER"):
        print("NOT MEASURED: this machine has no cluster; tests/cluster.sh prepares one", file=sys.stderr)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        (shared := Path(folder, "shared")).mkdir()
        tiny = Tiny(Path(folder, "service"), shared, "load-eks")
        try:
            service = Podded(tiny, cpu=300, drain=2)
            service.deploy(NOTE="first")
            callers = Callers(service)
            pods = Pods(service)
            took, back = deploys(service, bad="raises")
            seen, ledger = pods.stop(), service.open().ledger
            verified = [one for one in map(ledger.find, range(2, DEPLOYS + 2)) if one and one.state != FAILED]
            alone = [seen[one.deployed] for one in verified]
            if asked.kills:
                struck = kills(service, lambda: [*service.problems(), *service.orphans()])
                print(f"killed after each of {struck} writes, and continued")
            if asked.down:
                print(f"API server down for {DOWN:.0f} s in mid-shift: verified after {down(service):.1f} s in all")
            met, problems = callers.stop(), service.problems()
        finally:
            emulator.down(tiny.root)
    print(f"{met.requests} requests, {met.failed} failed; {problems or 'all in order'}")
    for failure in met.failures[:10]:
        print(f"✗ {failure}")
    ratio = statistics.median(whole / own for whole, own in zip(took, alone, strict=True))
    print(
        f"{len(took)} deploys, {min(took):.1f} to {max(took):.1f} s, median {statistics.median(took):.1f} s; their pods, from "
        f"existing to ready, {min(alone):.1f} to {max(alone):.1f} s, median {statistics.median(alone):.1f} s: {ratio:.2f} ×"
    )
    print(f"rollbacks to a resting release: {', '.join(f'{seconds:.1f}' for seconds in back)} s")
    kept = not met.failed and not problems and ratio <= 1.5 and max(back) <= 10
    print(f"promise: none fails, 1.5 × the cluster's own time, a rollback within 10 s: {'kept' if kept else 'MISSED'}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
