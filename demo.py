"""``make demo``: a service's first hour, for real: created, trained, tested, built, pushed, deployed, called, broken,
refused, fixed, rolled back; on the embedded AWS, with the commands that its owner would type. ``make demo STORY=full`` goes
on to CodeBuild and to what is seen from the outside; ``make demo TARGET=eks`` has a cluster in place of functions, and
``make demo TARGET=sagemaker`` is the story of an ML pipeline (``demo_ml.py``).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from cookiecutter.exceptions import CookiecutterException
from cookiecutter.main import cookiecutter

import demo_ml
from ml_delivery.errors import Unsettled
from ml_delivery.waiting import wait

ROOT = Path(__file__).parent
MARK = ".made-by-demo"
CALLS = 10
BREAK = 'raise RuntimeError("broken on purpose")\n'
# By target: the file that is broken, and the line after which it breaks as soon as it is loaded.
HANDLER = ("src/service/handler.py", "from service.app import create_app\n")
BROKEN = {
    "lambda-zip": HANDLER,
    "lambda-image": HANDLER,
    "eks": ("src/service/app.py", "from __future__ import annotations\n"),
}


class Failed(Exception):
    """A step did not do what it should; the message is for the reader."""


class Demo:
    """Runs commands in the new service, shows what they print, and remembers how long each took."""

    def __init__(self, service: Path) -> None:
        self.service = service
        self.times: list[tuple[str, float]] = []
        self.stockcode = ""  # of a product
        # One cache of wheels for all demos; nothing of the caller's own settings leaks in, such as to keep no bytecode.
        hidden = ("PIPELINE_", "AWS_", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE")
        clean = {k: v for k, v in os.environ.items() if not k.startswith(hidden) or k == "PIPELINE_CLUSTER"}
        self.environment = {**clean, "PIPELINE_CACHE": str(ROOT / ".pipeline" / "cache")}

    def title(self, text: str) -> None:
        print(f"\n== {text}", flush=True)

    def run(
        self,
        what: str,
        *words: str,
        fails: bool = False,
        last: int = 0,
        shown: dict[str, str] | None = None,
        variables: dict[str, str] | None = None,
    ) -> str:
        """Run a command in the service, show and return its output.

        Args:
            what: its name in the summary; empty: it is not listed.
            words: the command.
            fails: it must be refused.
            last: show so many lines, the last ones; 0: all.
            shown, variables: more environment variables; the first are shown before the command, as they are typed.
        """
        typed = " ".join(
            [*(f"{n}={v}" for n, v in (shown or {}).items()), *(w if " " not in w else repr(w) for w in words)]
        )
        print(f"$ {typed}", flush=True)
        command = [str(self.service / ".venv" / "bin" / words[0]), *words[1:]]
        if not Path(command[0]).exists():
            command[0] = words[0]
        began = time.perf_counter()
        lines = []
        with subprocess.Popen(
            command,
            cwd=self.service,
            env={**self.environment, **(shown or {}), **(variables or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as child:
            assert child.stdout is not None
            for line in child.stdout:
                lines.append(line)
                if not last:
                    print(f"  {line}", end="", flush=True)
        if last:
            left_out = [f"(… {len(lines) - last} lines)\n"] if len(lines) > last else []
            print("".join(f"  {line}" for line in (*left_out, *lines[-last:])), end="", flush=True)
        seconds = time.perf_counter() - began
        if what:
            self.times.append((what, seconds))
        if (child.returncode != 0) != fails:
            raise Failed(f"{typed} ended with exit code {child.returncode}")
        return "".join(lines)

    def commit(self, message: str) -> None:
        """Commit everything."""
        self.run("", "git", "add", "--all")
        self.run("", "git", "commit", "--quiet", "--message", message)

    def edit(self, path: str, *changes: tuple[str, str]) -> None:
        """Replace texts in a file that must hold them, and show the difference."""
        file = self.service / path
        text = file.read_text(encoding="utf-8")
        for old, new in changes:
            self.expect(text, old)
            text = text.replace(old, new, 1)
        file.write_text(text, encoding="utf-8")
        self.run("", "git", "diff", "--unified=0", "--", path)

    def deliver(self, name: str, *, refused: bool = False) -> None:
        """Build, push and deploy what is committed."""
        self.run(f"build {name}", "invoke", "build")
        self.run(f"push {name}", "invoke", "push")
        self.run(f"deploy {name}", "invoke", "deploy", fails=refused)

    def expect(self, text: str, part: str) -> None:
        """Check that a text has a part."""
        if part not in text:
            raise Failed(f"there is no {part!r} in\n{text}")

    def call(self) -> None:
        """Ask release 1, which is live, for a price."""
        products = json.loads(self.run("", "invoke", "call", "/v1/products"))["products"]
        self.stockcode = products[0]["stockcode"]
        self.run("call", "invoke", "call", f"/v1/predict-price/{self.stockcode}?bins=4")
        self.live(1)

    def counted(self) -> dict[str, float] | None:
        """What the report has of users' requests; None before there are any."""
        words = [str(self.service / ".venv/bin/invoke"), "report", "--json"]
        done = subprocess.run(words, cwd=self.service, env=self.environment, check=True, capture_output=True)
        found: dict[str, float] = json.loads(done.stdout)["panels"]["requests"]
        return found or None

    def live(self, release: int) -> None:
        """Ask what is live, and check that it is ``release``."""
        said = json.loads(self.run("", "invoke", "call", "/version"))
        if said["release"] != release:
            raise Failed(f"release {said['release']} is live, not {release}")


def main() -> int:
    """Run the demo; exit code 0 when every step did what it should, 1 when one did not, 130 on Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", default="build/demand-pricing", help="where the service goes")
    parser.add_argument("--story", choices=["short", "full"], default="short", help="how much of it is shown")
    parser.add_argument("--target", choices=[*BROKEN, "sagemaker"], default="lambda-zip", help="where the service runs")
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
        if asked.target == "sagemaker" and (lack := demo_ml.missing()):
            raise Failed(lack)
        start(demo, into, asked.target)
        if asked.target == "sagemaker":
            demo_ml.story(demo)
        else:
            story(demo, asked.target)
        if asked.story == "full":
            go_on(demo)
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


def start(demo: Demo, into: Path, target: str) -> None:
    """A new service, in place of the one of an earlier demo."""
    demo.title("Create a service")
    stop_cloud(into)
    shutil.rmtree(into, ignore_errors=True)
    create(demo, into, target)


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


def create(demo: Demo, into: Path, target: str) -> None:
    """Bake the template into ``into``, and put the bake under git."""
    began = time.perf_counter()
    into.parent.mkdir(parents=True, exist_ok=True)
    try:
        cookiecutter(
            str(ROOT),
            no_input=True,
            output_dir=str(into.parent),
            extra_context={
                "project_name": into.name.replace("-", " ").title(),
                "project_slug": into.name,
                "target": target,
            },
        )
    except BaseException:  # Ctrl-C, too: half a service is none
        shutil.rmtree(into, ignore_errors=True)
        raise
    demo.times.append(("create", time.perf_counter() - began))
    demo.run("", "git", "init", "--quiet", "--initial-branch", "main")
    (into / ".git" / MARK).touch()
    demo.run("", "git", "config", "user.name", "demo")
    demo.run("", "git", "config", "user.email", "demo@localhost")
    demo.commit("Start from cookiecutter-ml-service")


def stop_cloud(service: Path) -> None:
    """End the service's embedded AWS, if it has one."""
    invoke = service / ".venv" / "bin" / "invoke"
    if invoke.exists():
        former = signal.signal(signal.SIGINT, signal.SIG_IGN)
        subprocess.run([invoke, "cloud.down"], cwd=service, capture_output=True, check=False)
        signal.signal(signal.SIGINT, former)


def summary(demo: Demo, seconds: float) -> None:
    """What was done, and how long each part took."""
    print("\n== Summary")
    for what, took in demo.times:
        print(f"  {what:<18} {took:7.2f} s")
    print(f"  {'in all':<18} {seconds:7.2f} s")
    print(f"\nThe service is in {demo.service}. Next: cd there, and `make`.")


if __name__ == "__main__":
    sys.exit(main())
