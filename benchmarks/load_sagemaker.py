"""Users at 100 requests a second of a SageMaker endpoint, during ten deploys, one of them broken, and three rollbacks.

Promise: no request fails, and as many arrive as are asked for. ``--kills`` also kills a deploy after each of its writes, and goes
on.
Run it with ``tests/engine.sh .venv/bin/nox -s bench -- benchmarks/load_sagemaker.py``.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

from endpointing import Callers, Varied, with_base
from steady import deploys, kills
from tiny import Tiny

from ml_delivery import emulator
from ml_delivery.errors import PipelineError

RATE = 100.0


def faulty(service: Varied) -> list[str]:
    """What does not fit together, and what is there beside it."""
    return [*service.problems(), *service.orphans(), *service.unused()]


def main() -> int:
    """Print what users met and how long deploys took; exit code 1 when the promise is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", action="store_true")
    asked = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        try:
            stack.enter_context(with_base(folder))
        except PipelineError as error:
            print(f"NOT MEASURED: {error}", file=sys.stderr)
            return 0
        (shared := folder / "shared").mkdir()
        os.environ["PIPELINE_CACHE"] = str(ROOT / ".pipeline/cache")
        tiny = Tiny(folder / "service", shared, "load-sagemaker")
        try:
            service = Varied(tiny)
            service.deploy(NOTE="first")
            callers, began = Callers(service, RATE), time.monotonic()
            took, back = deploys(service, bad="1")
            if asked.kills:
                print(f"killed after each of {kills(service, lambda: faulty(service))} writes, and continued")
            met, seconds, problems = callers.stop(), time.monotonic() - began, faulty(service)
        finally:
            emulator.down(tiny.root)
    rate = met.requests / seconds
    print(f"{met.requests} requests, {rate:.0f} a second, {met.failed} failed; {problems or 'all in order'}")
    for failure in met.failures[:10]:
        print(f"✗ {failure}")
    print(f"deploys {min(took):.1f} to {max(took):.1f} s, median {sorted(took)[len(took) // 2]:.1f} s")
    print(f"rollbacks: {', '.join(f'{one:.1f}' for one in back)} s")
    kept = not met.failed and not problems and rate > 0.95 * RATE
    print(f"promise: none fails, {RATE:.0f} requests a second: {'kept' if kept else 'MISSED'}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
