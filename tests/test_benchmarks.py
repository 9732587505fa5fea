"""Each benchmark runs by itself: it finds what it imports, whatever the shell that starts it has on its path."""

from __future__ import annotations

import ast
import sys
from importlib.machinery import PathFinder
from pathlib import Path

import pytest
from bake import ROOT

FILES = sorted(file for file in (ROOT / "benchmarks").glob("*.py") if "__main__" in file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_benchmark_finds_its_imports(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own lines put the folders on the path that the imports after them need; nothing is imported for that."""
    body = ast.parse(file.read_text(encoding="utf-8")).body
    paths = [number for number, node in enumerate(body) if ast.unparse(node).startswith("sys.path")]
    own = {str(folder) for folder in (ROOT, ROOT / "src", ROOT / "tests", ROOT / "benchmarks")}
    services = str(ROOT / "{{cookiecutter.project_slug}}")
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one not in own and not one.startswith(services)])
    sys.path.insert(0, str(file.parent))  # as Python does with a script's folder
    begin = ast.Module([node for node in body[: max(paths, default=-1) + 1] if not isinstance(node, ast.If)], [])
    exec(compile(begin, str(file), "exec"), {"__file__": str(file), "__name__": file.stem})
    names = {str(node.module) for node in body if isinstance(node, ast.ImportFrom)}
    names |= {alias.name for node in body if isinstance(node, ast.Import) for alias in node.names}
    wanted = {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names)
    assert not {name for name in wanted if PathFinder.find_spec(name, sys.path) is None}
