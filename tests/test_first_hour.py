"""A user's first hour: `blank` is baked, and each command of its README's "Call it, serve it" is typed as it stands."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import urllib.request
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from bake import bake, start
from test_bake import run
from tiny import TEMPLATE

from ml_delivery.waiting import wait

README = (TEMPLATE / "README.md").read_text()
SECTION = README.partition("## Call it, serve it\n")[2].partition("\n## ")[0]
SECTION = re.sub(r"{%.*?%}", "", SECTION)  # one target's answer stands in each
UNDER_WAY = {"invoke serve": r"http://127\.0\.0\.1:8000", "invoke logs --follow": r'"path": ?"/version"'}
COMMANDS = re.findall(r"^\$ (.*?)(?: {2,}# (.*))?$", SECTION, re.M)


def printing(file: Path, pattern: str) -> re.Match[str] | None:
    return re.search(pattern, file.read_text())


@pytest.mark.skipif(not shutil.which("curl"), reason="NOT TESTED: there is no curl here")
def test_blank_is_called_served_and_looked_into(tmp_path: Path) -> None:
    """From the bake to its classifier's answer at its address, on the emulator; and the working tree, served and asked."""
    made = bake(tmp_path / "out", starter="blank")
    settings = (made / "pipeline.toml").read_text()
    settings = re.sub('front = "none" *#', 'front = "function-url" #', settings)
    (made / "pipeline.toml").write_text(re.sub('access = "iam" *#', 'access = "open" #', settings))
    start(made)
    run(made, "make", "setup")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PIPELINE_", "AWS_"))}
    typing: dict[str, Any] = {
        "cwd": made,
        "env": {**clean, "PATH": f"{made}/.venv/bin:{os.environ['PATH']}"},
        "text": True,
        "shell": True,
    }
    printed: dict[str, str] = {}
    running: list[subprocess.Popen[str]] = []
    try:
        for command, about in COMMANDS:
            if about.endswith("until Ctrl-C"):
                shown = tmp_path / f"{len(running)}.out"
                with shown.open("w") as out:
                    running.append(subprocess.Popen(command, stdout=out, process_group=0, **typing))
                wait(partial(printing, shown, UNDER_WAY[command]), what=command, seconds=60)
            else:
                done = subprocess.run(command, capture_output=True, check=False, **typing)
                assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
                printed[command] = done.stdout
        for process in running:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(60)
        shipped = printed["invoke ship"].splitlines()
        address = shipped[-1].removeprefix("address: ")
        with urllib.request.urlopen(f"{address}v1/predict?kilometres=10", timeout=60) as answer:
            assert 20 < json.load(answer)["minutes"] < 35
        assert "release 1 is verified: deployed version 1 serves production" in shipped[-2]
        live, by_address, local = (json.loads(said) for command, said in printed.items() if "version" in command)
        assert live == by_address
        assert (live["release"], local["release"], local["commit"]) == (1, 0, "unreleased")
        assert (
            printed[next(command for command in printed if "shell" in command)].strip()
            == live["model"]
            == local["model"]
        )
    finally:
        for process in running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        run(made, "invoke", "cloud.down")


def test_whole_way_is_named() -> None:
    """The README's commands are those of this test: none is lost to the pattern."""
    assert len(COMMANDS) == SECTION.count("\n$ ") == 7
