"""Checks what delivery expects of a service, on the working tree, as ``docs/contract.md`` of the template describes it.

The handler is really imported, in a virtual environment with ``requirements/serve.txt``, from a folder like the artifact.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_delivery import commands, models, target
from ml_delivery.dependencies import envs, locks
from ml_delivery.errors import PipelineError
from ml_delivery.findings import Facts, Finding, Kind, Problem, Value, look_at
from ml_delivery.monitoring import definition
from ml_delivery.monitoring.declared import FILE as METRICS
from ml_delivery.observed import Place

if TYPE_CHECKING:
    from ml_delivery.config import Config
    from ml_delivery.keys import Environment

__all__ = ["METRICS", "check"]

NUMBER = 7  # the release number that the handler must report
BUILT = {"commit": "c" * 40, "version": "contract", "content": "sha256:contract"}  # what the build would write
SECONDS = 60  # for the import and all requests


def check(config: Config, environment: Environment) -> list[Finding]:
    """One finding for each part of the contract, in its order; ``ok`` for an optional part that is missing.

    ``environment`` is the one whose variables and probe paths are used.
    """
    findings = [look_at(stage, partial(_command, config, stage)) for stage in commands.STAGES]
    findings += [
        look_at("model.lock", partial(_model, config)),
        look_at(METRICS, partial(_metrics, config, environment)),
    ]
    paths = ["/version", *environment.probe.paths]
    kind = target.load(environment.target, config)
    if (script := kind.probe) is None:
        return findings
    answers: dict[str, tuple[Any, str]] = {}

    def handler() -> Facts:
        answers.update(_ask(config, environment, script, paths, kind.entry))
        return Kind.HANDLER, {"file": kind.entry[0]}

    findings.append(look_at("handler", handler))
    if answers:
        findings.append(look_at("/version", partial(_version, config, *answers["/version"])))
        findings += [look_at(path, partial(_healthy, path, *answers[path])) for path in environment.probe.paths]
    return findings


def _command(config: Config, stage: str) -> Facts:
    words = getattr(config, stage).command
    if not words:
        return Kind.NO_COMMAND, {}
    command: dict[str, Value] = {"command": list(words)}
    if words[0] != "python":
        if not shutil.which(words[0], path=f"{config.root}{os.pathsep}{os.environ.get('PATH', '')}"):
            raise Problem(Kind.PROGRAM_MISSING, stage=stage, program=words[0], next="correct it in pipeline.toml")
        return Kind.COMMAND, command
    if not (config.root / commands.LOCK).is_file():
        raise Problem(
            Kind.COMMAND_UNLOCKED,
            stage=stage,
            lockfile=commands.LOCK,
            next=f'add "{commands.LOCK}" to [tool.ml-delivery.locks] in pyproject.toml, then nox -s lock',
        )
    if words[1:2] == ("-m",) and words[2:3] and words[2].startswith("service."):
        place = f"src/{words[2].replace('.', '/')}"
        if not any((config.root / file).is_file() for file in (f"{place}.py", f"{place}/__main__.py")):
            raise Problem(
                Kind.MODULE_MISSING,
                stage=stage,
                module=words[2],
                file=f"{place}.py",
                next=f"write it, or correct [{stage}] command in pipeline.toml",
            )
    return Kind.COMMAND, command


def _model(config: Config) -> Facts:
    found = models.promoted(config.root, required=bool(config.promote.command))
    return Kind.MODELS, {"files": {model.role: model.file for model in found}}


def _metrics(config: Config, environment: Environment) -> Facts:
    found = definition.observed(Place(config, environment, environment.account))
    if not (config.root / METRICS).is_file():
        return Kind.NO_METRICS, {}
    return Kind.METRICS, {"panels": len(found.panels), "alarms": len(found.alarms)}


def _version(config: Config, status: Any, body: str) -> Facts:
    _healthy("/version", status, body)
    promoted = models.promoted(config.root, required=False)
    wanted = {"release": NUMBER, **BUILT, "model": promoted[0].digest if promoted else ""}
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        fix = "answer ml_service.release.read().document()"
        raise Problem(Kind.VERSION_NO_OBJECT, body=body[:60], next=fix)
    wrong = [name for name, value in wanted.items() if said.get(name) != value]
    if wrong:
        raise Problem(
            Kind.VERSION_DIFFERS,
            found={name: json.dumps(said[name]) for name in wrong if name in said},
            wanted={name: json.dumps(wanted[name]) for name in wrong},
            next="answer ml_service.release.read().document(): release.json's fields, and RELEASE_NUMBER as a number",
        )
    return Kind.VERSION, {"fields": list(wanted)}


def _healthy(path: str, status: Any, body: str) -> Facts:
    if status != 200:
        fix = (
            "answer it with 200"
            if path == "/version"
            else "answer it with 200, or change [probe] paths in pipeline.toml"
        )
        raise Problem(Kind.STATUS, path=path, status=status, body=body[:100], next=fix)
    return Kind.ANSWERS, {"status": status}


def _ask(
    config: Config, environment: Environment, script: Path, paths: list[str], entry: tuple[str, str]
) -> dict[str, tuple[Any, str]]:
    """The handler's status and body for each path, from a folder with the layout of the artifact.

    Raises:
        Problem: the handler or the lockfile is missing, or the handler did not answer.
        PipelineError: the virtual environment can't be created.
    """
    root, lockfile, (file, function) = config.root, config.root / locks.SERVE, entry
    if not (root / file).is_file():
        raise Problem(Kind.HANDLER_MISSING, file=file, next=f"write it, with a function {function}")
    if not lockfile.is_file():
        raise Problem(Kind.HANDLER_UNLOCKED, lockfile=locks.SERVE, next="nox -s lock")
    python = envs.ensure(root, "serve", lockfile, envs.find_python(config.service.python))
    with tempfile.TemporaryDirectory() as scratch:
        folder, result = Path(scratch, "artifact"), Path(scratch, "result.json")
        shutil.copytree(root / "src", folder, ignore=shutil.ignore_patterns("__pycache__"))
        try:
            promoted = models.promoted(root, required=False)
        except PipelineError:
            promoted = []  # reported by the check of model.lock
        for name in [*(model.file for model in promoted), *([models.LOCK] if promoted else [])]:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, folder / name)
        built = {**BUILT, "model": promoted[0].digest if promoted else ""}
        (folder / "release.json").write_text(json.dumps(built), encoding="utf-8")
        variables = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(folder), "RELEASE_NUMBER": str(NUMBER)}
        try:
            done = subprocess.run(
                [str(python), "-P", "-B", str(script), str(result), *paths],
                cwd=folder,
                env={**environment.variables, **variables},
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            fix = "make its import and its answers faster"
            raise Problem(Kind.HANDLER_SLOW, file=file, seconds=SECONDS, next=fix) from error
        if not result.is_file():
            printed = done.stderr.strip()[-300:]
            raise Problem(Kind.HANDLER_EXITED, file=file, code=done.returncode, printed=printed, next=f"correct {file}")
        found = json.loads(result.read_text(encoding="utf-8"))
    if found["fault"]:
        fix = f"define {function} in {file}, and import only what is in {locks.SERVE}"
        raise Problem(Kind.HANDLER_FAULT, file=file, fault=found["fault"], next=fix)
    return dict(found["answers"])
