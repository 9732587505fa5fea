"""How long ``invoke --list`` and ``nox --list`` take, beside the same commands on files that hold nothing.

Promise: no more than 1.2 times. Whole processes, taken in turn, medians. Run it with ``nox -s bench``.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
RUNS = 15
LIMIT = 1.2
EMPTY = {
    "invoke": ("tasks.py", "from invoke import task\n\n\n@task\ndef nothing(_):\n    pass\n"),
    "nox": ("noxfile.py", "import nox\n\n\n@nox.session\ndef nothing(session):\n    pass\n"),
}


def seconds(tool: str, folder: Path) -> float:
    """One run of ``<tool> --list`` in ``folder``."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", tool, "--list"], cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> int:
    """Print a row per tool; exit code 1 when one is over the limit."""
    missed = False
    print(f"{'':>8} {'here':>8} {'empty':>8} {'ratio':>6}")
    for tool, (name, text) in EMPTY.items():
        with tempfile.TemporaryDirectory() as empty:
            Path(empty, name).write_text(text)
            folders = {"here": ROOT, "empty": Path(empty)}
            for folder in folders.values():
                seconds(tool, folder)  # bytecode and disk cache are warm for both
            times: dict[str, list[float]] = {place: [] for place in folders}
            for _ in range(RUNS):
                for place, folder in folders.items():
                    times[place].append(seconds(tool, folder))
        here, there = (statistics.median(times[place]) for place in folders)
        missed |= here > LIMIT * there
        print(f"{tool:>8} {here:6.3f} s {there:6.3f} s {here / there:6.2f}")
    print(f"limit {LIMIT}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
