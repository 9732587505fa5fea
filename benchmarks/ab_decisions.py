"""How often an A/B decides, and how often wrongly, by simulation: 80 looks at 40,000 requests, as ``invoke ab`` judges them.

Promise: below 5 % false decisions where there is no difference; at least 75 % right ones where the challenger earns 10 % more; a
right traffic split is called wrong in 0.1 % at most. Run it with ``nox -s bench -- benchmarks/ab_decisions.py``; seeds are fixed.
"""

from __future__ import annotations

import math
import os
import statistics
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

from revenue_stream import compare, largest_evidence

from ml_delivery.experiments.reading import SPLIT_ALPHA

RUNS = 1_000
SPLIT_RUNS = 500
# Split, and by how much the challenger is better.
CASES = ((0.5, 0.0), (0.1, 0.0), (0.5, 0.05), (0.5, 0.1), (0.1, 0.1))


def main() -> int:
    """Print the table; exit code 1 when a promise is missed."""
    missed = []
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        print(
            f"{RUNS} A/Bs each: split, true lift, decided for the challenger, for the control, requests until then (median)"
        )
        for split, lift in CASES:
            ended = list(pool.map(partial(compare, lift=lift, split=split), range(RUNS), chunksize=50))
            shares = {name: sum(one.winner == name for one in ended) / RUNS for name in ("challenger", "control")}
            when = [one.requests for one in ended if one.winner]
            median = f"{statistics.median(when):.0f}" if when else "-"
            print(f"{split:5.0%} {lift:5.0%} {shares['challenger']:8.1%} {shares['control']:8.1%} {median:>8}")
            if (wrong := shares["control"] + (0 if lift else shares["challenger"])) >= 0.05:
                missed.append(f"{wrong:.1%} wrong decisions at {split:.0%}, {lift:.0%}")
            if (split, lift) == (0.5, 0.1) and shares["challenger"] < 0.75:
                missed.append(f"{shares['challenger']:.1%} right decisions at +10 %")
        print(f"{SPLIT_RUNS} splits of 50 % each: really, called wrong")
        for share in (0.5, 0.51, 0.52):
            found = pool.map(partial(largest_evidence, share=share), range(SPLIT_RUNS), chunksize=25)
            called = sum(one >= -math.log(SPLIT_ALPHA) for one in found) / SPLIT_RUNS
            print(f"{share:5.0%} {called:8.1%}")
            if share == 0.5 and called > 2 * SPLIT_ALPHA:
                missed.append(f"{called:.1%} right splits called wrong")
    for line in missed:
        print(f"missed: {line}")
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
