"""The pages of ``docs/``: their blocks of commands and settings, with the mark before each; and a shell that types them."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bake import BIN, ROOT

DOCS = ROOT / "docs"
FENCE = re.compile(r"^( *)(?:<!-- (?P<mark>[^>]*) -->\n *)?```(?P<kind>\w+)\n(?P<text>.*?)^ *```$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """A fenced block: the page, its language, the comment right before it, and its lines without their indentation."""

    page: str
    kind: str
    mark: str
    lines: tuple[str, ...]

    @property
    def commands(self) -> list[str]:
        return [line[2:] for line in self.lines if line.startswith("$ ")]

    @property
    def printed(self) -> list[str]:
        """Parts of lines that the commands print."""
        return [line.strip() for line in self.lines if not line.startswith("$ ") and line.strip()]


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in their order."""
    found = []
    for match in FENCE.finditer(page.read_text(encoding="utf-8")):
        lines = [line.removeprefix(match[1]) for line in match["text"].splitlines()]
        found.append(Block(page.relative_to(DOCS).as_posix(), match["kind"], match["mark"] or "", tuple(lines)))
    return found


def written(page: str) -> tuple[list[tuple[str, str]], list[str]]:
    """The whole files that a page has, each after its path, and the changes that can be applied with ``git apply``."""
    files = re.findall(r"^`([\w./]+)`:\n\n```\w+\n(.*?)^```$", page, re.M | re.S)
    return files, re.findall(r"^```diff\n(.*?)^```$", page, re.M | re.S)


def settle(path: Path, block: Block) -> None:
    """Write the settings of a block into ``pipeline.toml``: keys that are there get the value, new tables come at the end."""
    section = ""
    for line in block.lines:
        text = path.read_text(encoding="utf-8")
        if table := re.match(r"\[([\w.]+)\]$", line):
            section = table[1]
            if f"\n[{section}]" not in text:
                path.write_text(f"{text}\n[{section}]\n", encoding="utf-8")
        elif named := re.match(r"(\w+) = (.*)$", line):
            head, at, rest = text.partition(f"\n[{section}]")
            body, gap, tail = re.split(r"(\n(?=\[)|\Z)", rest, maxsplit=1)
            key = re.compile(rf"^{named[1]} = [^#\n]*", re.M)
            new = f"{named[1]} = {named[2]}  "
            body = key.sub(new.replace("\\", r"\\"), body, count=1) if key.search(body) else f"{body}\n{new}"
            path.write_text(f"{head}{at}{body}{gap}{tail}", encoding="utf-8")


class Shell:
    """A bash that stays where it is between commands, with this checkout's cookiecutter on its path."""

    def __init__(self, folder: Path) -> None:
        hidden = ("AWS_", "PIPELINE_", "PYTHONPATH", "NOX", "CI", "COV", "VIRTUAL_ENV")
        clean = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
        who = {f"GIT_{one}_{what}": "docs@localhost" for one in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        folder.mkdir(parents=True)
        (folder / "bin").mkdir()
        (folder / "bin/cookiecutter").symlink_to(BIN / "cookiecutter")
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env={**clean, **who, "PATH": f"{folder}/bin:{clean['PATH']}", "HOME": str(folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def type(self, command: str) -> tuple[int, str]:
        """The exit code of a command, and what it printed."""
        assert self._bash.stdin
        assert self._bash.stdout
        self._bash.stdin.write(f"{command} < /dev/null\nprintf '\\n\\036%s\\n' $?\n")
        self._bash.stdin.flush()
        lines = []
        for line in self._bash.stdout:
            if line.startswith("\036"):
                return int(line[1:]), "".join(lines)
            lines.append(line)
        raise AssertionError(f"bash ended in {command}")

    def close(self) -> None:
        assert self._bash.stdin
        self._bash.stdin.close()
        self._bash.wait(60)
