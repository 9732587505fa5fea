"""Users at 100 requests a second through the Gateway of a cluster, during ten deploys, one of them broken, and three rollbacks.

Promises: no request fails; from a pushed image to verified takes at most 1.5 × what the cluster itself needs; a rollback to a
resting release takes at most 10 s. ``--kills`` also kills a deploy after each of its writes, and goes on; ``--down`` keeps the
API server down for 20 s in mid-shift.
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

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

from faults import conflict, faults
from podding import Callers, Podded
from steady import deploys, kills
from tiny import Tiny

from ml_delivery import emulator
from ml_delivery.waiting import wait

SHIFT = r"PATCH .*/httproutes/live"
DOWN = 20.0


def cluster_seconds(service: Podded) -> float:
    """What the cluster needs for this release under the same load: a Deployment that is applied, until its pod is available."""
    client, name = service.client, "measured"
    live = service.deployer.live()
    assert live
    there = client.get(service.paths.deployments(live.deployed))
    assert there
    marks = {"app.kubernetes.io/instance": name, "app.kubernetes.io/managed-by": "nothing"}
    template = {**there["spec"]["template"], "metadata": {"labels": marks}}
    wanted = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": marks},
        "spec": {"replicas": 1, "selector": {"matchLabels": marks}, "template": template},
    }
    began = time.monotonic()
    client.write("POST", service.paths.deployments(), wanted)
    while not (client.get(service.paths.deployments(name)) or {}).get("status", {}).get("availableReplicas"):
        time.sleep(0.05)  # how exactly it is measured
    took = time.monotonic() - began
    client.delete(service.paths.deployments(name))
    wait(
        lambda: not client.items(service.paths.pods(name)) or None,
        what="the end of its pod, which the deploy is not to pay for",
    )
    return took


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
            bare: list[float] = []
            took, back = deploys(service, "raises", before=lambda: bare.append(cluster_seconds(service)))
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
    ratio = sum(took) / sum(bare)
    print(
        f"{len(bare)} bare Deployments {min(bare):.1f} to {max(bare):.1f} s, median {statistics.median(bare):.1f} s; each "
        f"with a deploy after it, {min(took):.1f} to {max(took):.1f} s, median {statistics.median(took):.1f} s: "
        f"{ratio:.2f} × in all"
    )
    print(f"rollbacks to a resting release: {', '.join(f'{seconds:.1f}' for seconds in back)} s")
    kept = not met.failed and not problems and ratio <= 1.5 and max(back) <= 10
    print(f"promise: none fails, 1.5 × the cluster's own time, a rollback within 10 s: {'kept' if kept else 'MISSED'}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
