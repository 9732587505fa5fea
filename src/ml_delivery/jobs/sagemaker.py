"""What jobs of SageMaker are: their kinds, and the requests that create them.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateTrainingJob.html
https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateProcessingJob.html
https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateHyperParameterTuningJob.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ml_delivery.cloud import Cloud
    from ml_delivery.jobs.steps import Inputs
    from ml_delivery.records import Context

__all__ = [
    "EXECUTION",
    "NAME",
    "PROCESSING",
    "TRAINING",
    "TRANSFORM",
    "TUNING",
    "Kind",
    "channel",
    "processing",
    "training",
    "tuning",
]

NAME = "sagemaker"
DISK = 30  # gigabytes of an instance


@dataclass(frozen=True)
class Kind:
    """A kind of job: how its operations, members and log group are named; a tuning job has no log, its trials have."""

    operation: str
    member: str
    group: str
    key: str = ""  # the member that identifies one, where that is not its name

    @property
    def identity(self) -> str:
        """The member of a request that says which one is meant."""
        return self.key or f"{self.member}Name"

    def describe(self, cloud: Cloud, name: str) -> dict[str, Any]:
        """A job as it is now."""
        describe = getattr(cloud.client("sagemaker"), f"describe_{self.operation}")
        found: dict[str, Any] = describe(**{self.identity: name})
        return found

    def stop_command(self, name: str, region: str) -> str:
        """The command of AWS's own tool that stops a job."""
        what = self.operation.replace("_", "-")
        return f"aws sagemaker stop-{what} --{what}-{'arn' if self.key else 'name'} {name} --region {region}"


TRAINING = Kind("training_job", "TrainingJob", "/aws/sagemaker/TrainingJobs")
PROCESSING = Kind("processing_job", "ProcessingJob", "/aws/sagemaker/ProcessingJobs")
TUNING = Kind("hyper_parameter_tuning_job", "HyperParameterTuningJob", "")
TRANSFORM = Kind("transform_job", "TransformJob", "/aws/sagemaker/TransformJobs")
EXECUTION = Kind("pipeline_execution", "PipelineExecution", "", "PipelineExecutionArn")


def training(
    context: Context, given: Inputs, role: str, image: str, hosts: int, datasets: tuple[str, ...], checkpoints: str
) -> dict[str, Any]:
    """The request for a training job.

    Args:
        context: the environment.
        given: its inputs.
        role, image: what it runs as, and in.
        hosts: the number of instances.
        datasets: their digests.
        checkpoints: ``s3://…`` where an interrupted job's state is kept; empty for none.
    """
    jobs, bucket = context.config.jobs, context.foundation.bucket
    limit = {"MaxRuntimeInSeconds": jobs.minutes * 60}
    request: dict[str, Any] = {
        "TrainingJobName": given.name,
        "RoleArn": role,
        "AlgorithmSpecification": {
            "TrainingImage": image,
            "TrainingInputMode": "File",
            "ContainerEntrypoint": [_python(context), f"/opt/ml/input/data/source/{given.entry}", "train"],
            "MetricDefinitions": [{"Name": name, "Regex": regex} for name, regex in jobs.metrics.items()],
        },
        "InputDataConfig": _channels(given, bucket, datasets),
        "OutputDataConfig": {"S3OutputPath": given.prefix},
        "ResourceConfig": {"InstanceType": jobs.instance, "InstanceCount": hosts, "VolumeSizeInGB": DISK},
        "StoppingCondition": limit,
        "EnableManagedSpotTraining": jobs.spot,
    }
    if jobs.spot:
        limit["MaxWaitTimeInSeconds"] = 2 * jobs.minutes * 60  # as long again, waiting for capacity
    if checkpoints:
        request["CheckpointConfig"] = {"S3Uri": checkpoints}
    return request


def processing(
    context: Context,
    given: Inputs,
    role: str,
    image: str,
    program: str = "prepare",
    out: str = "out",
    reads: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The request for a processing job that leaves what it wrote below ``given.prefix``/``out``.

    Args:
        context: the environment.
        given: its inputs.
        role, image: what it runs as, and in.
        program: what it does: ``prepare`` runs the notebook, ``judge`` the gate.
        out: the name of its output.
        reads: more of its inputs, by their names: addresses, or references to a pipeline's steps.
    """
    jobs = context.config.jobs

    def source(name: str, address: Any) -> dict[str, Any]:
        place = {
            "S3Uri": address,
            "LocalPath": f"/opt/ml/processing/{name}",
            "S3DataType": "S3Prefix",
            "S3InputMode": "File",
        }
        return {"InputName": name, "S3Input": place}

    left = {"S3Uri": f"{given.prefix}/{out}", "LocalPath": f"/opt/ml/processing/{out}", "S3UploadMode": "EndOfJob"}
    inputs = {"source": given.archive, "job": given.job, **(reads or {})}
    cluster = {"InstanceCount": 1, "InstanceType": jobs.instance, "VolumeSizeInGB": DISK}
    return {
        "ProcessingJobName": given.name,
        "RoleArn": role,
        "AppSpecification": {
            "ImageUri": image,
            "ContainerEntrypoint": [_python(context), f"/opt/ml/processing/source/{given.entry}", program],
        },
        "ProcessingResources": {"ClusterConfig": cluster},
        "StoppingCondition": {"MaxRuntimeInSeconds": min(jobs.minutes * 60, 432_000)},
        "ProcessingInputs": [source(name, address) for name, address in inputs.items()],
        "ProcessingOutputConfig": {"Outputs": [{"OutputName": out, "S3Output": left}]},
    }


def tuning(
    context: Context,
    given: Inputs,
    role: str,
    image: str,
    spaces: Mapping[str, Mapping[str, Mapping[str, Any]]],
    datasets: tuple[str, ...],
    seconds: int,
    warm: str,
) -> dict[str, Any]:
    """The request for a tuning job with a definition for each kind of model.

    Its definitions can't name a program, so the image's own one runs: see ``images``. Early stopping and a warm start are for
    one kind only: https://docs.aws.amazon.com/sagemaker/latest/dg/multiple-algorithm-hpo.html

    Args:
        context: the environment.
        given: the inputs of each trial.
        role, image: what trials run as, and in.
        spaces: ranges by name, by kind of model.
        datasets: their digests.
        seconds: after which it is stopped.
        warm: the tuning job whose trials it starts with; empty for none.
    """
    jobs, tune = context.config.jobs, context.config.tune
    bucket = context.foundation.bucket
    objective = {"Type": tune.goal.capitalize(), "MetricName": "score"}
    limit = {"MaxRuntimeInSeconds": min(jobs.minutes * 60, seconds)}
    if jobs.spot:
        limit["MaxWaitTimeInSeconds"] = 2 * limit["MaxRuntimeInSeconds"]
    definitions = [
        {
            "DefinitionName": kind,
            "TuningObjective": objective,
            "HyperParameterRanges": _ranges(space),
            "StaticHyperParameters": {"kind": kind},
            "AlgorithmSpecification": {
                "TrainingImage": image,
                "TrainingInputMode": "File",
                "MetricDefinitions": [{"Name": "score", "Regex": tune.metric}],
            },
            "RoleArn": role,
            "InputDataConfig": _channels(given, bucket, datasets),
            "OutputDataConfig": {"S3OutputPath": given.prefix},
            "ResourceConfig": {"InstanceType": jobs.instance, "InstanceCount": 1, "VolumeSizeInGB": DISK},
            "StoppingCondition": limit,
            "EnableManagedSpotTraining": jobs.spot,
        }
        for kind, space in spaces.items()
    ]
    limits = {
        "MaxNumberOfTrainingJobs": tune.trials,
        "MaxParallelTrainingJobs": min(tune.parallel, tune.trials),
        "MaxRuntimeInSeconds": seconds,
    }
    config: dict[str, Any] = {"Strategy": tune.strategy.capitalize(), "ResourceLimits": limits, "RandomSeed": tune.seed}
    request = {"HyperParameterTuningJobName": given.name, "HyperParameterTuningJobConfig": config}
    if len(definitions) == 1:
        config["TrainingJobEarlyStoppingType"] = "Auto"
    if warm:
        parents = [{"HyperParameterTuningJobName": warm}]
        request["WarmStartConfig"] = {
            "ParentHyperParameterTuningJobs": parents,
            "WarmStartType": "IdenticalDataAndAlgorithm",
        }
    return {**request, "TrainingJobDefinitions": definitions}


def _ranges(space: Mapping[str, Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for name, given in space.items():
        if "choices" in given:
            kind, one = "Categorical", {"Name": name, "Values": [str(choice) for choice in given["choices"]]}
        else:
            scale = "Logarithmic" if given.get("log") else "Linear"
            kind = "Integer" if given.get("whole") else "Continuous"
            one = {"Name": name, "MinValue": str(given["low"]), "MaxValue": str(given["high"]), "ScalingType": scale}
        found.setdefault(f"{kind}ParameterRanges", []).append(one)
    return found


def _channels(given: Inputs, bucket: str, datasets: tuple[str, ...]) -> list[dict[str, Any]]:
    return [
        channel("source", given.archive),
        channel("job", given.job),
        *(channel(digest, f"s3://{bucket}/data/{digest}/") for digest in datasets),
    ]


def _python(context: Context) -> str:
    return f"python{context.config.service.python}"


def channel(name: str, address: str) -> dict[str, Any]:
    """A channel of a training: what is below ``address``, ``s3://…``, whole on every host."""
    source = {"S3DataType": "S3Prefix", "S3Uri": address, "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}}
