"""Every next step that an error names is typed as it stands, on ``--cloud aws``, and helps; ``next_steps.py`` has the list."""

from __future__ import annotations

import ast
import os
import pty
import re
import subprocess
import sys
from contextlib import ExitStack

import pytest
from next_situations import SITUATIONS
from next_steps import STEPS
from test_template import tasks
from tiny import ROOT, Tiny

from ml_delivery import emulator


def hints() -> dict[str, list[str]]:
    """The expressions given as ``next=`` in the source, by file and function, in their order."""
    found: dict[str, list[str]] = {}

    def walk(node: ast.AST, place: str, names: list[str]) -> None:
        for child in ast.iter_child_nodes(node):
            inner = [*names, child.name] if isinstance(child, ast.FunctionDef | ast.ClassDef) else names
            for keyword in child.keywords if isinstance(child, ast.Call) else ():
                if keyword.arg == "next":
                    found.setdefault(f"{place} {'.'.join(inner)}", []).append(ast.unparse(keyword.value))
            walk(child, place, inner)

    for path in sorted((ROOT / "src/ml_delivery").rglob("*.py")):
        walk(ast.parse(path.read_text()), path.relative_to(ROOT / "src/ml_delivery").as_posix(), [])
    return found


def test_every_next_step_is_listed() -> None:
    """A new ``next=`` needs an entry: a situation in which it is typed here, or the reason why it isn't."""
    there = hints()
    assert {place: len(listed) for place, listed in STEPS.items()} == {p: len(found) for p, found in there.items()}
    for place, listed in STEPS.items():
        for entry in listed:
            reason = entry.startswith(("a change: ", "elsewhere: ", "not here: "))
            assert reason or set(entry.split("; ")) <= set(SITUATIONS), f"{place}: {entry}"
    assert set(SITUATIONS) <= {name for listed in STEPS.values() for entry in listed for name in entry.split("; ")}


def test_tests_that_are_named_exist() -> None:
    """Where a step is typed in another test, that test exists."""
    for listed in STEPS.values():
        for entry in listed:
            if entry.startswith("elsewhere: "):
                file, _, name = entry.removeprefix("elsewhere: ").partition("::")
                assert f"def {name}(" in (ROOT / "tests" / file).read_text(), entry


def strings() -> list[tuple[str, str]]:
    """The strings of the source that are no docstrings, each with its file; f-strings whole, with the names in them."""
    found = []
    for path in sorted((ROOT / "src/ml_delivery").rglob("*.py")):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        parts = {id(value) for node in nodes if isinstance(node, ast.JoinedStr) for value in node.values}
        parts |= {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        texts = [node for node in nodes if isinstance(node, ast.JoinedStr | ast.Constant) and id(node) not in parts]
        found += [(path.name, ast.unparse(node)) for node in texts]
    return found


def test_commands_name_their_environment() -> None:
    """Each command in a message is a task, and has the options by which it reaches the environment that the message is about."""
    known = tasks()
    anywhere = {"build", "upgrade", "eject", "prepare", "train", "doctor"} | {
        name for name in known if name.startswith("cloud.")
    }
    described = ("invoke plan --json wrote", "invoke plan showed", "what invoke bootstrap prints")  # not to be typed
    checked = 0
    for place, text in strings():
        if any(one in text for one in described):
            continue
        for name, rest in re.findall(r"\binvoke ([a-z][a-z.]+)((?:(?!&&|invoke).)*)", text):
            assert name in known, f"{place}: {text}"
            options = re.search(r"\{[\w.]*where(\(\w+\))?\}|--branch", rest)
            assert name in anywhere or options, f"{place}: {text}"
            checked += 1
    assert checked > 40


def steps(hint: str) -> list[str]:
    """The commands in a hint, in their order, without the words around them."""
    commands = [part.strip() for part in re.split(r", then |^then | && ", hint)]
    return [one for one in commands if re.match(r"(invoke|git) ", one)]


class Shell:
    """Types commands in a service, with ``invoke`` on the path and AWS's variables for the emulator; answers y to questions."""

    def __init__(self, tiny: Tiny) -> None:
        self.tiny = tiny
        running = emulator.up(tiny.root)
        folder = tiny.root.parent / "bin"
        folder.mkdir()
        (folder / "invoke").write_text(f'#!/bin/sh\nexec {sys.executable} -m invoke "$@"\n')
        (folder / "invoke").chmod(0o755)
        self.environment = {
            **tiny.environment,
            "PATH": f"{folder}:{os.environ['PATH']}",
            "AWS_ENDPOINT_URL": running.endpoint,
            "AWS_ACCESS_KEY_ID": running.access_key,
            "AWS_SECRET_ACCESS_KEY": running.secret_key,
            **{f"GIT_{who}_{what}": "tests@localhost" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
            "GIT_EDITOR": "sed -i '1s/^/Change/'",
        }

    def type(self, command: str) -> tuple[int, str]:
        ours, terminal = pty.openpty()
        os.write(ours, b"y\n" * 5)
        done = subprocess.run(
            command,
            shell=True,
            cwd=self.tiny.root,
            env=self.environment,
            stdin=terminal,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        os.close(ours)
        os.close(terminal)
        assert "Traceback" not in done.stdout or command.startswith("invoke logs"), done.stdout  # the service's own
        assert "internal error" not in done.stdout, done.stdout
        return done.returncode, done.stdout


@pytest.mark.parametrize("name", SITUATIONS)
def test_next_step_helps(tiny: Tiny, name: str) -> None:
    """What the error says to type is typed as it stands: it ends well, and the same command is no longer refused for that."""
    one = SITUATIONS[name]
    account = emulator.up(tiny.root).account
    text = (tiny.root / "pipeline.toml").read_text().replace("\nbranch", f'\naccount = "{account}"\nbranch')
    numbers = '[github]\nowner_id = "12"\nrepository_id = "345"\n'  # which bootstrap asks GitHub for
    tiny.write("pipeline.toml", text.replace("[github]\n", numbers))
    tiny.commit()
    with ExitStack() as stack:
        one.arrange(tiny, stack)
        shell = Shell(tiny)
        code, printed = shell.type(f"invoke {one.typed}{one.cloud}")
        assert (code, one.says in printed) == (1, True), printed
        hint = re.findall(r"^ +(?:next|fix): (.*)$", printed, re.M)[-1]
        assert one.next.rstrip("…") in hint
        if name == "hook":
            (tiny.root / "ok").touch()
        wanted = hint.partition(", or ")[0] if one.next.endswith("…") else one.next
        if wanted.startswith("add "):
            wanted = f"invoke {one.typed}{one.cloud} {wanted.removeprefix('add ')}"
        for command in steps(wanted):
            code, said = shell.type(command)
            assert code == (one.code if command.startswith("invoke") else 0), f"{command}\n{said}"
        if one.solved:
            code, printed = shell.type(f"invoke {one.typed}{one.cloud}")
            assert one.says not in printed
