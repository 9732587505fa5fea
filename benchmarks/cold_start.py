"""From the start of a process to the handler's first answer: the artifact beside the tree that pip installs.

Promise: at most half. Both hold the same packages and the same handler, and neither folder may be written, as on Lambda:
``-B`` keeps Python from storing bytecode, root or not. pip runs with ``--no-compile``, since the bytecode that it writes
names file times, which a ZIP doesn't keep exactly; the last row shows what it would give if it did. ``nox -s bench``.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "benchmarks"), str(ROOT / "src")]

from build_time import HANDLER, PYTHON
from tiny import PRICING, Tiny

from ml_delivery.artifact import build
from ml_delivery.dependencies import locks
from ml_delivery.targets.lambda_function.http import http_event

RUNS = 9
LIMIT = 0.5
EVENT = http_event("/healthz")
ASK = f"""
import sys
sys.path.insert(0, sys.argv[1])
from service.handler import handler
assert handler({EVENT!r}, None)["statusCode"] == 200
"""


def main() -> int:
    """Print a row per tree; exit code 1 when the artifact takes more than half of what pip's tree takes."""
    os.environ.setdefault("PIPELINE_CACHE", str(ROOT / ".pipeline/cache"))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "state").mkdir()
        tiny = Tiny(folder / "service", folder / "state", "bench")
        tiny.write("src/service/handler.py", HANDLER)
        tiny.write("requirements/serve.txt", (PRICING / "requirements/serve.txt").read_text())
        tiny.commit()
        build.build(tiny.config)
        with zipfile.ZipFile(tiny.root / "build/artifact.zip") as made:
            made.extractall(folder / "artifact")
        trees = {
            "artifact": folder / "artifact",
            "as pip installs": _installed(tiny, folder / "plain", "--no-compile"),
            "... with its own bytecode": _installed(tiny, folder / "compiled", "--compile"),
        }
        seconds: dict[str, list[float]] = {name: [] for name in trees}
        for run in range(RUNS + 1):
            for name, tree in trees.items():
                began = time.perf_counter()
                subprocess.run([sys.executable, "-I", "-S", "-B", "-c", ASK, str(tree)], check=True)
                if run:  # the first fills the page cache
                    seconds[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"start to first answer, {PYTHON}, medians of {RUNS}")
    for name, median in medians.items():
        print(f"{name:<26} {median:6.3f} s  ({min(seconds[name]):.3f} to {max(seconds[name]):.3f})")
    ratio = medians["artifact"] / medians["as pip installs"]
    print(f"ratio {ratio:.2f}, limit {LIMIT}")
    return 0 if ratio <= LIMIT else 1


def _installed(tiny: Tiny, folder: Path, compiling: str) -> Path:
    """The packages of the lock that apply here, as pip lays them out, with the service beside them."""
    pins = locks.for_target(locks.read(tiny.root / "requirements/serve.txt"), PYTHON, "x86_64")
    wanted = folder.with_suffix(".txt")
    lines = [f"{p.name}=={p.version} " + " ".join(f"--hash=sha256:{h}" for h in p.hashes) for p in pins]
    wanted.write_text("\n".join(lines))
    words = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", compiling]
    subprocess.run([*words, "--target", folder, "--requirement", wanted], check=True)
    (folder / "service").mkdir()
    for file in (tiny.root / "src/service").glob("*.py"):
        (folder / "service" / file.name).write_bytes(file.read_bytes())
    return folder


if __name__ == "__main__":
    sys.exit(main())
