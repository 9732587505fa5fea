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
from ml_delivery.account.doctor import Finding
from ml_delivery.dependencies import envs, locks
from ml_delivery.errors import PipelineError
from ml_delivery.monitoring import definition
from ml_delivery.monitoring.declared import FILE as METRICS
from ml_delivery.observed import Place

if TYPE_CHECKING:
    from collections.abc import Callable

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
    findings = [_look(stage, partial(_command, config, stage)) for stage in commands.STAGES]
    findings += [_look("model.lock", partial(_model, config)), _look(METRICS, partial(_metrics, config, environment))]
    paths = ["/version", *environment.probe.paths]
    script = target.load(environment.target, config).probe
    if script is None:
        return findings
    try:
        said = _ask(config, environment, script, paths)
    except PipelineError as error:
        return [*findings, Finding("handler", False, error.message, error.next)]
    if said["fault"]:
        fix = "define handler(event, context) in src/service/handler.py, and import only what is in requirements/serve.txt"
        return [*findings, Finding("handler", False, f"service.handler.handler: {said['fault']}", fix)]
    findings.append(Finding("handler", True, "service.handler.handler can be imported and answers"))
    findings.append(_look("/version", partial(_version, config, *said["answers"]["/version"])))
    for path in environment.probe.paths:
        findings.append(_look(path, partial(_healthy, path, *said["answers"][path])))
    return findings


def _look(check: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(check, True, look())
    except PipelineError as error:
        return Finding(check, False, error.message, error.next)


def _command(config: Config, stage: str) -> str:
    words = getattr(config, stage).command
    if not words:
        return "no command, so the service does not have this stage"
    if words[0] != "python":
        if not shutil.which(words[0], path=f"{config.root}{os.pathsep}{os.environ.get('PATH', '')}"):
            raise PipelineError(f"[{stage}] command: there is no {words[0]}", next="correct it in pipeline.toml")
        return " ".join(words)
    if not (config.root / commands.LOCK).is_file():
        raise PipelineError(
            f"[{stage}] command needs {commands.LOCK}",
            next=f'add "{commands.LOCK}" to [tool.ml-delivery.locks] in pyproject.toml, then nox -s lock',
        )
    if words[1:2] == ("-m",) and words[2:3] and words[2].startswith("service."):
        place = f"src/{words[2].replace('.', '/')}"
        if not any((config.root / file).is_file() for file in (f"{place}.py", f"{place}/__main__.py")):
            raise PipelineError(
                f"[{stage}] command runs {words[2]}, but there is no {place}.py",
                next=f"write it, or correct [{stage}] command in pipeline.toml",
            )
    return " ".join(words)


def _model(config: Config) -> str:
    found = models.promoted(config.root, required=bool(config.promote.command))
    return ", ".join(f"{model.role} {model.file}" for model in found) or "none, so the service has no model"


def _metrics(config: Config, environment: Environment) -> str:
    found = definition.observed(Place(config, environment, environment.account))
    if not (config.root / METRICS).is_file():
        return "none, so the service has only the generic panels and alarms"
    return f"{len(found.panels)} panels and {len(found.alarms)} alarms with the generic ones"


def _version(config: Config, status: Any, body: str) -> str:
    _healthy("/version", status, body)
    promoted = models.promoted(config.root, required=False)
    wanted = {"release": NUMBER, **BUILT, "model": promoted[0].digest if promoted else ""}
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise PipelineError(
            f"/version answers {body[:60]!r}, which is not a JSON object",
            next="answer ml_service.release.read().document()",
        )
    wrong = [
        f"{name} is missing" if name not in said else f"{name} is {said[name]!r}, it must be {value!r}"
        for name, value in wanted.items()
        if said.get(name) != value
    ]
    if wrong:
        fix = "answer ml_service.release.read().document(): release.json's fields, and RELEASE_NUMBER as a number"
        raise PipelineError(f"/version: {'; '.join(wrong)}", next=fix)
    return "names the release: " + ", ".join(wanted)


def _healthy(path: str, status: Any, body: str) -> str:
    if status != 200:
        fix = (
            "answer it with 200"
            if path == "/version"
            else "answer it with 200, or change [probe] paths in pipeline.toml"
        )
        raise PipelineError(f"{path} answers {status}, not 200: {body[:100]}", next=fix)
    return "answers 200"


def _ask(config: Config, environment: Environment, script: Path, paths: list[str]) -> dict[str, Any]:
    """The handler's answers, from a folder with the layout of the artifact.

    Raises:
        PipelineError: the handler or the lockfile is missing, the virtual environment can't be created, or it timed out.
    """
    root, lock = config.root, config.root / locks.SERVE
    if not (root / "src/service/handler.py").is_file():
        raise PipelineError(
            "there is no src/service/handler.py", next="write it, with a function handler(event, context)"
        )
    if not lock.is_file():
        raise PipelineError(f"there is no {locks.SERVE}", next="nox -s lock")
    python = envs.ensure(root, "serve", lock, envs.find_python(config.service.python))
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
            raise PipelineError(
                f"service.handler did not answer within {SECONDS} s", next="make its import and its answers faster"
            ) from error
        if not result.is_file():
            raise PipelineError(
                f"the process that imported service.handler exited with {done.returncode}: {done.stderr.strip()[-300:]}",
                next="correct src/service/handler.py",
            )
        found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        return found
