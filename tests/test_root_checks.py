"""``nox -s infra`` of the root: the checks of what only the template has."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from bake import BIN, repository

FAULTS = {
    "CloudFormation": ("src/ml_delivery/infra/delivery.yaml", "AWS::Logs::LogGroup", "AWS::Logs::LogGroops", "E3006"),
    "buildspec": (
        "{{cookiecutter.project_slug}}/buildspec.yml",
        "on-failure: ABORT",
        "on-failure: STOP",
        "'STOP' is not one of ['ABORT', 'CONTINUE']",
    ),
    "Dependabot": (
        "{{cookiecutter.project_slug}}/.github/dependabot.yml",
        "exclude-paths:",
        "exclude-path:",
        "'exclude-path' was unexpected",
    ),
    "forms of issues": (".github/ISSUE_TEMPLATE/fault.yml", "render: console", "renders: console", "renders"),
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return repository(tmp_path_factory.mktemp("checkout") / "template")


def infra(checkout: Path) -> tuple[int, str]:
    """Its exit code and what it printed."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("NOX", "PIPELINE_", "CI"))}
    done = subprocess.run(
        [BIN / "nox", "-s", "infra"],
        cwd=checkout,
        env={**clean, "PATH": f"{BIN}:{clean['PATH']}", "PYTHONPATH": str(checkout / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("name", FAULTS)
def test_check_goes_red_on_what_only_the_root_has(checkout: Path, name: str) -> None:
    """A fault in the package's stacks, in the buildspec or in Dependabot's file is found, and named."""
    path, old, new, says = FAULTS[name]
    good = (checkout / path).read_text()
    assert old in good
    try:
        (checkout / path).write_text(good.replace(old, new, 1))
        code, output = infra(checkout)
        assert (code, says in output) == (1, True), output
    finally:
        (checkout / path).write_text(good)


def test_root_lint_is_green(checkout: Path) -> None:
    """Without a fault it passes: what is red above is red for its fault."""
    code, output = infra(checkout)
    assert code == 0, output
