"""``make demo``, typed as the README says: it ends in its summary, leaves nothing running, and can be stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from bake import ROOT, bake

from demo import BREAK, BROKEN
from ml_delivery.waiting import wait


def demo(into: Path, story: str = "short") -> subprocess.Popen[str]:
    """Start ``make demo`` in a process group of its own."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "COV"))}
    return subprocess.Popen(
        ["make", "demo", f"INTO={into}", f"STORY={story}"],
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
