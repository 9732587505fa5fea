"""The story of ``make demo``: what a service's owner types in its first hour, each command run for real.

Created, trained, tested, built, pushed, deployed, called, broken, refused, fixed, rolled back; ``go_on`` is the rest of
``STORY=full``: CodeBuild, and what is seen from the outside.
"""

from __future__ import annotations

import json
import urllib.request

from demo.service import Demo
from ml_delivery.waiting import wait

__all__ = ["BREAK", "BROKEN", "go_on", "story"]

CALLS = 10
BREAK = 'raise RuntimeError("broken on purpose")\n'
# By target: the file that is broken, and the line after which it breaks as soon as it is loaded.
HANDLER = ("src/service/handler.py", "from service.app import create_app\n")
BROKEN = {
    "lambda-zip": HANDLER,
    "lambda-image": HANDLER,
    "eks": ("src/service/app.py", "from __future__ import annotations\n"),
}


def story(demo: Demo, target: str) -> None:
    """The whole of it, in order."""
    if target == "eks":
        demo.title("This machine is the cluster's only node: let the pods ask for less of it")
        demo.edit("pipeline.toml", ("cpu = 500 ", "cpu = 200 "))
        demo.commit("Smaller pods")
    demo.title("Set it up: its tools, hashed and locked")
    demo.run("set up", "make", "setup")
    if target == "eks":
        demo.title("Create its log group, to which the cluster's agent sends what pods log, with roles and alarms")
        demo.run("bootstrap", "invoke", "bootstrap", last=12)
    demo.title("Train its models (one trial of each kind, to be quick), judge them, and name the best in model.lock")
    demo.run("train", "invoke", "train", "--option", "trials=1")
    demo.run("judge", "invoke", "evaluate")
    demo.run("promote", "invoke", "promote")
    demo.commit("Train the first models")
    demo.title("Test it")
    demo.run("test", "nox", "-s", "test")
    demo.title("Deliver it")
    demo.deliver("release 1")
    demo.title("Call it")
    demo.call()
    demo.title("Break it on purpose: the deploy is refused, and release 1 still answers")
    file, line = BROKEN[target]
    demo.edit(file, (line, line + BREAK))
    demo.commit("Break it")
    demo.deliver("release 2", refused=True)
    demo.live(1)
    demo.title("Fix it, and deliver a good change")
    demo.edit(file, (line + BREAK, line))
    demo.edit("pipeline.toml", ('LOG_LEVEL = "INFO"', 'LOG_LEVEL = "DEBUG"'))
    demo.commit("Fix it, log more")
    demo.run("build release 3", "invoke", "build")
    demo.run("push release 3", "invoke", "push")
    demo.run("plan release 3", "invoke", "plan", fails=True)  # exit code 2: there is something to do
    demo.run("deploy release 3", "invoke", "deploy")
    demo.live(3)
    demo.title("Roll it back: code, configuration and model")
    demo.run("roll back", "invoke", "rollback")
    demo.live(1)
    demo.run("", "invoke", "releases")


def go_on(demo: Demo) -> None:
    """What CodeBuild does for GitHub's workflows, and what CloudWatch has seen of it all."""
    demo.title("Build it on CodeBuild, from a clean clone, as the project's role: the same bytes, so nothing is pushed")
    demo.run("build on CodeBuild", "invoke", "build", "--on", "codebuild")
    demo.title("Break it again: it does not compile, so the build on CodeBuild fails, and nothing is pushed")
    first = "from __future__ import annotations\n"
    demo.edit("src/service/market.py", (first, first + "def\n"))
    demo.commit("Break the syntax")
    demo.run("fail on CodeBuild", "invoke", "build", "--on", "codebuild", fails=True)
    demo.run("", "git", "revert", "--no-edit", "HEAD")
    demo.title("Look at it from the outside")
    if address := json.loads(demo.run("", "invoke", "status", "--json", last=2))["address"]:
        # `invoke call` asks as a health check does where the service itself counts requests, and so is not counted.
        print(f"{CALLS} requests to that address, as users send them", flush=True)
        for _ in range(CALLS):
            with urllib.request.urlopen(f"{address}v1/predict-price/{demo.stockcode}", timeout=60) as answer:
                answer.read()
        wait(demo.counted, what="the requests, in the metrics of the cluster's agents", seconds=60)
    demo.run("report", "invoke", "report")
