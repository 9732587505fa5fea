"""The operations of tuning jobs.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateHyperParameterTuningJob.html
"""

from __future__ import annotations

import contextvars
import threading
from collections import Counter

from embedded_aws.sagemaker import store, tags, training
from embedded_aws.sagemaker.refusal import Refusal
from embedded_aws.sagemaker.store import Record
from embedded_aws.sagemaker.tuner import RUNNING, Tuner, definitions, get, parents, ranges, rank, summaries

EARLY = "TrainingJobEarlyStoppingType"
COUNTERS = {"Completed": "Completed", "InProgress": "InProgress", "Stopping": "InProgress"} | {
    "Failed": "NonRetryableError",
    "Stopped": "Stopped",
}


def create(request: Record) -> Record:
    """Start one; its definitions are checked as training jobs are."""
    name = request["HyperParameterTuningJobName"]
    arn = store.arn("hyper-parameter-tuning-job", name)
    if name in store.table("tuning"):
        raise Refusal(f"Tuning job names must be unique: {arn} already exists", "ResourceInUse")
    if ("TrainingJobDefinition" in request) == ("TrainingJobDefinitions" in request):
        raise Refusal("Specify either TrainingJobDefinition or TrainingJobDefinitions.")
    for definition in definitions(request):
        training.check(definition)
        ranges(definition)
        metrics = [m["Name"] for m in definition["AlgorithmSpecification"].get("MetricDefinitions", [])]
        if definition["TuningObjective"]["MetricName"] not in metrics:
            raise Refusal(f"The objective {definition['TuningObjective']['MetricName']} has no metric definition.")
    for parent in parents(request):
        get(parent)
    config = request["HyperParameterTuningJobConfig"]
    if len(definitions(request)) > 1 and ("WarmStartConfig" in request or config.get(EARLY) == "Auto"):
        # https://docs.aws.amazon.com/sagemaker/latest/dg/multiple-algorithm-hpo.html
        raise Refusal("Warm start and early stopping are available for a single training job definition only.")
    now = store.now()
    record = {
        **{k: v for k, v in request.items() if k != "Tags"},
        "HyperParameterTuningJobArn": arn,
        "HyperParameterTuningJobStatus": "InProgress",
        "CreationTime": now,
        "LastModifiedTime": now,
        "_jobs": [],  # each: the training job's name, its definition's number, and its tuned values
    }
    store.table("tuning")[name] = record
    tags.put(arn, request.get("Tags", []))
    tuner = Tuner(record)
    threading.Thread(target=contextvars.copy_context().run, args=(tuner.run,), daemon=True).start()
    return {"HyperParameterTuningJobArn": arn}


def counted(record: Record) -> Record:
    """The record with its counters and its best training job."""
    jobs = summaries(record)
    status = Counter(COUNTERS[job["TrainingJobStatus"]] for job in jobs)
    objective = Counter(job["ObjectiveStatus"] for job in jobs)
    names = ("Completed", "InProgress", "RetryableError", "NonRetryableError", "Stopped")
    return {
        **record,
        "TrainingJobStatusCounters": {name: status[name] for name in names},
        "ObjectiveStatusCounters": {name: objective[name] for name in ("Succeeded", "Pending", "Failed")},
    } | ({"BestTrainingJob": jobs[0]} if jobs and rank(jobs[0]) < float("inf") else {})


def describe(request: Record) -> Record:
    """Answer with the record."""
    return counted(get(request["HyperParameterTuningJobName"]))


def stop(request: Record) -> Record:
    """Stop one, and the training jobs that it runs."""
    record = get(request["HyperParameterTuningJobName"])
    if record["HyperParameterTuningJobStatus"] in RUNNING:
        record |= {"HyperParameterTuningJobStatus": "Stopping", "LastModifiedTime": store.now()}
    return {}


def find(request: Record) -> Record:
    """List them."""
    operation, member, name = (
        "ListHyperParameterTuningJobs",
        "HyperParameterTuningJobSummaries",
        "HyperParameterTuningJobName",
    )
    records = []
    for record in store.table("tuning").values():
        config = record["HyperParameterTuningJobConfig"]
        records.append({**counted(record), "Strategy": config["Strategy"], "ResourceLimits": config["ResourceLimits"]})
    return store.listed(operation, member, records, request, name=name, status="HyperParameterTuningJobStatus")


def find_jobs(request: Record) -> Record:
    """A tuning job's training jobs; by their objective, the best first, or by time or name."""
    records = summaries(get(request["HyperParameterTuningJobName"]))
    operation, member = "ListTrainingJobsForHyperParameterTuningJob", "TrainingJobSummaries"
    if request.get("SortBy") == "FinalObjectiveMetricValue":
        records = [{**record, "CreationTime": place} for place, record in enumerate(records)]
        found = store.listed(operation, member, records, {"SortOrder": "Ascending", **request}, name="TrainingJobName")
        times = {r["TrainingJobName"]: training.get(r["TrainingJobName"])["CreationTime"] for r in found[member]}
        found[member] = [{**r, "CreationTime": times[r["TrainingJobName"]]} for r in found[member]]
        return found
    return store.listed(operation, member, records, request, name="TrainingJobName", status="TrainingJobStatus")


def abandon() -> None:
    """Fail the jobs that ran when the emulator ended."""
    store.abandon("tuning", "HyperParameterTuningJobStatus", RUNNING, "HyperParameterTuningEndTime")


OPERATIONS = {
    "CreateHyperParameterTuningJob": create,
    "DescribeHyperParameterTuningJob": describe,
    "StopHyperParameterTuningJob": stop,
    "ListHyperParameterTuningJobs": find,
    "ListTrainingJobsForHyperParameterTuningJob": find_jobs,
}
