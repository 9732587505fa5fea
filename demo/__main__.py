"""``make demo``: a service's first hour, for real: created, trained, tested, built, pushed, deployed, called, broken,
refused, fixed, rolled back; on the embedded AWS, with the commands that its owner would type. ``make demo STORY=full`` goes
on to CodeBuild and to what is seen from the outside; ``make demo TARGET=eks`` has a cluster in place of functions, and
``make demo TARGET=sagemaker`` is the story of an ML pipeline.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from pathlib import Path

from cookiecutter.exceptions import CookiecutterException

from demo import delivery, pipeline
from demo.service import MARK, ROOT, Demo, Failed, start, stop_cloud
from ml_delivery.errors import Unsettled


def main() -> int:
    """Run the demo; exit code 0 when every step did what it should, 1 when one did not, 130 on Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--into", default="build/demand-pricing", help="where the service goes")
    parser.add_argument("--story", choices=["short", "full"], default="short", help="how much of it is shown")
    parser.add_argument(
        "--target", choices=[*delivery.BROKEN, "sagemaker"], default="lambda-zip", help="where the service runs"
    )
    asked = parser.parse_args()
    if asked.story == "full" and asked.target == "sagemaker":
        parser.error("TARGET=sagemaker has one story, without STORY=full: it ends when the endpoint is retired")
    into = (ROOT / Path(asked.into)).absolute()
    if into.exists() and not (into / ".git" / MARK).exists():
        print(f"✗ {into} exists and was not made by this demo\n  next: make demo INTO=another/folder", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    demo = Demo(into)
    began = time.perf_counter()
    try:
        if asked.target == "sagemaker" and (lack := pipeline.missing()):
            raise Failed(lack)
        start(demo, into, asked.target)
        if asked.target == "sagemaker":
            pipeline.story(demo)
        else:
            delivery.story(demo, asked.target)
        if asked.story == "full":
            delivery.go_on(demo)
    except (Failed, CookiecutterException, OSError, subprocess.SubprocessError, Unsettled) as fault:
        print(f"\n✗ {fault}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\n✗ interrupted", file=sys.stderr)
        return 130
    finally:
        stop_cloud(into)
    summary(demo, time.perf_counter() - began)
    return 0


def summary(demo: Demo, seconds: float) -> None:
    """What was done, and how long each part took."""
    print("\n== Summary")
    for what, took in demo.times:
        print(f"  {what:<18} {took:7.2f} s")
    print(f"  {'in all':<18} {seconds:7.2f} s")
    print(f"\nThe service is in {demo.service}. Next: cd there, and `make`.")


if __name__ == "__main__":
    sys.exit(main())
