"""The service's own commands: train, evaluate, promote; and a service that has none of them, and no model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tiny import HANDLER, SETTINGS, Tiny

from ml_delivery import commands, config
from ml_delivery.errors import ConfigError, ModelError, SetupError
from ml_delivery.keys import Command

SHOW = """\
import json, os, sys
print(json.dumps({"words": sys.argv[1:], "in": os.getcwd(), "path": os.environ["PYTHONPATH"],
                  "key": os.environ.get("AWS_ACCESS_KEY_ID", ""), "program": sys.executable}))
sys.exit(int(sys.argv[-1]) if sys.argv[-1].isdigit() else 0)
"""
COMMAND = (
    '\n[train]\ncommand = ["python", "-m", "service.show"]\n[train.options]\nseed = 7\nfast = true\nslow = false\n'
)


@pytest.fixture
def showing(tiny: Tiny) -> Tiny:
    """A tiny service whose command to train shows what it was given."""
    tiny.write("src/service/show.py", SHOW)
    tiny.write("requirements/train.txt", "# nothing\n")
    tiny.write("pipeline.toml", (tiny.root / "pipeline.toml").read_text() + COMMAND)
    return tiny


def test_command_gets_its_options_and_those_that_are_typed(showing: Tiny) -> None:
    """Options go from pipeline.toml and the command line to the command, the latter win; Python is the environment's."""
    said = json.loads(showing.invoke("train"))
    assert said["words"] == ["--seed", "7", "--fast"]
    assert (said["in"], said["path"]) == (str(showing.root), str(showing.root / "src"))
    assert Path(said["program"]).parent.samefile(showing.root / ".pipeline/envs/train/bin")
    assert said["key"] == ""
    said = json.loads(showing.invoke("train", "--option", "seed=3", "--option", "dry-run", "--option", "fast=0"))
    assert said["words"] == ["--seed", "3", "--fast", "0", "--dry-run"]


def test_command_reaches_aws_when_a_cloud_is_named(showing: Tiny) -> None:
    """With a branch or a cloud the variables that reach it are in the command's environment."""
    assert json.loads(showing.invoke("train", "--cloud", "embedded"))["key"]
    assert json.loads(showing.invoke("train", "--branch", "main"))["key"]


def test_command_that_fails_fails_the_task(showing: Tiny) -> None:
    """Another exit code than 0 ends the task with its stage, the code and what to type."""
    output = showing.invoke("train", "--option", "exit=3", code=1)
    assert "✗ [train] command exited with code 3" in output
    assert "invoke train" in output


WAITING = """\
import pathlib, sys, time
pathlib.Path("began").touch()
try:
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(1)  # longer than subprocess.call would wait
    print("interrupted; nothing is lost")
    sys.exit(130)
"""


@pytest.mark.parametrize(
    ("command", "printed"),
    [
        (WAITING, "interrupted; nothing is lost\n"),
        (
            "import pathlib, time, signal\nsignal.signal(2, signal.SIG_DFL)\npathlib.Path('began').touch()\ntime.sleep(60)",
            "✗ interrupted\n",
        ),
    ],
    ids=["reports itself", "reports nothing"],
)
def test_interrupted_command_is_reported_once(showing: Tiny, command: str, printed: str) -> None:
    """Ctrl-C reaches the command and the task; the command ends by itself, and one of the two reports it."""
    showing.write("src/service/show.py", command)
    process = subprocess.Popen(
        showing.command("train"),
        cwd=showing.root,
        env=showing.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    until = time.monotonic() + 60
    while not (showing.root / "began").exists() and time.monotonic() < until:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=30)[0] == printed
    assert process.returncode == 130


def test_stage_without_a_command_says_what_to_write(tiny: Tiny) -> None:
    """A service that trains nothing reports so, and how to add it."""
    for stage in ("train", "evaluate"):
        output = tiny.invoke(stage, code=1)
        assert f"this service has no command to {stage} a model" in output
        assert f'[{stage}] command = ["python", "-m", "service.…"]' in output


def test_what_a_command_needs_and_lacks_is_named(showing: Tiny) -> None:
    """A missing lock, a program that does not exist and an option without a name are each refused."""
    (showing.root / "requirements/train.txt").unlink()
    with pytest.raises(SetupError, match=r"there is no requirements/train.txt"):
        commands.run(showing.config, "train", {}, {})
    showing.replace("pipeline.toml", '"python", "-m", "service.show"', '"not-there-at-all"')
    with pytest.raises(SetupError, match=r"\[train\] command: not-there-at-all can't be run"):
        commands.run(showing.config, "train", {}, {})
    with pytest.raises(ConfigError, match="'=3' has no name"):
        commands.parse(["=3"])


def test_another_program_is_run_as_it_is() -> None:
    """Only the word "python" is replaced, and only at the beginning."""
    command = Command(command=("bash", "python"), options={"a": 0.5})
    assert commands.argv(command, {}, "/python") == ["bash", "python", "--a", "0.5"]
    assert commands.argv(Command(command=("python", "x")), {"b": True}, "/python") == ["/python", "x", "--b"]


def test_options_are_scalars(tmp_path: Path) -> None:
    """What can't be typed after ``--name`` is refused in pipeline.toml."""
    text = SETTINGS.format(name="x-y-z", python="3.12")
    (tmp_path / "pipeline.toml").write_text(text + '[train.options]\nseeds = [1]\n"a b" = 1\n')
    with pytest.raises(ConfigError) as fault:
        config.load(tmp_path, {})
    assert [problem.partition(";")[0] for problem in fault.value.problems] == [
        "train.options.seeds: [1] is not a value",
        "train.options.a b: not an allowed name",
    ]


def test_service_without_a_model_is_delivered(tiny: Tiny) -> None:
    """Without a promote command model.lock is optional: such a service is built, planned, deployed and rolled back."""
    tiny.replace("pipeline.toml", '[promote]\ncommand = ["python", "-m", "service.promotion"]\n', "")
    tiny.git("rm", "-rq", "model.lock", "models")
    tiny.commit()
    assert "  model  " not in tiny.invoke("build")
    assert json.loads((tiny.root / "build/manifest.json").read_text())["model"] == ""
    tiny.invoke("push")
    assert "  model " not in tiny.invoke("plan", code=2)
    assert "release 1 is verified" in tiny.invoke("deploy")
    assert json.loads(tiny.invoke("call", "/version"))["model"] == ""
    tiny.write("src/another/__init__.py", "WORDS = 'of another package'\n")
    tiny.write("src/service/handler.py", "import another\n" + HANDLER.replace('"first"', "another.WORDS"))
    tiny.commit()
    tiny.deploy()
    assert json.loads(tiny.invoke("call", "/version"))["note"] == "of another package"
    assert "release 1 is verified" in tiny.invoke("rollback")


def test_service_with_a_gate_must_have_a_model(tiny: Tiny) -> None:
    """Where models are promoted, none is a mistake."""
    (tiny.root / "model.lock").unlink()
    with pytest.raises(ModelError, match="there is no model yet"):
        tiny.push()
