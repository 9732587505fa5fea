"""Pipeline definitions: checked when a pipeline is created, their references resolved when it runs.

https://aws-sagemaker-mlops.github.io/sagemaker-model-building-pipeline-definition-JSON-schema/
https://docs.aws.amazon.com/sagemaker/latest/dg/build-and-manage-steps.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from embedded_aws.sagemaker import accepted
from embedded_aws.sagemaker.refusal import Refusal
from embedded_aws.sagemaker.store import Record

VERSION = "2020-12-01"
# What a type of step calls, and the member that names what it makes.
CALLS = {
    "Processing": ("CreateProcessingJob", "ProcessingJobName"),
    "Training": ("CreateTrainingJob", "TrainingJobName"),
    "Tuning": ("CreateHyperParameterTuningJob", "HyperParameterTuningJobName"),
    "RegisterModel": ("CreateModelPackage", ""),
}
INNER = ("Training", "Processing", "RegisterModel", "Fail")  # what a condition may have, of what is emulated
TYPES = (*CALLS, "Condition", "Fail")
PARAMETERS = ("String", "Integer", "Float", "Boolean")
MEMBERS = ("Name", "Type", "Arguments", "DependsOn", "DisplayName", "Description")
COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "Equals": lambda left, right: bool(left == right),
    "NotEquals": lambda left, right: bool(left != right),
    "GreaterThan": lambda left, right: bool(left > right),
    "GreaterThanOrEqualTo": lambda left, right: bool(left >= right),
    "LessThan": lambda left, right: bool(left < right),
    "LessThanOrEqualTo": lambda left, right: bool(left <= right),
}
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
EXECUTION = ("PipelineExecutionId", "PipelineExecutionArn", "PipelineName", "PipelineArn")
PART = re.compile(r"\.(\w+)|\['([^']+)'\]|\[(\d+)\]")


def read(text: str) -> Record:
    """A definition, checked.

    Raises:
        Refusal: it is wrong, or has what this emulator doesn't execute.
    """
    try:
        found = json.loads(text)
        steps = found["Steps"]
    except (ValueError, KeyError, TypeError) as error:
        raise _wrong(f"it is no JSON object with Steps: {error!r}") from error
    if found.get("Version", VERSION) != VERSION:
        raise _wrong(f"its version is {found['Version']!r}, not {VERSION}")
    if unknown := set(found) - {"Version", "Metadata", "Parameters", "PipelineExperimentConfig", "Steps"}:
        raise _wrong(f"it has the unknown member {min(unknown)}")
    if not steps or not isinstance(steps, list):
        raise _wrong("it has no steps")
    everything = [*steps, *(inner for step in steps for inner in inside(step))]
    for step in everything:
        _check_step(step)
    names = [step["Name"] for step in everything]
    if len(names) != len(set(names)):
        raise _wrong("two steps have the same name")
    given = {entry["Name"] for entry in found.get("Parameters", [])}
    if odd := [e for e in found.get("Parameters", []) if e.get("Type", "String") not in PARAMETERS]:
        raise _wrong(f"the parameter {odd[0]['Name']} is of the unknown type {odd[0]['Type']}")
    top = {step["Name"] for step in steps}
    for step in everything:
        own = top | ({i["Name"] for outer in steps for i in inside(outer)} if step not in steps else set())
        if missing := {*step.get("DependsOn", []), *_used(step, given)} - own:
            raise _wrong(f"the step {step['Name']} needs {min(missing)}, which is no step that it can need")
    ordered(steps)
    for step in steps:
        ordered(inside(step, "IfSteps"))
        ordered(inside(step, "ElseSteps"))
    return dict(found)


def inside(step: Any, *branches: str) -> list[Record]:
    """The steps inside of a condition, of all its branches or of these; of another step none."""
    if not isinstance(step, dict) or step.get("Type") != "Condition" or not isinstance(step.get("Arguments"), dict):
        return []
    return [one for branch in branches or ("IfSteps", "ElseSteps") for one in step["Arguments"].get(branch) or []]


def ordered(steps: list[Record]) -> list[Record]:
    """The steps, each after those that it needs, else as they are given.

    Raises:
        Refusal: two need each other.
    """
    names, left = {step["Name"] for step in steps}, list(steps)
    done: list[Record] = []
    while left:
        ready = [s for s in left if not (needed(s) & names) - {d["Name"] for d in done}]
        if not ready:
            raise _wrong(f"the steps {', '.join(s['Name'] for s in left)} need each other")
        done.append(ready[0])
        left.remove(ready[0])
    return done


def needed(step: Record) -> set[str]:
    """The names of the steps that a step, or one inside of it, needs."""
    own = {*step.get("DependsOn", []), *(name for name in _references(step.get("Arguments")) if name)}
    return own - {one["Name"] for one in inside(step)}


def _check_step(step: Any) -> None:
    if not isinstance(step, dict) or not NAME.fullmatch(str(step.get("Name", ""))):
        raise _wrong("a step has no name of letters, digits, dashes and underscores")
    kind, name = step.get("Type"), step["Name"]
    if kind not in TYPES:
        raise Refusal(f"the embedded AWS does not emulate pipeline steps of the type {kind} ({name}, CreatePipeline)")
    if others := set(step) - set(MEMBERS):
        raise Refusal(f"the embedded AWS does not emulate {min(others)} of a pipeline's step ({name}, CreatePipeline)")
    arguments = step.get("Arguments")
    if not isinstance(arguments, dict):
        raise _wrong(f"the step {name} has no Arguments")
    if kind in CALLS:
        accepted.check(CALLS[kind][0], arguments)
    if kind == "Condition":
        _check_condition(name, arguments)
        for one in inside(step):
            if one.get("Type") not in INNER:
                raise _wrong(f"the condition {name} has a step of the type {one.get('Type')}, which it can't have")


def _check_condition(name: str, arguments: Record) -> None:
    conditions = arguments.get("Conditions") or []
    if not conditions:
        raise _wrong(f"the condition {name} compares nothing")
    for one in conditions:
        if one.get("Type") not in COMPARED:
            raise Refusal(
                f"the embedded AWS does not emulate conditions of the type {one.get('Type')} ({name}, CreatePipeline)"
            )
        if "LeftValue" not in one or "RightValue" not in one:
            raise _wrong(f"the condition {name} compares nothing")


def _used(step: Record, given: set[str]) -> Iterator[str]:
    """The steps that the references of a step name; its references to parameters and the execution are checked."""
    nested = [id(one) for one in inside(step)]
    for path in _paths(step.get("Arguments"), nested):
        place, _, rest = path.partition(".")
        name = rest.partition(".")[0].partition("[")[0]
        if place == "Steps":
            yield name
        elif place not in ("Parameters", "Execution") or name not in (given if place == "Parameters" else EXECUTION):
            raise _wrong(f"the step {step['Name']} refers to {path}, which does not exist")


def _references(value: Any) -> Iterator[str]:
    for path in _paths(value, []):
        if path.startswith("Steps."):
            yield path.split(".")[1].partition("[")[0]


def _paths(value: Any, without: list[int]) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key.startswith("Std:") and key != "Std:Join":
                raise Refusal(f"the embedded AWS does not emulate {key} in a pipeline (CreatePipeline)")
            if key == "Get" and len(value) == 1 and isinstance(inner, str):
                yield inner
            else:
                yield from _paths(inner, without)
    for inner in value if isinstance(value, list) else ():
        if id(inner) not in without:
            yield from _paths(inner, without)


def resolved(value: Any, known: dict[str, Any]) -> Any:
    """A value with its references replaced.

    Args:
        known: ``Steps``, ``Parameters`` and ``Execution``, each with its values by name.

    Raises:
        KeyError: a step that ended has no such property.
    """
    if isinstance(value, list):
        return [resolved(inner, known) for inner in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"Get"} and isinstance(value["Get"], str):
        return _got(value["Get"], known)
    if set(value) == {"Std:Join"}:
        join = value["Std:Join"]
        return str(join.get("On", "")).join(str(resolved(one, known)) for one in join["Values"])
    return {key: resolved(inner, known) for key, inner in value.items()}


def _got(path: str, known: dict[str, Any]) -> Any:
    """What a path leads to: members by their name, entries of a list by the value of a member that names them, or by number."""
    found: Any = known
    for member, named, number in PART.findall(f".{path}"):
        if number:
            found = found[int(number)] if isinstance(found, list) and int(number) < len(found) else None
        elif isinstance(found, list):
            found = next((e for e in found if any(k.endswith("Name") and v == named for k, v in e.items())), None)
        else:
            found = found.get(member or named) if isinstance(found, dict) else None
        if found is None:
            raise KeyError(path)
    return found


def _wrong(why: str) -> Refusal:
    return Refusal(f"Unable to parse pipeline definition: {why}.")
