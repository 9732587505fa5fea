"""What a deploy takes beside what it can't avoid: its API calls, Lambda's own state changes, and the start of a program that
imports invoke and botocore and makes the three clients which a deploy uses. Whole processes, one beside the other.

Promise: no more than 1.2 times their sum. The runner below is ``invoke deploy`` itself, with a clock around every request
that botocore sends. Run it with ``nox -s bench``.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

from tiny import Tiny

from ml_delivery import emulator

RUNS = 5
LIMIT = 1.2
# The embedded AWS keeps a function in Pending or InProgress this long after each update, as AWS keeps it a while.
STATE_CHANGE = 0.5
RUNNER = """
import atexit, json, sys, time
from botocore.httpsession import URLLib3Session
spent = []
send = URLLib3Session.send
def timed(self, request):
    began = time.perf_counter()
    try:
        return send(self, request)
    finally:
        spent.append(time.perf_counter() - began)
URLLib3Session.send = timed
atexit.register(lambda: print(json.dumps([len(spent), sum(spent)]), file=sys.stderr))
from invoke.main import program
program.run(["invoke", "deploy"])
"""
START = """
from invoke.main import program
import botocore.session
session = botocore.session.get_session()
session.set_credentials("key", "secret")
for name in ("cloudformation", "s3", "lambda"):
    session.create_client(name, region_name="eu-west-1", endpoint_url="http://127.0.0.1:1")
"""


def started(environment: dict[str, str]) -> float:
    """The seconds of a process that does nothing but start."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", START], env=environment, check=True)
    return time.perf_counter() - began


def main() -> int:
    """Print a row per deploy; exit code 1 when the median ratio is over the limit."""
    with tempfile.TemporaryDirectory() as folder:
        shared = Path(folder, "shared")
        shared.mkdir()
        tiny = Tiny(Path(folder, "service"), shared, "deploy-time")
        try:
            tiny.deploy()
            started(tiny.environment)  # the first writes bytecode
            print(
                f"{'process':>9} {'calls':>6} {'in calls':>9} {'states':>7} {'start':>7} {'ratio':>6} {'without the start':>18}"
            )
            ratios = []
            for run in range(RUNS):
                tiny.repair(f"run {run}")
                tiny.push()
                began = time.perf_counter()
                done = subprocess.run(
                    [sys.executable, "-c", RUNNER], cwd=tiny.root, env=tiny.environment, capture_output=True, text=True
                )
                seconds = time.perf_counter() - began
                if done.returncode != 0:
                    print(done.stdout, done.stderr, file=sys.stderr)
                    return 1
                calls, spent = json.loads(done.stderr.splitlines()[-1])
                states = 2 * STATE_CHANGE  # one for the configuration, one for the code
                start = started(tiny.environment)
                ratios.append(seconds / (spent + states + start))
                print(
                    f"{seconds:7.2f} s {calls:>6} {spent:7.2f} s {states:5.1f} s {start:5.2f} s {ratios[-1]:6.2f} "
                    f"{seconds / (spent + states):18.2f}"
                )
        finally:
            emulator.down(tiny.root)
    median = statistics.median(ratios)
    print(f"median ratio {median:.2f}, limit {LIMIT}")
    return 0 if median <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
