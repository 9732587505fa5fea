"""Pipelines: created, updated, deleted; their executions started, described and stopped.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreatePipeline.html
https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_StartPipelineExecution.html
"""

from __future__ import annotations

import contextvars
import secrets
import threading
from collections.abc import Callable
from typing import Any

from embedded_aws.sagemaker import definitions, roles, store, tags
from embedded_aws.sagemaker.executions import Execution
from embedded_aws.sagemaker.refusal import Refusal
from embedded_aws.sagemaker.store import Record

# Values of parameters are given as strings.
TYPES: dict[str, Callable[[str], Any]] = {
    "String": str,
    "Integer": int,
    "Float": float,
    "Boolean": lambda text: text.lower() == "true",
}
_running: dict[str, Execution] = {}  # by ARN


def create(request: Record) -> Record:
    """Create one; its definition is checked."""
    name, arn = request["PipelineName"], store.arn("pipeline", request["PipelineName"])
    if name in store.table("pipelines"):
        raise Refusal(f"Pipeline names must be unique within an AWS account and region. {arn} already exists.")
    _check(request, required=True)
    now = store.now()
    kept = {k: v for k, v in request.items() if k not in ("Tags", "ClientRequestToken")}
    store.table("pipelines")[name] = {
        "PipelineDisplayName": name,
        **kept,
        "PipelineArn": arn,
        "PipelineStatus": "Active",
        "CreationTime": now,
        "LastModifiedTime": now,
        "CreatedBy": {},
        "LastModifiedBy": {},
    }
    tags.put(arn, request.get("Tags", []))
    return {"PipelineArn": arn}


def _check(request: Record, *, required: bool) -> None:
    if required and "PipelineDefinition" not in request:
        raise Refusal("PipelineDefinition is required.")
    if "PipelineDefinition" in request:
        definitions.read(request["PipelineDefinition"])
    if "RoleArn" in request:
        roles.trusted(request["RoleArn"])


def _get(name: str) -> Record:
    short = name.rpartition("/")[2]
    found: Record | None = store.table("pipelines").get(short)
    if found is None:
        raise Refusal(f"Pipeline '{store.arn('pipeline', short)}' does not exist.", "ResourceNotFound")
    return found


def update(request: Record) -> Record:
    """Change it; executions that run keep the definition that they began with."""
    record = _get(request["PipelineName"])
    _check(request, required=False)
    record |= {**request, "LastModifiedTime": store.now(), "LastModifiedBy": {}}
    return {"PipelineArn": record["PipelineArn"]}


def describe(request: Record) -> Record:
    """Answer with the record."""
    return _get(request["PipelineName"])


def delete(request: Record) -> Record:
    """Delete it, with the records of its executions; not while one runs."""
    record = _get(request["PipelineName"])
    own = [e for e in store.table("executions").values() if e["PipelineArn"] == record["PipelineArn"]]
    if any(e["PipelineExecutionStatus"] in ("Executing", "Stopping") for e in own):
        raise Refusal(f"Pipeline {record['PipelineArn']} has an execution that runs.", "ConflictException")
    for execution in own:
        del store.table("executions")[execution["PipelineExecutionArn"]]
    tags.drop(record["PipelineArn"])
    del store.table("pipelines")[record["PipelineName"]]
    return {"PipelineArn": record["PipelineArn"]}


def start(request: Record) -> Record:
    """Start an execution."""
    pipeline = _get(request["PipelineName"])
    definition = definitions.read(pipeline["PipelineDefinition"])
    values = {entry["Name"]: entry.get("DefaultValue") for entry in definition.get("Parameters", [])}
    kinds = {entry["Name"]: entry.get("Type", "String") for entry in definition.get("Parameters", [])}
    for entry in request.get("PipelineParameters", []):
        if entry["Name"] not in values:
            raise Refusal(f"The pipeline has no parameter {entry['Name']}.")
        try:
            values[entry["Name"]] = TYPES[kinds[entry["Name"]]](entry["Value"])
        except ValueError as error:
            raise Refusal(f"The parameter {entry['Name']} is no {kinds[entry['Name']]}: {error}") from error
    if missing := [name for name, value in values.items() if value is None]:
        raise Refusal(f"The parameter {missing[0]} has no default value, and none is given.")
    now, arn = store.now(), f"{pipeline['PipelineArn']}/execution/{secrets.token_hex(6)}"
    record = {
        **{k: v for k, v in request.items() if k.startswith("PipelineExecution")},
        "PipelineArn": pipeline["PipelineArn"],
        "PipelineExecutionArn": arn,
        "PipelineExecutionStatus": "Executing",
        "CreationTime": now,
        "LastModifiedTime": now,
        "CreatedBy": {},
        "LastModifiedBy": {},
        "_role": pipeline["RoleArn"],
        "_steps": [],
    }
    pipeline["LastRunTime"] = now
    store.table("executions")[arn] = record
    execution = _running[arn] = Execution(record, definition, values)
    threading.Thread(target=contextvars.copy_context().run, args=(_run, execution), daemon=True).start()
    return {"PipelineExecutionArn": arn}


def _run(execution: Execution) -> None:
    execution.run()
    _running.pop(execution.record["PipelineExecutionArn"], None)


def _execution(arn: str) -> Record:
    found: Record | None = store.table("executions").get(arn)
    if found is None:
        raise Refusal(f"Pipeline execution with ARN {arn} does not exist.", "ResourceNotFound")
    return found


def describe_execution(request: Record) -> Record:
    """Answer with the record."""
    return _execution(request["PipelineExecutionArn"])


def stop(request: Record) -> Record:
    """Stop it, and the job of the step that it runs."""
    record = _execution(request["PipelineExecutionArn"])
    if record["PipelineExecutionStatus"] != "Executing":
        status = record["PipelineExecutionStatus"]
        raise Refusal(f"Pipeline execution with ARN {record['PipelineExecutionArn']} has the status {status}.")
    record |= {"PipelineExecutionStatus": "Stopping", "LastModifiedTime": store.now()}
    if running := _running.get(record["PipelineExecutionArn"]):
        running.stop()
    return {"PipelineExecutionArn": record["PipelineExecutionArn"]}


def find_steps(request: Record) -> Record:
    """The steps of an execution that have begun."""
    steps = _execution(request.get("PipelineExecutionArn", ""))["_steps"]
    steps = steps if request.get("SortOrder") == "Ascending" else steps[::-1]
    return store.page("ListPipelineExecutionSteps", "PipelineExecutionSteps", steps, request, most=20)


def abandon() -> None:
    """Fail the executions that ran when the emulator ended."""
    store.abandon("executions", "PipelineExecutionStatus", ("Executing", "Stopping"), "LastModifiedTime")


OPERATIONS = {
    "CreatePipeline": create,
    "UpdatePipeline": update,
    "DescribePipeline": describe,
    "DeletePipeline": delete,
    "StartPipelineExecution": start,
    "StopPipelineExecution": stop,
    "DescribePipelineExecution": describe_execution,
    "ListPipelineExecutionSteps": find_steps,
}
