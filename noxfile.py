#!/usr/bin/env -S uv run --script
# /// script
# requires-python = ">=3.11"
# dependencies = ["nox>=2025.10", "uv>=0.9"]
# ///
"""The shipped checks, run on the root, and what only the root has. The shipped noxfile is the one list of checks."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import nox

HERE = Path(__file__).parent
SHIPPED = HERE / "{{cookiecutter.project_slug}}"

spec = spec_from_file_location("shipped_noxfile", SHIPPED / "noxfile.py")
assert spec is not None
assert spec.loader is not None
shipped = module_from_spec(spec)
sys.modules[spec.name] = shipped
spec.loader.exec_module(shipped)  # registers its sessions and options
shipped.DELIVERY = sys.executable


nox.options.sessions = [*nox.options.sessions, "infra"]


@nox.session
def infra(session: nox.Session) -> None:
    """What only the template has: CloudFormation, the buildspec, Dependabot's files."""
    shipped.install(session, "lint")
    session.run("cfn-lint", *map(str, sorted(Path("src/ml_delivery").rglob("infra/*.yaml"))))
    schema = "src/ml_delivery/artifact/buildspec.schema.json"
    session.run("check-jsonschema", "--schemafile", schema, "buildspec.yml")
    dependabot = [str(folder / ".github/dependabot.yml") for folder in (HERE, SHIPPED)]
    session.run("check-jsonschema", "--builtin-schema", "vendor.dependabot", *dependabot)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """The benchmarks, one after the other, or those that are named; each fails when its promise is missed."""
    shipped.install(session, "check")
    for script in session.posargs or map(str, sorted(Path("benchmarks").glob("*_*.py"))):
        session.run("python", script)


@nox.session(default=False)
def faults(session: nox.Session) -> None:
    """Deploys under faults: 500 of steps × faults, and 300 random histories against a model; further words go to the campaign."""
    shipped.install(session, "check")
    session.run("python", "tests/faults/campaign.py", *session.posargs)
    session.run("pytest", "-q", "-s", "tests/test_histories.py", env={"HISTORIES": "300"})


@nox.session(default=False)
def mutants(session: nox.Session) -> None:
    """Breaks the code in one place after the other, and runs the tests that should see it; words name some of the files."""
    shipped.install(session, "check")
    session.run("python", "tests/mutants/campaign.py", *session.posargs)


if __name__ == "__main__":
    nox.main()
