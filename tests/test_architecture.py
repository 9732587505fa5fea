"""The architecture, each rule a test: what may import what, what the core may know, and that a target is one folder."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny import ROOT

SRC = ROOT / "src"
CORE = SRC / "ml_delivery"
TARGETS = CORE / "targets"
MAP = re.compile(r"^([\w/]+(?:, [\w/]+)*)  +\S", re.M)


def modules(folder: Path = CORE) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*.py")) if "__pycache__" not in path.parts)


PACKAGES = [
    path.parent.relative_to(SRC).as_posix()
    for root in (CORE, SRC / "embedded_aws", SRC / "ml_pages")
    for path in modules(root)
    if path.name == "__init__.py"
]


def levels(package: str) -> dict[str, int]:
    """How high each module and folder of a package is, by the map in its docstring; the same for those of one line."""
    text = ast.get_docstring(ast.parse((SRC / package / "__init__.py").read_text())) or ""
    lines = MAP.findall(text)
    return {name.rstrip("/"): -i for i, line in enumerate(lines) for name in line.split(", ")}


def imported(path: Path) -> set[str]:
    """Every module of ours that a file imports: at its top, under TYPE_CHECKING, and inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        else:
            assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}: a relative import"
    return {name for name in found if name.split(".")[0] in ("ml_delivery", "embedded_aws", "ml_pages")}


@pytest.mark.parametrize("package", PACKAGES)
def test_map_of_each_package_is_whole(package: str) -> None:
    """The docstring of a package says of every module and folder in it what it is for, and of no other."""
    there = {p.stem for p in (SRC / package).iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    mapped = set(levels(package))
    if mapped or len(there) > 3:
        assert mapped == there - {"__init__", "__main__"}


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_downward_only(package: str) -> None:
    """No module imports what its package's map has above it, under TYPE_CHECKING and inside functions included."""
    level = levels(package)
    home = package.replace("/", ".")
    wrong = []
    for path in modules(SRC / package):
        parts = path.relative_to(SRC / package).with_suffix("").parts
        if parts == ("__init__",) or parts[0] not in level:
            continue
        inside = {name.removeprefix(f"{home}.").split(".")[0] for name in imported(path) if name.startswith(f"{home}.")}
        wrong += [
            f"{'.'.join(parts)} imports {other}"
            for other in sorted(inside & set(level))
            if level[other] > level[parts[0]]
        ]
    assert not wrong


def test_nothing_outside_a_target_imports_it() -> None:
    """Targets are found by name: the core imports none, and of another target's folder only what both share is imported."""
    shared = {name for path in modules(TARGETS) for name in imported(path) if name.startswith("ml_delivery.targets.")}
    allowed = {folder.name for folder in TARGETS.iterdir() if not _is_target(folder)}
    assert {name.split(".")[2] for name in shared} - allowed - {
        f.name for f in TARGETS.iterdir() if _is_target(f)
    } == set()
    for path in modules():
        own = path.relative_to(TARGETS).parts[0] if path.is_relative_to(TARGETS) else ""
        for name in imported(path):
            if name.startswith("ml_delivery.targets."):
                folder = name.split(".")[2]
                assert own, f"{path.relative_to(SRC)} imports {name}"
                assert folder == own or folder in allowed, f"{path.relative_to(SRC)} imports {name}"


def _is_target(folder: Path) -> bool:
    return (folder / "__init__.py").exists() and "\nTARGET = " in (folder / "__init__.py").read_text()


# What only a target may name. Jobs run on a platform of their own, whatever the target: what knows that one is exempt.
FOREIGN = re.compile(r"\bLambda\b|\blambda[-_]\w+|AWS/Lambda|lambda:\w|/aws/lambda|\bEKS\b|Kubernetes|SageMaker", re.I)
EXEMPT = {
    "account/jobs.yaml",
    "tasks/jobs.py",
    "tasks/pipelines.py",
    *(
        f"jobs/{name}.py"
        for name in (
            "__init__",
            "batch",
            "definition",
            "inside",
            "packages",
            "pipeline",
            "prepare",
            "rendering",
            "running",
            "sagemaker",
            "train",
            "tune",
        )
    ),
}


def test_core_names_no_target() -> None:
    """Outside of ``targets/`` no file of the package has the name of a place where releases run."""
    found = [
        f"{path.relative_to(SRC)}:{number}: {line.strip()}"
        for path in sorted(CORE.rglob("*"))
        if path.suffix in (".py", ".yaml", ".toml", ".txt", ".json")
        and not path.is_relative_to(TARGETS)
        and path.relative_to(CORE).as_posix() not in EXEMPT
        and "locks" not in path.relative_to(CORE).parts
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if FOREIGN.search(re.sub(r"\blambda\b(?=[ :*])", "", line))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("removed", ["lambda_zip", "lambda_image", "eks", "sagemaker", "all"])
def test_core_works_with_a_target_removed(tmp_path: Path, removed: str) -> None:
    """Without a target's folder every module outside of it can be imported, and the others can be chosen."""
    shutil.copytree(SRC, tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    folders = [p for p in (tmp_path / "src/ml_delivery/targets").iterdir() if p.is_dir()]
    for folder in folders:
        if removed in (folder.name, "all"):
            shutil.rmtree(folder)
    names = [
        ".".join(path.relative_to(tmp_path / "src").with_suffix("").parts).removesuffix(".__init__")
        for path in modules(tmp_path / "src/ml_delivery")
        if path.name not in ("bytecode.py", "__main__.py")
    ]
    code = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\n"
    code += "from ml_delivery import plugin; print(plugin.built_in())"
    done = subprocess.run(
        [sys.executable, "-c", code, *names], env={"PYTHONPATH": str(tmp_path / "src")}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    built_in = {"eks", "lambda-image", "lambda-zip", "sagemaker"}
    left = built_in - {removed.replace("_", "-")} if removed != "all" else set()
    assert set(ast.literal_eval(done.stdout)) == left
