"""The service's own request, 100 prices of a product: from its artifact, and beside it as joblib or torch would serve it.

All answer with one and the same network, through the same application. Cold is from the start of a process to its first
answer; the artifact lies in a folder that may not be written, as on Lambda, the others in an environment whose bytecode
is there. ``nox -s bench -- benchmarks/serving_time.py``; torch is a row where it is installed.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path[:0] = [
    str(ROOT / p)
    for p in ("src", "tests", "{{cookiecutter.project_slug}}/src", "{{cookiecutter.project_slug}}/starters/pricing/src")
]

import joblib  # type: ignore[import-untyped]
from tiny import PRICING, TEMPLATE, Tiny

from ml_delivery.artifact import build
from service import models, promotion, training

RUNS, ROUNDS, REQUESTS = 9, 5, 1000
# Promised: seconds, milliseconds, MB.
LIMITS = {"cold": 0.6, "p50": 2.0, "p99": 6.0, "memory": 250.0}
UNZIPPED = 150.0
ASK = """
import json, sys, time, contextlib, io
sys.path.insert(0, sys.argv[1])
{load}
from service.app import create_app
client = create_app().test_client()
ask = lambda: client.get("/v1/predict-price/85111?bins=100&date=2026-01-31")
with contextlib.redirect_stdout(io.StringIO()):
    assert ask().status_code == 200
    taken = []
    for _ in range(int(sys.argv[2])):
        began = time.perf_counter()
        ask()
        taken.append(time.perf_counter() - began)
resident = [line for line in open("/proc/self/status") if line.startswith("VmRSS")][0].split()[1]
print(json.dumps({{"taken": sorted(taken), "memory": int(resident) / 1024}}))
"""
# What stands in for ONNX: the same application, with a model that was unpickled.
JOBLIB = """
import joblib, numpy as np
from service import artifact
found, known = joblib.load("{file}")
class Pickled:
    role, kind, digest = "primary", "network", "sha256:0"
    def ratio(self, rows):
        return found.ratio(rows)
for name, value in known.items():
    setattr(Pickled, name, value)
artifact.load = lambda: [Pickled()]
"""
TORCH = """
import torch, numpy as np
from service import artifact
torch.set_num_threads(1)
saved = torch.load("{file}", weights_only=False)
layers, (low, high, mean, deviation), weights = saved["layers"], saved["scale"], saved["weights"]
class Eager:
    role, kind, digest = "primary", "network", "sha256:0"
    def ratio(self, rows):
        inside = np.clip(rows, low, high)
        with torch.no_grad():
            raw = layers(torch.from_numpy((inside - mean) / deviation)).numpy().ravel()
        base = inside[:, 0]
        return np.exp(weights[0] + weights[1] * raw + weights[2] * base + weights[3] * base**2)
for name, value in saved["known"].items():
    setattr(Eager, name, value)
artifact.load = lambda: [Eager()]
"""


def main() -> int:
    """Print a row per way of serving; exit code 1 when the artifact misses a promise."""
    os.environ.setdefault("PIPELINE_CACHE", str(ROOT / ".pipeline/cache"))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        tree = _artifact(folder)
        unzipped = sum(file.stat().st_size for file in tree.rglob("*") if file.is_file()) / 1e6
        ways = {"artifact": ([sys.executable, "-I", "-S", "-B"], ASK.format(load=""), tree)}
        plain = folder / "plain"
        shutil.copytree(PRICING / "src/service", plain / "service")
        shutil.copytree(TEMPLATE / "src/ml_service", plain / "ml_service")
        shutil.copytree(ROOT / "src/ml_pages", plain / "ml_pages")
        (plain / "model.lock").write_text("")
        for name, load in _others(folder).items():
            ways[name] = ([sys.executable], ASK.format(load=load), plain)
        found: dict[str, dict[str, float]] = {}
        for name, (python, code, where) in ways.items():
            cold = []
            for run in range(RUNS + 1):
                began = time.perf_counter()
                subprocess.run([*python, "-c", code, where, "0"], check=True, capture_output=True)
                if run:  # the first fills the page cache
                    cold.append(time.perf_counter() - began)
            words = [*python, "-c", code, where, str(REQUESTS)]
            rounds = [_said(words) for _ in range(ROUNDS)]
            # What neighbours on the machine cost is none of the service's: the quietest round counts.
            p50, p99 = (min(said["taken"][int(REQUESTS * share)] for said in rounds) * 1000 for share in (0.5, 0.99))
            memory = max(said["memory"] for said in rounds)
            found[name] = {"cold": statistics.median(cold), "p50": p50, "p99": p99, "memory": memory}
    print(
        f"100 prices of one product, by the same network; cold: median of {RUNS}; quietest of {ROUNDS} × {REQUESTS} requests"
    )
    for name, row in found.items():
        print(
            f"{name:<22} cold {row['cold']:6.3f} s   p50 {row['p50']:6.3f} ms   p99 {row['p99']:6.3f} ms   {row['memory']:4.0f} MB"
        )
    if "torch" not in found:
        print("torch                  NOT MEASURED: it is not installed here")
    print(f"artifact, unzipped     {unzipped:.1f} MB, limit {UNZIPPED:g}")
    print("limits                 " + ", ".join(f"{name} {limit:g}" for name, limit in LIMITS.items()))
    missed = [name for name, limit in LIMITS.items() if found["artifact"][name] >= limit]
    return 1 if missed or unzipped >= UNZIPPED else 0


def _said(words: Sequence[object]) -> Any:
    """What a serving process says of its requests."""
    return json.loads(subprocess.run(list(map(str, words)), check=True, capture_output=True, text=True).stdout)


def _artifact(folder: Path) -> Path:
    """The service's own artifact, with a network as its model, laid out."""
    (folder / "state").mkdir()
    tiny = Tiny(folder / "service", folder / "state", "bench")
    shutil.rmtree(tiny.root / "src/service")
    for package in (PRICING / "src/service", TEMPLATE / "src/ml_service", ROOT / "src/ml_pages"):
        shutil.copytree(package, tiny.root / "src" / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    tiny.write("requirements/serve.txt", (PRICING / "requirements/serve.txt").read_text())
    (tiny.root / "model.lock").unlink()
    shutil.rmtree(tiny.root / "models")
    models.KINDS = {"network": models.KINDS["network"]}
    assert training.main(["--root", str(tiny.root), "--trials", "1"]) == 0
    assert promotion.main(["--root", str(tiny.root)]) == 0
    tiny.commit()
    build.build(tiny.config)
    with zipfile.ZipFile(tiny.root / "build/artifact.zip") as made:
        made.extractall(folder / "artifact")
    return folder / "artifact"


def _others(folder: Path) -> dict[str, str]:
    """What loads the same network in other ways: fitted anew on the same data, with the same seed."""
    from service import artifact, dataset, forecast

    found, kind = dataset.load("", 7), models.KINDS["network"]
    made = forecast.fit(kind, kind.first, 7, found.train)
    (served,) = artifact.load(folder / "artifact")
    names = ("products", "weekday", "seasonal", "scale", "spread", "recommended")
    known = {name: getattr(served, name) for name in names}
    pickled = folder / "model.joblib"
    joblib.dump((made, known), pickled)
    ways = {"joblib + scikit-learn": JOBLIB.format(file=pickled)}
    if importlib.util.find_spec("torch"):
        import torch  # type: ignore[import-not-found]

        network = made.model._net  # type: ignore[attr-defined]
        layers: list[object] = []
        for weights, bias in zip(network.coefs_, network.intercepts_, strict=True):
            linear = torch.nn.Linear(*weights.shape)
            linear.weight.data, linear.bias.data = torch.tensor(weights.T).float(), torch.tensor(bias).float()
            layers += [linear, torch.nn.ReLU()]
        scale = made.scale
        parts = {"scale": (scale.low, scale.high, scale.mean, scale.deviation), "weights": made.weights, "known": known}
        torch.save({"layers": torch.nn.Sequential(*layers[:-1]), **parts}, folder / "model.pt")
        ways["torch"] = TORCH.format(file=folder / "model.pt")
    return ways


if __name__ == "__main__":
    sys.exit(main())
