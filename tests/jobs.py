"""What tests of jobs share: a tiny service that trains parts, and an image that its jobs run in."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from emulated import client
from made_images import PYTHON, Registry
from tiny import Tiny

from ml_delivery import emulator
from ml_delivery.account import stacks
from ml_delivery.account.change_sets import ensure
from ml_delivery.cloud import Cloud

TRAIN = """\
import argparse, json, os, sys, time
from pathlib import Path

parser = argparse.ArgumentParser()
for name in ("kinds", "do", "data", "tuned", "together"):
    parser.add_argument(f"--{name}", default="")
parser.add_argument("--collect", action="store_true")
options = parser.parse_args()
made, kept = Path("build/made"), Path("build/kept/steps.txt")
made.mkdir(parents=True, exist_ok=True)
if options.collect:
    parts = sorted(made.glob("part-*.json"))
    (made / "run.json").write_text(json.dumps(sorted({kind for part in parts for kind in json.loads(part.read_text())})))
    for part in parts:
        part.unlink()
    sys.exit()
kinds = sorted(options.kinds.split(",") if options.kinds else "abc")
print("trains", *kinds, flush=True)
if options.together:
    print(f"{os.environ['SM_CURRENT_HOST']} of {os.environ['SM_HOSTS']} shares {options.together}", flush=True)
if options.tuned:
    print("tuned", json.dumps(json.loads(Path(options.tuned).read_text())), flush=True)
if options.do != "quiet":
    print("error=0.5", flush=True)
if options.do == "fail":
    print("no luck", file=sys.stderr)
    sys.exit(7)
if options.do in ("wait", "resume"):
    kept.parent.mkdir(parents=True, exist_ok=True)
    resumed = kept.exists()
    kept.write_text("one step")
    print("resumed" if resumed else "waiting", flush=True)
    if not resumed:
        time.sleep(600)
if options.do == "nothing":
    sys.exit()
data = Path(options.data).read_text() if options.data else "none"
(made / "data.txt").write_text(data)
for kind in kinds:
    (made / f"{kind}.model").write_text(f"{kind} of {data}")
if options.do == "clash":
    (made / "same.txt").write_text(kinds[0])
(made / (f"part-{'+'.join(kinds)}.json" if options.kinds else "run.json")).write_text(json.dumps(kinds))
"""
# What an image of jobs runs where a job can't name its program.
ENTRY = """\
import glob, os, sys
os.execv(sys.executable, [sys.executable, glob.glob("/opt/ml/input/data/source/*.zip")[0], *sys.argv[1:]])
"""
JOBS = """
[train]
command = ["python", "-m", "service.training"]

[jobs]
instance = "ml.m5.large"
dollars_per_hour = 0.1
minutes = 5
image = "{image}"
writes = "build/made"
keeps = "build/kept"
split = "kinds"
parts = {{ a = 3, b = 2, c = 2 }}
collect = ["python", "-m", "service.training", "--collect"]
metrics = {{ error = "error=([0-9.]+)" }}
"""


class Training:
    """A tiny service whose training can be divided, and its jobs."""

    def __init__(self, root: Path, shared: Path, name: str, more: dict[str, bytes | Path] | None = None) -> None:
        self.tiny = tiny = Tiny(root, shared, name)
        self.running = emulator.up(tiny.root)
        self.image = pushed(self.running, f"{name}-image", more or {})
        tiny.write("src/service/training.py", TRAIN)
        tiny.write("requirements/train.txt", "# nothing\n")
        tiny.write(".gitignore", ".pipeline\n__pycache__\nbuild/\ndata/*/data.parquet\n")
        tiny.write("pipeline.toml", (tiny.root / "pipeline.toml").read_text() + JOBS.format(image=self.image))
        tiny.commit()
        self.aws = client(self.running, "sagemaker")

    def started(self, *words: str) -> subprocess.Popen[str]:
        """``invoke`` while it runs, with both outputs in one."""
        return subprocess.Popen(
            self.tiny.command(*words),
            cwd=self.tiny.root,
            env=self.tiny.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def made(self) -> dict[str, bytes]:
        """The files that a training left, by name; they are removed."""
        found = {}
        for path in sorted((self.tiny.root / "build/made").glob("*")):
            found[path.name] = path.read_bytes()
            path.unlink()
        return found

    def job(self) -> dict[str, Any]:
        """The job of this service that was created last."""
        jobs = self.aws.list_training_jobs(NameContains=self.tiny.name, SortBy="CreationTime", SortOrder="Descending")
        name = jobs["TrainingJobSummaries"][0]["TrainingJobName"]
        found: dict[str, Any] = self.aws.describe_training_job(TrainingJobName=name)
        return found

    def runs(self) -> list[str]:
        """The jobs of this service that still run, or stop."""
        states = ("InProgress", "Stopping")
        found = [
            self.aws.list_training_jobs(NameContains=self.tiny.name, StatusEquals=state)["TrainingJobSummaries"]
            for state in states
        ]
        return [job["TrainingJobName"] for jobs in found for job in jobs]


def pushed(running: emulator.Running, name: str, more: dict[str, bytes | Path]) -> str:
    """An image with this Python and nothing of a service, pushed; by its digest."""
    registry = Registry(running, name)
    paths = f"{os.path.dirname(PYTHON)}:/usr/local/bin:/usr/bin:/bin"
    tagged = registry.push("1", ENTRY, more=more, Env=[f"PATH={paths}", "PYTHONPATH=/opt/packages"])
    found = client(running, "ecr").describe_images(repositoryName=name)["imageDetails"][0]["imageDigest"]
    return f"{tagged.rpartition(':')[0]}@{found}"


@contextmanager
def as_aws(service: Training, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The embedded AWS, reached as AWS is: by variables alone; with what ``invoke bootstrap`` creates."""
    with monkeypatch.context() as patched:
        patched.setenv("AWS_ENDPOINT_URL", service.running.endpoint)
        patched.setenv("AWS_ACCESS_KEY_ID", service.running.access_key)
        patched.setenv("AWS_SECRET_ACCESS_KEY", service.running.secret_key)
        config = service.tiny.config
        environment = config.environment("main")
        for stack in (stacks.service(config, environment), stacks.delivering(config, environment)):
            ensure(stack, Cloud.open(config, environment, "aws"))
        variables = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        more = {"PIPELINE_CLOUD": "aws", "GITHUB_ACTOR": "octocat"}
        patched.setattr(Tiny, "environment", {**service.tiny.environment, **variables, **more})
        yield
