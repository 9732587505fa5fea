"""The service that a demo makes: created, its commands run and shown, its emulator ended."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from cookiecutter.main import cookiecutter

__all__ = ["MARK", "ROOT", "Demo", "Failed", "create", "start", "stop_cloud"]

ROOT = Path(__file__).parent.parent
MARK = ".made-by-demo"


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


def start(demo: Demo, into: Path, target: str) -> None:
    """A new service, in place of the one of an earlier demo."""
    demo.title("Create a service")
    stop_cloud(into)
    shutil.rmtree(into, ignore_errors=True)
    create(demo, into, target)


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
