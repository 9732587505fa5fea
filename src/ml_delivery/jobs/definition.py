"""The SageMaker Pipelines definition of prepare, train, evaluate, and register or refuse; made of the jobs' own requests.

It keeps to the public JSON schema of definitions, whose training steps can't name a program, so that the image's own one runs, and
whose conditions read no files: what the gate decided is the message that its job exits with.

https://aws-sagemaker-mlops.github.io/sagemaker-model-building-pipeline-definition-JSON-schema/
https://docs.aws.amazon.com/sagemaker/latest/dg/build-and-manage-properties.html
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ml_delivery.jobs.steps import Inputs

__all__ = ["DATA", "EVALUATION", "MODEL", "PREPARED", "REFUSED", "VERSION", "definition"]

VERSION = "2020-12-01"
PREPARED, EVALUATION, REFUSED = "prepared", "evaluation", "refused"
# In lower case, since ARNs are, by which the log of a step's job is found.
PREPARE, TUNE, TRAIN, EVALUATE, GATE, REGISTER, FAIL = (
    "prepare",
    "tune",
    "train",
    "evaluate",
    "gate",
    "register",
    "refused",
)
DATA = {"Get": f"Steps.{PREPARE}.ProcessingOutputConfig.Outputs['out'].S3Output.S3Uri"}
MODEL = {"Get": f"Steps.{TRAIN}.ModelArtifacts.S3ModelArtifacts"}
VERDICT = {"Get": f"Steps.{EVALUATE}.ExitMessage"}
TYPES = ["application/json"]


def definition(
    given: Inputs,
    prepare: Mapping[str, Any] | None,
    tune: Mapping[str, Any] | None,
    train: Mapping[str, Any],
    evaluate: Mapping[str, Any],
    package: Mapping[str, Any],
) -> dict[str, Any]:
    """The definition.

    Args:
        given: the inputs of all jobs.
        prepare: the request for the job that makes the dataset, which training then reads as ``PREPARED``; or None.
        tune: for the tuning whose trials the training begins with; or None.
        train: for the job that trains.
        evaluate: for the job that runs the gate.
        package: members of the request for the model package: its group, what it was made of, and the image of its container.
    """
    steps = []
    if prepare:
        steps.append(_step(PREPARE, "Processing", _unnamed(prepare, "ProcessingJobName")))
    training = _unnamed(train, "TrainingJobName")
    del training["AlgorithmSpecification"]["ContainerEntrypoint"]
    _read_prepared(training)
    if tune:
        tuning = _unnamed(tune, "HyperParameterTuningJobName")
        for name in ("RandomSeed", "MaxRuntimeInSeconds"):  # the public schema has neither
            tuning["HyperParameterTuningJobConfig"].pop(name, None)
            tuning["HyperParameterTuningJobConfig"]["ResourceLimits"].pop(name, None)
        for trial in tuning["TrainingJobDefinitions"]:
            _read_prepared(trial)
        steps.append(_step(TUNE, "Tuning", tuning))
    after = {"DependsOn": [TUNE]} if tune else {}
    steps.append({**_step(TRAIN, "Training", training), **after})
    steps.append(_step(EVALUATE, "Processing", _unnamed(evaluate, "ProcessingJobName")))
    register = _step(REGISTER, "RegisterModel", _package(given, package, prepared=bool(prepare)))
    why = f"the gate refused; the table and the reason are in {given.prefix}/{EVALUATION}/evaluation.json"
    refused = {"Type": "Equals", "LeftValue": VERDICT, "RightValue": REFUSED}
    arguments = {
        "Conditions": [refused],
        "IfSteps": [_step(FAIL, "Fail", {"ErrorMessage": why})],
        "ElseSteps": [register],
    }
    steps.append(_step(GATE, "Condition", arguments))
    return {"Version": VERSION, "Metadata": {}, "Parameters": [], "Steps": steps}


def _read_prepared(training: dict[str, Any]) -> None:
    """Let a training read what the notebook's step wrote."""
    for channel in training["InputDataConfig"]:
        if channel["ChannelName"] == PREPARED:
            channel["DataSource"]["S3DataSource"]["S3Uri"] = DATA


def _package(given: Inputs, package: Mapping[str, Any], *, prepared: bool) -> dict[str, Any]:
    """The model package of what the gate let through: it waits for approval, which follows ``model.lock``."""
    facts = dict(package["facts"])
    if prepared:
        facts["data"] = {"Get": f"Steps.{PREPARE}.ExitMessage"}
    place = f"{given.prefix}/{EVALUATION}"
    return {
        "ModelPackageGroupName": package["group"],
        "ModelPackageDescription": VERDICT,
        "ModelApprovalStatus": "PendingManualApproval",
        "MetadataProperties": package["source"],
        "CustomerMetadataProperties": facts,
        "ModelMetrics": {
            "ModelQuality": {"Statistics": {"ContentType": TYPES[0], "S3Uri": f"{place}/evaluation.json"}}
        },
        "InferenceSpecification": {
            "Containers": [{"Image": package["image"], "ModelDataUrl": f"{place}/model.tar.gz"}],
            "SupportedContentTypes": TYPES,
            "SupportedResponseMIMETypes": TYPES,
        },
    }


def _step(name: str, kind: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {"Name": name, "Type": kind, "Arguments": dict(arguments)}


def _unnamed(request: Mapping[str, Any], member: str) -> dict[str, Any]:
    """A request without its name, which a pipeline gives each of its jobs."""
    return {name: copy.deepcopy(value) for name, value in request.items() if name != member}
