"""``make quick``: the tests that belong to what was changed since the last commit, or to the files that are named.

To a changed file of tests belong its own. To a module belong those that its mutants name, and the file of tests with its name; if
there are none, the few files that import it, or else those whose names share the most words with its path. That is a first look:
``make test`` decides.
"""

from __future__ import annotations

import ast
import functools
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from mutants.campaign import load

ROOT = Path(__file__).parent.parent
PACKAGES = ("src", "{{cookiecutter.project_slug}}/src", "{{cookiecutter.project_slug}}/starters/pricing/src")
MOST = 5  # files of tests: a module that more import has no tests of its own
COMMON = {"ml", "delivery", "service", "embedded", "aws"}
LETTERS = 4  # of words that count as the same: metric, metrics


def changed() -> list[str]:
    """The files that differ from the last commit, and those that are new."""
    asked = ["git", "ls-files", "-z", "--others", "--exclude-standard"], ["git", "diff", "-z", "--name-only", "HEAD"]
    found = [subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout for words in asked]
    return sorted(name for text in found for name in text.split("\0")[:-1])


def belonging(names: Iterable[str]) -> list[str]:
    """The tests that belong to files, as pytest takes them."""
    found: set[str] = set()
    for name in names:
        path = Path(name)
        if path.name.startswith("test_") and (ROOT / name).is_file():
            found.add(name)
        elif path.suffix == ".py" and (module := named(name)):
            found |= of_module(name, module)
    return sorted(node for node in found if node.partition("::")[0] not in found or "::" not in node)


def of_module(name: str, module: str) -> set[str]:
    """The tests of one module."""
    files = {file: modules for file, modules in users().items() if Path(file).name.startswith("test_")}
    found = {test for mutant in load(ROOT) if mutant.path == name for test in mutant.tests}
    found |= {file for file in files if Path(file).name == f"test_{module.rpartition('.')[2]}.py"}
    importing = {file for file, modules in files.items() if module in modules}
    if found or 0 < len(importing) <= MOST:
        return found or importing
    words = {word[:LETTERS] for word in module.replace("_", ".").split(".") if word not in COMMON}
    scores = {file: len(words & {word[:LETTERS] for word in Path(file).stem.split("_")}) for file in files}
    best = max(scores.values())
    return set(sorted(file for file, score in scores.items() if score == best)[:MOST]) if best else set()


def named(file: str) -> str:
    """The module that a file is; empty if it is none of ours."""
    path = Path(file)
    for folder in PACKAGES:
        if path.is_relative_to(folder):
            parts = path.relative_to(folder).with_suffix("").parts
            return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return ""


@functools.cache
def users() -> dict[str, frozenset[str]]:
    """What each Python file of ours imports, by its path."""
    places = [ROOT / "tests", *(ROOT / folder for folder in PACKAGES), ROOT / PACKAGES[2] / "../tests"]
    files = {Path(os.path.relpath(path, ROOT)) for place in places for path in place.rglob("*.py")}
    return {file.as_posix(): frozenset(imports(ROOT / file)) for file in files}


def imports(file: Path) -> Iterable[str]:
    """The modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def main() -> int:
    """Run them; pytest's exit code, or 0 when nothing was changed that has tests."""
    names = [Path(os.path.relpath(name, ROOT)).as_posix() for name in sys.argv[1:]] or changed()
    tests = belonging(names)
    if not tests:
        print(f"no tests belong to {', '.join(names) or 'what was changed: nothing was'} alone; make test runs all")
        return 0
    print(f"{len(tests)} of the files or tests belong to {', '.join(names)}", flush=True)
    return subprocess.run([sys.executable, "-m", "pytest", "-q", *tests], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
