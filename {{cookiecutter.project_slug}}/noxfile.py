#!/usr/bin/env -S uv run --script
# /// script
# requires-python = ">=3.11"
# dependencies = ["nox>=2025.10", "uv>=0.9"]
# ///
"""The checks. ``nox --list`` shows them; make and CI run these sessions and no other checks.

Each session has a virtual environment of its own, which uv makes from a hashed lockfile.
"""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv"
nox.options.reuse_existing_virtualenvs = True
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = True  # a check that did not run is not a check that passed
nox.options.sessions = ["lint", "types", "test", "sast", "sca"]


# The Python that has the delivery package; `make setup` makes it.
DELIVERY = str(Path(".venv/bin/python").absolute())


def service_python() -> str | None:
    """The Python that the service is built for, such as "3.12"; None when nox itself runs on it."""
    try:
        settings = tomllib.loads(Path("pipeline.toml").read_text(encoding="utf-8-sig"))
        version = str(os.environ.get("PIPELINE_PYTHON") or settings["service"]["python"])
    except (OSError, ValueError, KeyError, TypeError):
        sys.exit(
            "✗ pipeline.toml: service.python, the Python that the checks run on, can't be read\n  next: invoke config"
        )
    return None if version == f"{sys.version_info.major}.{sys.version_info.minor}" else version


def install(session: nox.Session, lock: str) -> None:
    """Bring the session's environment up to ``requirements/<lock>.txt``, by hash."""
    session.install("--quiet", "--require-hashes", "--requirement", f"requirements/{lock}.txt")


@nox.session
def lint(session: nox.Session) -> None:
    """Style, formatting, stale lockfiles, the workflows, the Dockerfile; of files that are named, style and formatting only."""
    install(session, "lint")
    files = [word for word in session.posargs if Path(word).exists()]
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", "--check", *files)
    if files:
        return
    session.run(DELIVERY, "-m", "ml_delivery.dependencies.locks", external=True)
    workflows = map(str, sorted(Path(".github/workflows").glob("*.yml")))
    session.run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows)
    session.run("zizmor", "--offline", "--quiet", ".github")
    if images := sorted(map(str, Path().glob("Dockerfile*"))):
        session.run("hadolint", *images)


@nox.session(python=service_python())
def types(session: nox.Session) -> None:
    """Types, strictly."""
    install(session, "check")
    session.run("mypy", *session.posargs)


@nox.session(python=service_python())
def test(session: nox.Session) -> None:
    """The tests, with the coverage gate of pyproject.toml."""
    install(session, "check")
    session.run("pytest", *(session.posargs or ["--cov", "--cov-report=term:skip-covered"]))


@nox.session
def sast(session: nox.Session) -> None:
    """Security of this repository's code: Snyk Code when SNYK_TOKEN is set, else bandit."""
    install(session, "lint")
    session.run(DELIVERY, "-m", "ml_delivery.scanning", "sast", *session.posargs, external=True)


@nox.session
def sca(session: nox.Session) -> None:
    """Known vulnerabilities of the locked dependencies: Snyk when SNYK_TOKEN is set, else pip-audit; skipped without an answer."""
    install(session, "lint")
    words = [DELIVERY, "-m", "ml_delivery.scanning", "sca", *session.posargs]
    said = str(session.run(*words, silent=True, success_codes=[0, 75], external=True)).strip()
    if "NOT CHECKED" in said:
        session.skip(said.removeprefix("✗ "))
    session.log(said)


@nox.session(default=False, venv_backend="none")
def lock(session: nox.Session) -> None:
    """Make the lockfiles from pyproject.toml; further arguments, such as --upgrade, are passed to uv."""
    session.run(DELIVERY, "-m", "ml_delivery.dependencies.locks", "--make", *session.posargs)


if __name__ == "__main__":
    nox.main()
