"""``make demo``, typed as the README says: it ends in its summary, leaves nothing running, and can be stopped."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from bake import ROOT, bake
from invoke.parser import Parser

from demo import pipeline
from demo.delivery import BREAK, BROKEN
from ml_delivery.config import load
from ml_delivery.tasks import namespace
from ml_delivery.waiting import wait


def demo(into: Path, story: str = "short", target: str = "lambda-zip") -> subprocess.Popen[str]:
    """Start ``make demo`` in a process group of its own."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "COV"))}
    return subprocess.Popen(
        ["make", "demo", f"INTO={into}", f"STORY={story}", f"TARGET={target}"],
        cwd=ROOT,
        env=clean,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def invoke(service: Path, *words: str) -> str:
    done = subprocess.run(
        [service / ".venv/bin/invoke", *words], cwd=service, check=True, capture_output=True, text=True
    )
    return done.stdout


def processes_in(folder: Path) -> list[str]:
    """Processes that were started in, or for, a folder."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and str(folder).encode() in (process / "cmdline").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def test_demo_goes_through_and_again(tmp_path: Path) -> None:
    """The whole story ends in its summary with exit code 0, every panel filled, and leaves a service and no process."""
    into = tmp_path / "price-demo"
    process = demo(into, "full")
    output = process.communicate(timeout=600)[0]
    assert process.returncode == 0, output
    for said in (
        "release 1 is verified: deployed version 1 serves production on embedded",
        "✗ refused: deployed version 2 does not answer /version: Unhandled: RuntimeError: broken on purpose; release 1 serves "
        "as before",
        "release 3 is verified",
        "  3  rolled-back",
        "✗ CodeBuild ended price-demo-production:",
        "21 panels, each with data",
        "== Summary",
        f"The service is in {into}",
    ):
        assert said in output
    assert processes_in(into) == []
    panels = json.loads(invoke(into, "report", "--json"))["panels"]
    for name, lines in panels.items():
        print(f"{name:<20} {lines}")
    assert len(panels) == 21
    assert all(min(lines.values(), default=0) > 0 for lines in panels.values())
    invoke(into, "cloud.down")

    # A second run starts anew in the same place; stopped in the middle, it says so and leaves no process either.
    process = demo(into)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("$ invoke train"):
            break
    os.killpg(process.pid, signal.SIGINT)
    output = process.communicate(timeout=60)[0]
    assert process.returncode != 0
    assert "✗ interrupted" in output
    assert "Traceback" not in output
    wait(lambda: None if processes_in(into) else True, what="the end of all processes", seconds=20)


@pytest.mark.parametrize("target", BROKEN)
def test_what_the_demo_breaks_is_in_the_bake(tmp_path: Path, target: str) -> None:
    """Each target's service has the line after which the demo breaks it; with the break it is still a program that compiles."""
    file, line = BROKEN[target]
    text = (bake(tmp_path / "out", target=target) / file).read_text()
    assert text.count(line) == 1
    compile(text.replace(line, line + BREAK), file, "exec")


def test_demo_touches_nothing_that_it_did_not_make(tmp_path: Path) -> None:
    """A folder that is there already is refused and stays as it is."""
    into = tmp_path / "mine"
    into.mkdir()
    (into / "work.txt").write_text("precious")
    process = demo(into)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 2  # make's own, for a line that failed
    assert "exists and was not made by this demo" in output
    assert [p.name for p in into.iterdir()] == ["work.txt"]


def test_ml_story_names_what_it_lacks_before_its_first_step(tmp_path: Path) -> None:
    """Without a container engine it ends with one line, and one that says what to do; nothing is made."""
    words = [sys.executable, "-m", "demo", "--target", "sagemaker", "--into", str(tmp_path / "made")]
    clean = {"PATH": str(tmp_path), "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(words, cwd=ROOT, env=clean, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    lack, remedy = done.stderr.strip().splitlines()
    assert lack == (
        "✗ TARGET=sagemaker builds and runs containers: no container engine answers; docker: not installed; "
        "podman: not installed; buildah: not installed"
    )
    assert remedy == "  next: start docker or podman; on Debian as root: tests/engine.sh make demo TARGET=sagemaker"
    assert list(tmp_path.iterdir()) == []


def test_ml_story_types_commands_that_exist() -> None:
    """Each invoke command in it is a task, with the options that it is typed with."""
    known = Parser(namespace.to_contexts())
    typed = 0
    for node in ast.walk(ast.parse((ROOT / "demo/pipeline.py").read_text())):
        found = node.args if isinstance(node, ast.Call) else node.elts if isinstance(node, ast.Tuple) else []
        words = [
            str(one.value) if isinstance(one, ast.Constant) else "/f-string"
            for one in found
            if isinstance(one, ast.Constant | ast.JoinedStr)
        ]
        if "invoke" in words:
            known.parse_argv(words[words.index("invoke") + 1 :])
            typed += 1
    assert typed == (ROOT / "demo/pipeline.py").read_text().count('"invoke"') > 12


def test_ml_story_changes_settings_that_the_bake_has(tmp_path: Path) -> None:
    """Each text that it replaces is there, and the service reads what it gets."""
    made = bake(tmp_path / "out", target="sagemaker")
    settings = (made / "pipeline.toml").read_text()
    for old, new in (*pipeline.SETTINGS, *pipeline.prepared("data/made/data.parquet")):
        assert old in settings
        settings = settings.replace(old, new, 1)
    (made / "pipeline.toml").write_text(settings)
    config = load(made)
    assert (config.jobs.instance, config.jobs.dollars_per_hour, config.tune.trials) == ("ml.m5.large", 0.115, 4)
    assert config.train.options["trials"] == 1
    assert config.train.options["data"] == config.tune.options["data"] == "data/made/data.parquet"
    assert config.environment("main").account == "123456789012"
