#!/usr/bin/env -S uv run --script
# /// script
# requires-python = ">=3.11"
# dependencies = ["nox>=2025.10", "uv>=0.9"]
# ///
"""The shipped checks, run on the root, and what only the root has. The shipped noxfile is the one list of checks."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import nox

HERE = Path(__file__).parent
MOTO = "moto[server]==5.2.5"  # an environment of its own, not locked: it is asked, and nothing of ours runs on it
TOOLKIT = "sagemaker-training==5.1.4"  # likewise
CLIENTS = ["sagemaker==2.257.7", "awscli==1.46.3"]  # likewise
SHIPPED = HERE / "{{cookiecutter.project_slug}}"

spec = spec_from_file_location("shipped_noxfile", SHIPPED / "noxfile.py")
assert spec is not None
assert spec.loader is not None
shipped = module_from_spec(spec)
sys.modules[spec.name] = shipped
spec.loader.exec_module(shipped)  # registers its sessions and options
shipped.DELIVERY = sys.executable


nox.options.sessions = [*nox.options.sessions, "infra", "docs"]


@nox.session
def infra(session: nox.Session) -> None:
    """What only the template has: CloudFormation, the buildspec, forms of issues, Dependabot's files."""
    shipped.install(session, "lint")
    session.run("cfn-lint", *map(str, sorted(Path("src/ml_delivery").rglob("infra/*.yaml"))))
    schema = "src/ml_delivery/artifact/buildspec.schema.json"
    session.run("check-jsonschema", "--schemafile", schema, "buildspec.yml")
    templates = sorted(map(str, Path(".github/ISSUE_TEMPLATE").glob("[!c]*.yml")))
    session.run("check-jsonschema", "--builtin-schema", "vendor.github-issue-forms", *templates)
    session.run(
        "check-jsonschema", "--builtin-schema", "vendor.github-issue-config", ".github/ISSUE_TEMPLATE/config.yml"
    )
    dependabot = [str(folder / ".github/dependabot.yml") for folder in (HERE, SHIPPED)]
    session.run("check-jsonschema", "--builtin-schema", "vendor.dependabot", *dependabot)


@nox.session
def docs(session: nox.Session) -> None:
    """The site in build/site, with its reference made from the code; a link that leads nowhere, or any other warning, fails it."""
    shipped.install(session, "docs")
    session.run("python", "docs/generate", "build/docs", env={"PYTHONPATH": "src"})
    session.run("sphinx-build", "-W", "--keep-going", "--fresh-env", "-q", "-c", "docs", "build/docs", "build/site")


@nox.session(default=False)
def quick(session: nox.Session) -> None:
    """The tests that belong to what was changed since the last commit, or to the files that are named: a first look."""
    shipped.install(session, "check")
    session.run("python", "tests/quick.py", *session.posargs)


@nox.session(default=False)
def pictures(session: nox.Session) -> None:
    """The site's pictures, of a real run of some minutes, in build/pictures; ``nox -s docs`` shows them."""
    shipped.install(session, "dev")
    session.run("python", "docs/generate/pictures.py", env={"PYTHONPATH": os.pathsep.join([".", "src"])})


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """All benchmarks, or the one that is named, with its options; fails when a promise is missed (75: it lacks its data)."""
    shipped.install(session, "check")
    named = [session.posargs] if session.posargs else [[str(one)] for one in sorted(Path("benchmarks").glob("*_*.py"))]
    missed = []
    for words in named:
        try:
            session.run("python", *words, success_codes=[0, 75])
        except nox.command.CommandFailed:
            missed.append(words[0])
    if missed:
        session.error(f"missed: {', '.join(missed)}")


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


@nox.session(default=False)
def aws(session: nox.Session) -> None:
    """The contracts of AWS in a real account for tests; CONTRIBUTING.md says what to set, and what it makes and removes there."""
    if missing := [name for name in ("CONTRACT_ACCOUNT", "AWS_REGION") if not os.environ.get(name)]:
        session.skip(f"not validated against AWS: set {', '.join(missing)}, and AWS_PROFILE or keys for that account")
    shipped.install(session, "check")
    session.run("pytest", "-n", "0", "-m", "contract", "-rs", *session.posargs, env={"CONTRACT": "aws"})


@nox.session(default=False)
def moto(session: nox.Session) -> None:
    """The contracts of docs/limits.toml on moto's server, whose answers the table has; skipped where moto can't be had."""
    shipped.install(session, "check")
    server = Path(session.create_tmp()) / "moto"
    with suppress(nox.command.CommandFailed):
        session.run("uv", "venv", "--quiet", "--clear", str(server))
        session.run("uv", "pip", "install", "--quiet", "--python", str(server / "bin/python"), MOTO)
    if not (server / "bin/moto_server").exists():
        session.skip(f"not compared with moto: {MOTO} can't be installed")
    session.run("python", "tests/moto_server.py", str(server / "bin/moto_server"), *session.posargs)


@nox.session(default=False)
def toolkit(session: nox.Session) -> None:
    """AWS's own tools on the emulator: CLI, SageMaker's SDK, training toolkit; and our training in its image."""
    shipped.install(session, "check")
    packages, clients = (Path(session.create_tmp()).absolute() / name for name in ("toolkit", "clients"))
    with suppress(nox.command.CommandFailed):
        session.run("uv", "pip", "install", "--quiet", "--target", str(packages), TOOLKIT)
        session.run("uv", "venv", "--quiet", "--clear", str(clients))
        session.run("uv", "pip", "install", "--quiet", "--python", str(clients / "bin/python"), *CLIENTS)
    if not (packages / "sagemaker_training").exists() or not (clients / "bin/aws").exists():
        session.skip(f"not run with AWS's tools: {', '.join([TOOLKIT, *CLIENTS])} can't be installed")
    session.run("python", "tests/clients.py", str(clients / "bin"), env={"PYTHONPATH": "src:tests"})
    session.run("python", "tests/toolkit.py", str(packages), env={"PYTHONPATH": "src:tests"})


@nox.session(default=False)
def chaos(session: nox.Session) -> None:
    """100 kills of deploys and rollbacks, 40 cancels, 40 kills of the emulator, under callers; further words go to the campaign."""
    shipped.install(session, "check")
    session.run("python", "tests/chaos/campaign.py", *session.posargs)


if __name__ == "__main__":
    nox.main()
