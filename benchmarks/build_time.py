"""A build after one changed source line, beside ``chalice package`` and ``sam build`` with a ZIP, as whole processes.

Promise: at least 20 times faster than each. All three get the same function and the same pinned packages, and all have
built it once before: ``sam`` runs with ``--cached``, its fastest way. All may keep their own bytecode from one run to
the next, as on a user's machine: ``PYTHONDONTWRITEBYTECODE`` is unset. Run it with ``nox -s bench``.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

from tiny import Tiny
from uv import find_uv_bin

RUNS = 5
FACTOR = 20
BENCH = ROOT / ".pipeline/bench"
TOOLS = {"chalice": "chalice==1.34.0", "sam": "aws-sam-cli==1.170.0"}
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
# What pip itself would bring for these four; no overrides, so that no tool has to install more than another.
NEEDS = ["apig-wsgi==2.20.0", "flask==3.1.3", "numpy==1.26.4", "onnxruntime==1.16.3"]
HANDLER = """\
import numpy
import onnxruntime
from apig_wsgi import make_lambda_handler
from flask import Flask

app = Flask(__name__)


@app.get("/healthz")
def healthz():
    return {"sum": float(numpy.ones(3).sum())}


handler = make_lambda_handler(app)
"""
# chalice imports the app while it packages, in its own environment, where the packages aren't: hence the late import.
CHALICE_APP = """\
from chalice import Chalice

app = Chalice(app_name="bench")


@app.lambda_function()
def handler(event, context):
    from chalicelib.handler import handler as serve

    return serve(event, context)
"""
SAM_TEMPLATE = f"""\
AWSTemplateFormatVersion: "2010-09-09"
Transform: AWS::Serverless-2016-10-31
Resources:
  Function:
    Type: AWS::Serverless::Function
    Properties: {{CodeUri: src, Handler: handler.handler, Runtime: python{PYTHON}, Architectures: [x86_64]}}
"""


def main() -> int:
    """Print a row per tool; exit code 1 when one of the ratios is below the promise."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        lock = _compiled()
        pins = re.sub(r" \\\n( +--hash=\S+( \\)?\n?)+", "\n", lock)
        ways = {
            "invoke build": _ours(folder / "ours", lock),
            "chalice package": _chalice(folder / "chalice", pins),
            "sam build --cached + zip": _sam(folder / "sam", pins),
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for run in range(RUNS + 1):
            for name, (change, build) in ways.items():
                change(run)
                began = time.perf_counter()
                build()
                if run:  # the first fills the caches
                    seconds[name].append(time.perf_counter() - began)
        for path in (
            folder / "ours/build/artifact.zip",
            folder / "chalice-out/deployment.zip",
            folder / "sam/function.zip",
        ):
            _require(path)
    print(f"one changed line, {PYTHON}, medians of {RUNS}, {pins.count('==')} pinned packages")
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ours = medians["invoke build"]
    for name, median in medians.items():
        low, high = min(seconds[name]), max(seconds[name])
        print(f"{name:<26} {median:7.2f} s  ({low:.2f} to {high:.2f})  {median / ours:6.1f} x")
    worst = min(median for name, median in medians.items() if name != "invoke build") / ours
    print(f"least ratio {worst:.1f}, promised {FACTOR}")
    return 0 if worst >= FACTOR else 1


def _require(archive: Path) -> None:
    """Stop unless ``archive`` holds all that was asked for: a tool that left something out is not comparable."""
    with zipfile.ZipFile(archive) as made:
        packed = made.namelist()
    print(f"{archive.parent.name}/{archive.name}: {len(packed)} members, {archive.stat().st_size / 1e6:.1f} MB")
    for part in (
        "flask/app.py",
        "apig_wsgi/__init__.py",
        "numpy/__init__.py",
        "onnxruntime/__init__.py",
        "sympy/__init__.py",
    ):
        if part not in packed:
            raise SystemExit(f"{archive} lacks {part}")


Way = tuple[Callable[[int], None], Callable[[], None]]


def _ours(folder: Path, lock: str) -> Way:
    (folder.parent / "state").mkdir()
    tiny = Tiny(folder, folder.parent / "state", "bench")
    tiny.write("requirements/serve.txt", lock)
    tiny.commit()
    handler = folder / "src/service/handler.py"
    return _changer(handler), lambda: _run(tiny.command("build"), folder, tiny.environment)


def _chalice(folder: Path, pins: str) -> Way:
    tool = _tool("chalice")
    (folder / "chalicelib").mkdir(parents=True)
    (folder / ".chalice").mkdir()
    (folder / ".chalice/config.json").write_text('{"version": "2.0", "app_name": "bench", "stages": {"dev": {}}}')
    (folder / "app.py").write_text(CHALICE_APP)
    (folder / "chalicelib/__init__.py").touch()
    (folder / "requirements.txt").write_text(pins)
    words = [str(tool / "chalice"), "package", str(folder.parent / "chalice-out")]
    return _changer(folder / "chalicelib/handler.py"), lambda: _run(words, folder, _environment(tool))


def _sam(folder: Path, pins: str) -> Way:
    tool = _tool("sam")
    (folder / "src").mkdir(parents=True)
    (folder / "template.yaml").write_text(SAM_TEMPLATE)
    (folder / "src/requirements.txt").write_text(pins)
    built, archive = folder / ".aws-sam/build/Function", folder / "function.zip"

    def build() -> None:
        _run([str(tool / "sam"), "build", "--cached"], folder, _environment(tool))
        archive.unlink(missing_ok=True)
        _run([sys.executable, "-m", "zipfile", "-c", str(archive), "."], built, _environment(tool))

    return _changer(folder / "src/handler.py"), build


def _changer(handler: Path) -> Callable[[int], None]:
    return lambda run: _none(handler.write_text(HANDLER.replace("numpy.ones(3)", f"numpy.ones({run + 3})")))


def _none(_: object) -> None:
    """Take a result that nobody needs."""


def _compiled() -> str:
    words = [find_uv_bin(), "pip", "compile", "-", "--universal", "--generate-hashes", "--no-annotate", "--no-header"]
    words += ["--python-version", PYTHON, "--no-emit-index-url", "--no-emit-find-links", "--quiet"]
    done = subprocess.run(words, input="\n".join(NEEDS), check=True, capture_output=True, text=True)
    return done.stdout


def _tool(name: str) -> Path:
    """The folder of the tool's commands, in an environment of its own; pip is there too, which both tools call."""
    folder = BENCH / name
    if not (folder / "bin" / name).is_file():
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([find_uv_bin(), "venv", "--quiet", "--seed", "--python", PYTHON, folder], check=True)
        words = [find_uv_bin(), "pip", "install", "--quiet", "--python", str(folder / "bin/python"), TOOLS[name]]
        subprocess.run(words, check=True)
    return folder / "bin"


def _environment(tool: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PATH": f"{tool}:{os.environ['PATH']}",
        "SAM_CLI_TELEMETRY": "0",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def _run(words: list[str], folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(words)} failed:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    sys.exit(main())
