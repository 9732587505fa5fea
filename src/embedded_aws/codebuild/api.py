"""The operations: a build runs its buildspec in a clean clone, as its project's role, and its result is that of its commands.

What CodeBuild does: https://docs.aws.amazon.com/codebuild/latest/userguide/build-spec-ref.html, version 0.2, and
https://docs.aws.amazon.com/codebuild/latest/userguide/view-build-details-phases.html. ministack's builds succeed at once
and run nothing.

A project's source is on GitHub. Here it is cloned from the checkout that ``sources.json`` names, a file that only the
emulator's owner can write: no request can choose a folder.
"""

from __future__ import annotations

import atexit
import contextvars
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from embedded_aws.codebuild.build import Build

# https://docs.aws.amazon.com/codebuild/latest/APIReference/API_StartBuild.html
TOKEN_SECONDS = 300.0


def patch(home: Path) -> None:
    """Run builds here; ministack stores their records."""
    from ministack.services import codebuild

    running: dict[str, Build] = {}
    started: dict[str, tuple[float, str]] = {}  # by idempotency token: when, and which build
    make_record = codebuild._make_build_record

    def start(data: dict[str, Any]) -> Any:
        project = codebuild._projects.get(data.get("projectName", ""))
        if project is None:
            message = f"Project cannot be found: {data.get('projectName', '')}"
            return codebuild.error_response_json("ResourceNotFoundException", message, 400)
        token = data.get("idempotencyToken", "")
        if token in started and time.monotonic() - started[token][0] < TOKEN_SECONDS:
            return codebuild.json_response({"build": shown(codebuild._builds[started[token][1]])})
        record = make_record(project, codebuild._build_id(project["name"]), data.get("sourceVersion"))
        if token:
            started[token] = time.monotonic(), record["id"]
        record |= overridden(record, data)
        codebuild._builds[record["id"]] = record
        build = running[record["id"]] = Build(record, project, home)
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(_run, build), daemon=True, name=record["id"]).start()
        return codebuild.json_response({"build": shown(record)})

    def get(data: dict[str, Any]) -> Any:
        ids = data.get("ids", [])
        found = [shown(codebuild._builds[i]) for i in ids if i in codebuild._builds]
        missing = [i for i in ids if i not in codebuild._builds]
        return codebuild.json_response({"builds": found, "buildsNotFound": missing})

    def stop(data: dict[str, Any]) -> Any:
        record = codebuild._builds.get(data.get("id", ""))
        if record is None:
            message = f"Build not found: {data.get('id', '')}"
            return codebuild.error_response_json("ResourceNotFoundException", message, 400)
        if record["buildStatus"] == "IN_PROGRESS":
            running[record["id"]].end("STOPPED")
        return codebuild.json_response({"build": shown(record)})

    def end_all() -> None:
        for build in running.values():
            build.end("STOPPED")

    operations: dict[str, Callable[[dict[str, Any]], Any]] = {
        "_start_build": start,
        "_batch_get_builds": get,
        "_stop_build": stop,
    }
    for name, operation in operations.items():
        setattr(codebuild, name, operation)
    atexit.register(end_all)


def _run(build: Build) -> None:
    """Run a build, then store its metrics.

    https://docs.aws.amazon.com/codebuild/latest/userguide/cloudwatch_metrics-codebuild.html
    """
    from ministack.services import cloudwatch

    build.run()
    record = build.record
    ended = "SucceededBuilds" if record["buildStatus"] == "SUCCEEDED" else "FailedBuilds"
    seconds = record["endTime"] - record["startTime"]
    for name, value, unit in (("Builds", 1, "Count"), (ended, 1, "Count"), ("Duration", seconds, "Seconds")):
        for dimensions in ({}, {"ProjectName": record["projectName"]}):
            cloudwatch.record_metric("AWS/CodeBuild", name, value, unit, dimensions)


def overridden(record: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    """The fields of a started build, with the request's overrides."""
    environment = dict(record["environment"])
    variables = {v["name"]: v for v in environment.get("environmentVariables", [])}
    variables |= {v["name"]: v for v in data.get("environmentVariablesOverride", [])}
    environment["environmentVariables"] = list(variables.values())
    environment |= _replaced(data, image="image", environmentType="type", privilegedMode="privilegedMode")
    now = time.time()
    return {
        "source": {**record["source"], **_replaced(data, buildspec="buildspec", sourceLocation="location")},
        "startTime": now,
        "endTime": None,
        "buildStatus": "IN_PROGRESS",
        "buildComplete": False,
        "currentPhase": "SUBMITTED",
        "environment": environment,
        "timeoutInMinutes": data.get("timeoutInMinutesOverride", record["timeoutInMinutes"]),
        "phases": [
            {
                "phaseType": "SUBMITTED",
                "phaseStatus": "SUCCEEDED",
                "startTime": now,
                "endTime": now,
                "durationInSeconds": 0,
            }
        ],
    }


def _replaced(data: dict[str, Any], **fields: str) -> dict[str, Any]:
    """What a request replaces: each of its ``<name>Override``, under the field's name."""
    return {field: data[f"{name}Override"] for name, field in fields.items() if f"{name}Override" in data}


def shown(record: dict[str, Any]) -> dict[str, Any]:
    """The record without fields that have no value yet."""
    return {name: value for name, value in record.items() if value is not None}
