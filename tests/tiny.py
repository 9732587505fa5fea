"""A service without dependencies, small enough to be built and deployed in a moment, and easy to break in one way."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from ml_delivery import config
from ml_delivery.artifact import build
from ml_delivery.artifact import push as pushing
from ml_delivery.records import Pushed
from ml_delivery.release import delivery, deploy, results

ROOT = Path(__file__).parent.parent
TEMPLATE = ROOT / "{{cookiecutter.project_slug}}"
PRICING = TEMPLATE / "starters/pricing"
INFRA = ROOT / "src/ml_delivery/infra"
TARGETS = ROOT / "src/ml_delivery/targets"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
BASE = f"public.ecr.aws/lambda/python:{PYTHON}"

HANDLER = """\
import json, os, pathlib

RELEASE = json.loads((pathlib.Path(__file__).parent.parent / "release.json").read_text())


def handler(event, context):
    print("asked for", event["rawPath"])
    body = {"release": int(os.environ["RELEASE_NUMBER"]), "note": "first", **RELEASE}
    if event["rawPath"] == "/variables":
        body = dict(os.environ)
    return {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": json.dumps(body)}
"""
ANSWER = '    print("asked for", event["rawPath"])\n'
# How a service breaks: the text to replace in HANDLER, what to put there, and what the refusal says.
FAULTS = {
    "raises": (ANSWER, "    raise ValueError('no such luck')\n", "ValueError: no such luck"),
    "never answers": (ANSWER, "    import time; time.sleep(60)\n", "timed out after"),
    "answers 500": ('"statusCode": 200', '"statusCode": 500', "answers /version with 500"),
    "is another release": (
        "**RELEASE",
        '**RELEASE, "content": "sha256:0"',
        "is another release: /version has content",
    ),
    "lacks a dependency": ("import json,", "import not_there, json,", "No module named 'not_there'"),
    "model does not load": (
        "\n\ndef handler",
        '\nif b"" in b"" : raise OSError("models/x.onnx does not load")\n\ndef handler',
        "models/x.onnx does not load",
    ),
}
# As the shipped one, with this Python: a tiny service has no environment of its own.
INVOKE = f"PYTHONPATH={ROOT / 'src'} {sys.executable} -m invoke"
PUSHED = """\
import json; print(json.load(open("build/pushed.json"))["artifact"]["{}"])"""
BUILDSPEC = f"""\
version: 0.2
env:
  shell: bash
  exported-variables: [ARTIFACT_VERSION, ARTIFACT_DIGEST]
phases:
  build:
    on-failure: ABORT
    commands:
      - {INVOKE} build --branch "$PIPELINE_BRANCH"
  post_build:
    on-failure: ABORT
    commands:
      - {INVOKE} push --branch "$PIPELINE_BRANCH" --json > build/pushed.json
      - export ARTIFACT_VERSION="$(python3 -c '{PUSHED.format("version")}')"
      - export ARTIFACT_DIGEST="$(python3 -c '{PUSHED.format("digest")}')"
"""
SETTINGS = """\
[service]
name = "{name}"
target = "lambda-zip"
python = "{python}"
region = "eu-west-1"

[function]
memory = 256
timeout = 3

[function.variables]
LOG_LEVEL = "INFO"

[promote]
command = ["python", "-m", "service.promotion"]

[github]
repository = "an-owner/a-repository"

[environments.production]
branch = "main"

[environments.staging]
branch = "develop"
"""


class Tiny:
    """One tiny service in its own folder and git repository, on a shared embedded AWS."""

    def __init__(self, root: Path, shared: Path, name: str) -> None:
        self.root = root
        self.name = name
        (root / "src/service").mkdir(parents=True)
        (root / "src/service/__init__.py").touch()
        self.write("src/service/handler.py", HANDLER)
        self.write(
            "pipeline.toml", SETTINGS.format(name=name, python=f"{sys.version_info.major}.{sys.version_info.minor}")
        )
        self.write("requirements/serve.txt", "# nothing\n")
        self.write("pyproject.toml", f'[project]\nname = "{name}"\nversion = "0"\ndependencies = []\n')
        self.write(".gitignore", ".pipeline\nbuild/\n")
        (root / "tasks.py").symlink_to(TEMPLATE / "tasks.py")
        (root / ".pipeline").symlink_to(shared)
        self.model(b"a model")
        self.git("init", "--quiet", "--initial-branch", "main")
        self.git("config", "user.name", "tests")
        self.git("config", "user.email", "tests@localhost")
        self.commit("Start")

    # -- the tree

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text, encoding="utf-8")

    def replace(self, path: str, old: str, new: str) -> None:
        text = (self.root / path).read_text(encoding="utf-8")
        assert old in text, f"{path} does not hold {old!r}"
        self.write(path, text.replace(old, new))

    def model(self, content: bytes) -> None:
        """Promote ``content`` as the primary model."""
        digest = hashlib.sha256(content).hexdigest()
        (self.root / "models").mkdir(exist_ok=True)
        (self.root / f"models/{digest[:12]}.onnx").write_bytes(content)
        lock = f'[primary]\nkind = "test"\ndigest = "sha256:{digest}"\nfile = "models/{digest[:12]}.onnx"\n'
        self.write("model.lock", lock)

    def git(self, *words: str) -> str:
        done = subprocess.run(["git", *words], cwd=self.root, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def commit(self, message: str = "Change") -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD")

    def box(self, *, by_engine: bool = False) -> None:
        """Make the target a container image, and commit; ``by_engine``: one that only a container engine builds."""
        more = "HEALTHCHECK NONE\n" if by_engine else ""
        self.write("Dockerfile.lambda", (TEMPLATE / "Dockerfile.lambda").read_text(encoding="utf-8") + more)
        self.replace("pipeline.toml", 'target = "lambda-zip"', 'target = "lambda-image"')
        self.commit("Box")

    def fault(self, name: str) -> str:
        """Break the service in one way and commit; what the refusal will say."""
        old, new, says = FAULTS[name]
        self.replace("src/service/handler.py", old, new)
        self.commit(f"Break: {name}")
        return says

    def repair(self, note: str = "fixed") -> None:
        """Put the good handler back, with something changed, and commit."""
        self.write("src/service/handler.py", HANDLER.replace('"first"', f'"{note}"'))
        self.commit(f"Fix: {note}")

    # -- delivery, in this process

    @property
    def config(self) -> config.Config:
        return config.load(self.root)

    def open(self, *, prepare: bool = True) -> delivery.Delivery:
        return delivery.open_delivery(self.config, "", "embedded", prepare=prepare)

    def push(self) -> Pushed:
        manifest = build.build(self.config)
        return pushing.push(self.open(), manifest)

    def deploy(self) -> results.Outcome:
        """Build, push and deploy what is committed."""
        self.push()
        return deploy.deploy(self.open(), report=lambda step: None)

    def rollback(self, to: int = 0) -> results.Outcome:
        return deploy.rollback(self.open(), to, report=lambda step: None)

    def exchange(self, key: str, body: bytes) -> None:
        """Put other bytes in an object's place, as an administrator who deletes it first can."""
        opened = self.open()
        s3, where = opened.cloud.client("s3"), {"Bucket": opened.foundation.bucket, "Key": key}
        s3.delete_object(**where)
        s3.put_object(**where, Body=body, IfNoneMatch="*", ChecksumAlgorithm="SHA256")

    def live(self) -> int:
        """The number of the release that serves; 0 for none."""
        found = self.open().deployer.live()
        return found.release if found else 0

    # -- delivery, as a user types it

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "invoke", *words]

    @property
    def environment(self) -> dict[str, str]:
        hidden = ("PIPELINE_", "AWS_", "PYTHONDONTWRITEBYTECODE")  # that last one would slow every command down
        clean = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
        return {**clean, "PYTHONPATH": str(ROOT / "src"), "PIPELINE_CACHE": os.environ.get("PIPELINE_CACHE", "")}

    def invoke(self, *words: str, code: int = 0) -> str:
        """Run ``invoke``; its output, standard error included. Fails the test on another exit code than ``code``."""
        done = subprocess.run(
            self.command(*words),
            cwd=self.root,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == code, f"invoke {' '.join(words)} ended with {done.returncode}:\n{done.stdout}"
        assert "Traceback" not in done.stdout, done.stdout
        assert "internal error" not in done.stdout, done.stdout
        return done.stdout
