"""Deploy, status and rollback over a ledger of 10 releases and of 10,000, one after the other, in one run.

Promise: no more calls, and no more than 1.2 times the time (medians). Run it with ``nox -s bench``.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

from faults import faults
from faults.harness import Service
from tiny import Tiny

from ml_delivery import emulator, formats

SIZES = (10, 10_000)
ROUNDS = 9
STATUSES = 25
LIMIT = 1.2


def fill(service: Service, size: int) -> None:
    """Write the events of ``size`` releases as a long life would have left them: staged and verified."""
    service.deploy(NOTE="first")
    opened = service.open()
    ledger, first = opened.ledger, opened.ledger.read(1)
    s3, bucket = opened.cloud.client("s3"), opened.foundation.bucket

    def write(number: int) -> None:
        for revision, state in ((10 * number, "staged"), (10 * number + 5, "verified")):
            event = replace(first, number=number, state=state)
            s3.put_object(
                Bucket=bucket, Key=ledger.key(event, revision), Body=json.dumps(formats.plain(event)).encode()
            )

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(2, size + 1)))
    with ledger.locked("bench", "fill") as lease:
        lease.write(newest=size, revision=10 * size + 10)


def measure(service: Service, note: str) -> dict[str, tuple[int, float]]:
    """Calls and seconds of each command; polls of Lambda's state changes, as many as they take, are not counted."""
    found = {}
    commands: dict[str, Callable[[], object]] = {
        "deploy": lambda: service.deploy(NOTE=note),
        "status": lambda: (service.open().deployer.live(), service.open().ledger.head()),
        "rollback": service.rollback,
    }
    for name, command in commands.items():
        with faults() as called:
            times = []
            for _ in range(STATUSES if name == "status" else 1):  # it is over so soon that one says little
                called.clear()
                began = time.perf_counter()
                command()
                times.append(time.perf_counter() - began)
        found[name] = (len([one for one in called if one != "GetFunctionConfiguration"]), statistics.median(times))
    return found


def main() -> int:
    """Print a row per command; exit code 1 when a promise is missed."""
    with tempfile.TemporaryDirectory() as folder:
        (shared := Path(folder, "shared")).mkdir()
        services = {size: Service(Tiny(Path(folder, str(size)), shared, f"ledger-{size}")) for size in SIZES}
        try:
            for size, service in services.items():
                fill(service, size)
                service.deploy(NOTE="warm")
            rounds: dict[int, list[dict[str, tuple[int, float]]]] = {size: [] for size in SIZES}
            for number in range(ROUNDS):
                for size in SIZES if number % 2 else reversed(SIZES):  # what else the machine does falls on both
                    rounds[size].append(measure(services[size], f"round {number}"))
        finally:
            emulator.down(services[10].tiny.root)
    good = True
    print(f"{'command':<9} {'calls at 10':>12} {'at 10,000':>10} {'seconds at 10':>14} {'at 10,000':>10} {'ratio':>6}")
    for name in ("deploy", "status", "rollback"):
        calls = [max(one[name][0] for one in rounds[size]) for size in SIZES]
        seconds = [statistics.median(one[name][1] for one in rounds[size]) for size in SIZES]
        ratio = seconds[1] / seconds[0]
        good = good and calls[1] <= calls[0] and ratio <= LIMIT
        print(f"{name:<9} {calls[0]:>12} {calls[1]:>10} {seconds[0]:>14.3f} {seconds[1]:>10.3f} {ratio:>6.2f}")
    print(f"promise: no more calls, and at most {LIMIT} × the time: {'kept' if good else 'MISSED'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
