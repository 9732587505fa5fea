"""The pages of the site, typed: each command of the tutorial and of each how-to, in one service, in their order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from bake import ROOT
from site_pages import DOCS, Block, Shell, blocks, settle

INDEX = (DOCS / "index.md").read_text(encoding="utf-8")
LISTED = re.findall(r"^[a-z][\w/-]+$", INDEX, re.M)
# Each has a test of its own, which follows it.
OWN = {
    "your-own-model": "test_own_model.py",
    "howto/fastapi": "test_fastapi.py",
    "extending": "test_extending.py",
    "upgrading": "test_upgrade.py",
}
PAGES = [name for name in LISTED if name.startswith(("tutorial/", "howto/", "explanation/")) and name not in OWN]
COMMANDS = ("console", "sh", "bash", "shell")
AFTER = ("howto/remove", "howto/target")  # one ends the emulator, the other gives the service a second target


class Service:
    """The service that the pages make, and a shell in it."""

    def __init__(self, folder: Path) -> None:
        self.shell = Shell(folder)
        self.root = folder / "first-service"
        self.typed: set[str] = set()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    made = Service(tmp_path_factory.mktemp("docs") / "home")
    try:
        yield made
    finally:
        made.shell.type("invoke cloud.down")
        made.shell.close()


def follow(service: Service, block: Block) -> None:
    """Do what a block says, and check what it says is printed."""
    if block.kind == "toml":
        return settle(service.root / "pipeline.toml", block)
    if block.kind not in COMMANDS or block.mark.startswith(("aws-only: ", "tested: ")):
        return
    output = ""
    for command in block.commands:
        code, printed = service.shell.type(command.replace("TEMPLATE", f"'{ROOT}'"))
        fails = block.mark == "fails" and command == block.commands[-1]
        assert (code != 0) == fails, f"{block.page}: {command} ended with {code}:\n{printed}"
        assert "Traceback" not in printed or command == "invoke logs", (
            printed
        )  # the service's own, which the tutorial broke
        output += printed
    for line in block.printed:
        assert line in output, f"{block.page}: {line!r} is not in\n{output}"


@pytest.mark.parametrize("page", sorted(PAGES, key=lambda name: name in AFTER))
def test_page_is_true(service: Service, page: str) -> None:
    """Its commands end well, or fail where it says so, and print what it says."""
    if page != PAGES[0] and not service.root.exists():
        pytest.skip("the first page, which makes the service, was not followed")
    for block in blocks(DOCS / f"{page}.md"):
        follow(service, block)
    _, changed = service.shell.type("git status --porcelain")
    if changed.strip():
        service.shell.type("git add --all && git commit --quiet --message 'As the page says'")


def test_each_command_is_typed_or_marked() -> None:
    """A block of commands is on a page that a test follows, or a mark names its test, or says why only AWS can show it."""
    for path in sorted(DOCS.rglob("*.md")):
        name = path.relative_to(DOCS).with_suffix("").as_posix()
        for block in blocks(path):
            if block.kind not in COMMANDS or name in OWN or (name in PAGES and not block.mark):
                continue
            assert block.commands, f"{name}: a block of commands without one that begins with $"
            kind, _, rest = block.mark.partition(": ")
            assert kind in ("fails", "aws-only", "tested"), f"{name}: {block.commands}"
            if kind == "tested":
                file, _, test = rest.partition("::")
                assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8"), rest
    for name, test in OWN.items():
        assert (DOCS / f"{name}.md").exists()
        assert (ROOT / "tests" / test).exists()


def test_every_page_is_in_the_index() -> None:
    """Each page of ``docs/`` is in the navigation, and what is there exists or is made by the build."""
    there = {path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md")} - {"index"}
    made = {name for name in LISTED if name.startswith("reference/")} | {"pictures"}
    assert there == set(LISTED) - made
