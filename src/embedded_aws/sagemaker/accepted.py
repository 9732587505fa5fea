"""Which members of a request this emulator obeys; a request with any other is refused, rather than answered in part.

Some have no effect here, as there is no hardware: instance types, sizes of volumes, encryption keys. Where Debugger's hook would
save tensors, which SageMaker's SDK sends with each job, has none in a container without that hook, here as there.
"""

from __future__ import annotations

from typing import Any

from embedded_aws.sagemaker import shapes
from embedded_aws.sagemaker.refusal import Refusal

TAGS = "Tags.Key Tags.Value"
LISTS = "MaxResults NextToken NameContains SortBy SortOrder"
TIMES = "CreationTimeAfter CreationTimeBefore LastModifiedTimeAfter LastModifiedTimeBefore"
CONTAINER = "Image ModelDataUrl Environment ModelPackageName Mode ContainerHostname"
VARIANT = (
    "VariantName ModelName InitialInstanceCount InstanceType InitialVariantWeight VolumeSizeInGB "
    "ModelDataDownloadTimeoutInSeconds ContainerStartupHealthCheckTimeoutInSeconds"
)
S3_SOURCE = "S3DataSource.S3DataType S3DataSource.S3Uri S3DataSource.S3DataDistributionType"
RESOURCES = "InstanceType InstanceCount VolumeSizeInGB VolumeKmsKeyId"


def _under(place: str, names: str) -> str:
    return " ".join(f"{place}.{name}" for name in names.split())


CHANNEL = f"ChannelName ContentType CompressionType RecordWrapperType InputMode {_under('DataSource', S3_SOURCE)}"
ALGORITHM = (
    "TrainingImage TrainingInputMode ContainerEntrypoint ContainerArguments MetricDefinitions.Name MetricDefinitions.Regex "
    "EnableSageMakerMetricsTimeSeries"
)
OUTPUT = "S3OutputPath KmsKeyId CompressionType"
STOPPING = "MaxRuntimeInSeconds MaxWaitTimeInSeconds"
CHECKPOINT = "S3Uri LocalPath"
TRAINING = " ".join(
    (
        "RoleArn EnableNetworkIsolation EnableInterContainerTrafficEncryption EnableManagedSpotTraining Environment",
        "ProfilerConfig.DisableProfiler DebugHookConfig.S3OutputPath",
        _under("InputDataConfig", CHANNEL),
        _under("OutputDataConfig", OUTPUT),
        _under("ResourceConfig", RESOURCES),
        _under("StoppingCondition", STOPPING),
        _under("CheckpointConfig", CHECKPOINT),
    )
)
RANGES = " ".join(
    (
        _under("IntegerParameterRanges", "Name MinValue MaxValue ScalingType"),
        _under("ContinuousParameterRanges", "Name MinValue MaxValue ScalingType"),
        _under("CategoricalParameterRanges", "Name Values"),
    )
)
TUNED = " ".join(
    (
        TRAINING,
        "DefinitionName StaticHyperParameters TuningObjective.Type TuningObjective.MetricName",
        _under("HyperParameterRanges", RANGES),
        _under("AlgorithmSpecification", ALGORITHM),
    )
)
PROCESSING_INPUT = (
    "AppManaged InputName S3Input.S3Uri S3Input.LocalPath S3Input.S3DataType S3Input.S3InputMode "
    + _under("S3Input", "S3DataDistributionType S3CompressionType")
)
PACKAGED = "Image ModelDataUrl Environment ContainerHostname Framework FrameworkVersion NearestModelName"
METRICS_SOURCE = "ContentType S3Uri ContentDigest"

_TEXT = {
    "CreateModel": f"ModelName ExecutionRoleArn EnableNetworkIsolation {TAGS} {_under('PrimaryContainer', CONTAINER)} "
    + _under("Containers", CONTAINER),
    "CreateEndpointConfig": f"EndpointConfigName KmsKeyId {TAGS} {_under('ProductionVariants', VARIANT)}",
    "CreateEndpoint": f"EndpointName EndpointConfigName {TAGS}",
    "UpdateEndpoint": "EndpointName EndpointConfigName RetainAllVariantProperties "
    "ExcludeRetainedVariantProperties.VariantPropertyType",
    "UpdateEndpointWeightsAndCapacities": "EndpointName "
    + _under("DesiredWeightsAndCapacities", "VariantName DesiredWeight DesiredInstanceCount"),
    "CreateTrainingJob": f"TrainingJobName HyperParameters {TRAINING} {TAGS} {_under('AlgorithmSpecification', ALGORITHM)}",
    "CreateProcessingJob": " ".join(
        (
            f"ProcessingJobName RoleArn Environment StoppingCondition.MaxRuntimeInSeconds {TAGS}",
            "AppSpecification.ImageUri AppSpecification.ContainerEntrypoint AppSpecification.ContainerArguments",
            _under("ProcessingResources.ClusterConfig", RESOURCES),
            _under("ProcessingInputs", PROCESSING_INPUT),
            "ProcessingOutputConfig.KmsKeyId ProcessingOutputConfig.Outputs.OutputName ProcessingOutputConfig.Outputs.AppManaged",
            _under("ProcessingOutputConfig.Outputs.S3Output", "S3Uri LocalPath S3UploadMode"),
            "NetworkConfig.EnableNetworkIsolation",
        )
    ),
    "CreateHyperParameterTuningJob": " ".join(
        (
            f"HyperParameterTuningJobName {TAGS}",
            "HyperParameterTuningJobConfig.Strategy HyperParameterTuningJobConfig.RandomSeed",
            "HyperParameterTuningJobConfig.TrainingJobEarlyStoppingType",
            _under("HyperParameterTuningJobConfig.ResourceLimits", "MaxNumberOfTrainingJobs MaxParallelTrainingJobs"),
            "HyperParameterTuningJobConfig.ResourceLimits.MaxRuntimeInSeconds",
            _under("HyperParameterTuningJobConfig.HyperParameterTuningJobObjective", "Type MetricName"),
            _under("HyperParameterTuningJobConfig.ParameterRanges", RANGES),
            _under("TrainingJobDefinition", TUNED),
            _under("TrainingJobDefinitions", TUNED),
            "WarmStartConfig.ParentHyperParameterTuningJobs.HyperParameterTuningJobName WarmStartConfig.WarmStartType",
        )
    ),
    "CreateModelPackageGroup": f"ModelPackageGroupName ModelPackageGroupDescription {TAGS}",
    "CreateModelPackage": " ".join(
        (
            "ModelPackageGroupName ModelPackageDescription ModelApprovalStatus CustomerMetadataProperties Domain Task",
            "MetadataProperties.CommitId MetadataProperties.Repository MetadataProperties.GeneratedBy",
            "MetadataProperties.ProjectId ClientToken SamplePayloadUrl",
            _under("InferenceSpecification.Containers", PACKAGED),
            _under(
                "InferenceSpecification",
                "SupportedTransformInstanceTypes SupportedRealtimeInferenceInstanceTypes SupportedContentTypes "
                "SupportedResponseMIMETypes",
            ),
            *(
                _under(f"ModelMetrics.{place}", METRICS_SOURCE)
                for place in (
                    *("ModelQuality.Statistics", "ModelQuality.Constraints", "ModelDataQuality.Statistics"),
                    *("ModelDataQuality.Constraints", "Bias.Report", "Bias.PreTrainingReport"),
                    *("Bias.PostTrainingReport", "Explainability.Report"),
                )
            ),
        )
    ),
    "UpdateModelPackage": "ModelPackageArn ModelApprovalStatus ApprovalDescription CustomerMetadataProperties "
    "CustomerMetadataPropertiesToRemove",
    "CreateTransformJob": " ".join(
        (
            f"TransformJobName ModelName MaxConcurrentTransforms MaxPayloadInMB BatchStrategy Environment {TAGS}",
            _under("TransformInput", "DataSource.S3DataSource.S3DataType DataSource.S3DataSource.S3Uri"),
            _under("TransformInput", "ContentType CompressionType SplitType"),
            _under("TransformOutput", "S3OutputPath Accept AssembleWith KmsKeyId"),
            _under("TransformResources", "InstanceType InstanceCount VolumeKmsKeyId"),
        )
    ),
    "CreatePipeline": "PipelineName PipelineDisplayName PipelineDefinition PipelineDescription ClientRequestToken RoleArn "
    + TAGS,
    "UpdatePipeline": "PipelineName PipelineDisplayName PipelineDefinition PipelineDescription RoleArn",
    "DescribePipeline": "PipelineName",
    "StartPipelineExecution": "PipelineName PipelineExecutionDisplayName PipelineExecutionDescription ClientRequestToken "
    + _under("PipelineParameters", "Name Value"),
    "ListPipelineExecutionSteps": "PipelineExecutionArn NextToken MaxResults SortOrder",
    "ListModels": f"{LISTS} {TIMES}",
    "ListEndpointConfigs": f"{LISTS} {TIMES}",
    "ListEndpoints": f"{LISTS} {TIMES} StatusEquals",
    "ListTrainingJobs": f"{LISTS} {TIMES} StatusEquals",
    "ListProcessingJobs": f"{LISTS} {TIMES} StatusEquals",
    "ListHyperParameterTuningJobs": f"{LISTS} {TIMES} StatusEquals",
    "ListTrainingJobsForHyperParameterTuningJob": "HyperParameterTuningJobName MaxResults NextToken StatusEquals SortBy "
    "SortOrder",
    "ListModelPackageGroups": f"{LISTS} {TIMES}",
    "ListModelPackages": f"{LISTS} {TIMES} ModelPackageGroupName ModelApprovalStatus ModelPackageType",
    "AddTags": f"ResourceArn {TAGS}",
    "ListTags": "ResourceArn NextToken MaxResults",
    "DeleteTags": "ResourceArn TagKeys",
}
ACCEPTED = {operation: frozenset(text.split()) for operation, text in _TEXT.items()}
# Values of a member that are obeyed, where SageMaker has others.
VALUES = {
    "Mode": ("SingleModel",),
    "TrainingInputMode": ("File", "FastFile"),
    "InputMode": ("File", "FastFile"),
    "S3InputMode": ("File",),
    "S3DataType": ("S3Prefix", "ManifestFile"),
    "RecordWrapperType": ("None",),
    "SplitType": ("None", "Line"),
    "Strategy": ("Random", "Bayesian"),
}
# Those that SageMaker's SDK sends with the value that is obeyed.
ONLY = {"AppManaged": False, "DisableProfiler": True}
WORDS = {"ServerlessConfig": "serverless endpoints", "AsyncInferenceConfig": "asynchronous endpoints"} | {
    "ShadowProductionVariants": "shadow variants",
    "DeploymentConfig": "deployment guardrails: every update is blue/green, all at once",
    "VpcConfig": "VPCs",
}


def check(operation: str, document: dict[str, Any]) -> None:
    """Refuse what this emulator doesn't do.

    Raises:
        Refusal: the request has a member or a value that it doesn't obey.
    """
    if operation in ACCEPTED:
        for name in sorted(shapes.leaves(operation, document) - ACCEPTED[operation]):
            if any(known.startswith(f"{name}.") for known in ACCEPTED[operation]):
                continue  # an empty structure
            what = next((words for member, words in WORDS.items() if member in name.split(".")), name)
            raise Refusal(f"the embedded AWS does not emulate {what} ({operation})")
    _check_values(operation, document)


def _check_values(operation: str, value: Any) -> None:
    for name, inner in value.items() if isinstance(value, dict) else ():
        if name in VALUES and isinstance(inner, str) and inner not in VALUES[name]:
            obeyed = " and ".join(VALUES[name])
            raise Refusal(f"the embedded AWS emulates {name} {obeyed} only, not {inner} ({operation})")
        if name in ONLY and inner is not ONLY[name]:
            raise Refusal(f"the embedded AWS emulates {name} {ONLY[name]} only ({operation})")
        if name not in ("Environment", "HyperParameters", "StaticHyperParameters", "CustomerMetadataProperties"):
            _check_values(operation, inner)
    for inner in value if isinstance(value, list) else ():
        _check_values(operation, inner)
