"""A repository that was never baked: a plain Flask service that installs the package, and is deployed by it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bake import BIN, ROOT, commit, start
from tiny import PYTHON

import ml_delivery
from ml_delivery import emulator

sys.path.insert(0, str(ROOT / "hooks"))
import package_wheel

HANDLER = """\
import json
import os
from pathlib import Path

from apig_wsgi import make_lambda_handler
from flask import Flask

app = Flask(__name__)


@app.get("/")
def greet():
    return "hello"

{version}
handler = make_lambda_handler(app)
"""
# What the repository has before: a Flask application that Lambda calls by apig-wsgi, and its dependencies.
BEFORE = {
    "src/service/__init__.py": "",
    "src/service/handler.py": HANDLER.format(version=""),
    "pyproject.toml": """\
[project]
name = "greeter"
version = "1.0"
requires-python = ">=3.11"
dependencies = ["apig-wsgi>=2.20", "flask>=3.1"]
""",
    ".gitignore": ".venv/\n__pycache__/\n",
}
# What its owner adds: configuration, tasks of three lines, what git ignores, and a route that says which release answers.
ADDED = {
    "pipeline.toml": f"""\
[service]
name = "greeter"
target = "lambda-zip"
python = "{PYTHON}"
region = "eu-west-1"

[probe]
paths = ["/"]

[environments.production]
branch = "main"
""",
    "tasks.py": """\
from ml_delivery.tasks import namespace

__all__ = ["namespace"]
""",
    ".gitignore": BEFORE[".gitignore"] + ".pipeline/\nbuild/\n",
}
VERSION = """
@app.get("/version")
def version():
    release = json.loads((Path(__file__).parent.parent / "release.json").read_text())
    return {"release": int(os.environ["RELEASE_NUMBER"]), **release}

"""
MODEL = "sha256:97ff8a35544dcf40ad84047074439dd6aa3a0be469ea578a1b1c017d939ec61c"  # of b"a model"


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Path]:
    root = tmp_path / "greeter"
    write(root, BEFORE)
    start(root)
    yield root
    emulator.down(root)


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def run(folder: Path, *words: str, code: int = 0) -> str:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "PIPELINE_PYTHON", "PYTHONPATH", "CI"))}
    done = subprocess.run(
        words, cwd=folder, env=clean, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == code, f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}"
    assert "Traceback" not in done.stdout, done.stdout
    return done.stdout


def test_flask_repository_is_deployed(repository: Path, tmp_path: Path) -> None:
    """Install the wheel, add three files and a route, lock, deploy; each step that is missing is named with what to do."""
    invoke = ".venv/bin/invoke"
    wheel = tmp_path / package_wheel.name(ROOT)
    wheel.write_bytes(package_wheel.wheel(ROOT))
    run(repository, str(BIN / "uv"), "venv", "--quiet", "--python", sys.executable, ".venv")
    run(
        repository,
        str(BIN / "uv"),
        "pip",
        "install",
        "--quiet",
        "--no-build",
        "--python",
        ".venv/bin/python",
        str(wheel),
    )

    write(repository, {"tasks.py": ADDED["tasks.py"]})
    assert "no pipeline.toml" in run(repository, invoke, "build", code=1)
    write(repository, {**ADDED, "models/model.bin": "a model"})
    model = f'[primary]\nkind = "any"\ndigest = "{MODEL}"\nfile = "models/model.bin"\n'
    write(repository, {"model.lock": model})
    commit(repository, "Deliver by ml-delivery")
    lock = "python -m ml_delivery.dependencies.locks --make"
    refused = run(repository, invoke, "build", code=1)
    assert "serve.txt can't be read" in refused
    assert f"next: {lock}\n" in refused  # nox is nothing that this repository has
    findings = run(repository, invoke, "doctor", code=1)
    assert f"requirements/serve.txt: missing\n    fix: {lock}\n" in findings
    assert f"ml-delivery {ml_delivery.__version__}, installed" in findings
    run(repository, ".venv/bin/" + lock.split()[0], *lock.split()[1:])
    commit(repository, "Lock")

    refused = run(repository, invoke, "build", "push", "deploy", code=1)
    assert "answers /version" in refused
    write(repository, {"src/service/handler.py": HANDLER.format(version=VERSION.replace('"release": ', '"number": '))})
    commit(repository, "Answer /version, but wrongly")
    refused = run(repository, invoke, "build", "push", "deploy", code=1)
    assert "answers /version without 'release'" in refused
    assert 'next: let /version answer with what release.json contains, and "release"' in refused
    write(repository, {"src/service/handler.py": HANDLER.format(version=VERSION)})
    commit(repository, "Answer /version")
    assert "release 3 is verified" in run(repository, invoke, "build", "push", "deploy")
    assert run(repository, invoke, "call", "/").strip() == "hello"
    assert json.loads(run(repository, invoke, "call", "/version"))["release"] == 3
    assert run(repository, invoke, "plan") == "production: nothing to do\n"
    refused = run(repository, invoke, "monitor", "--render", code=1)  # what needs an extra says so
    assert "py3-none-any.whl[grafana]'" in refused
