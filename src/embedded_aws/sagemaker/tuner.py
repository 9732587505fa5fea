"""Tuning jobs: training jobs with hyperparameters that are searched, several at a time.

https://docs.aws.amazon.com/sagemaker/latest/dg/automatic-model-tuning-how-it-works.html
Early stopping as there: a job whose objective is worse than the median of the others' running averages at the same step is
stopped: https://docs.aws.amazon.com/sagemaker/latest/dg/automatic-model-tuning-early-stopping.html
"""

from __future__ import annotations

import random
import secrets
import statistics
import time
import traceback
from typing import Any

from embedded_aws.sagemaker import store, training
from embedded_aws.sagemaker.hosts import STOPPED
from embedded_aws.sagemaker.refusal import Refusal
from embedded_aws.sagemaker.search import Range, Trial, propose
from embedded_aws.sagemaker.store import Record

PAUSE = 0.2  # seconds between two looks at the jobs
LEAST_FOR_STOPPING = 3  # finished jobs that a running one is compared with
RUNNING = ("InProgress", "Stopping")


def get(name: str) -> Record:
    """The record of a tuning job.

    Raises:
        Refusal: there is none.
    """
    found: Record | None = store.table("tuning").get(name)
    if found is None:
        raise Refusal(f"Amazon SageMaker can't find a tuning job with the name {name}.", "ResourceNotFound")
    return found


def definitions(request: Record) -> list[Record]:
    """The training jobs to tune, each with its own objective and ranges."""
    config = request["HyperParameterTuningJobConfig"]
    if "TrainingJobDefinition" not in request:
        found: list[Record] = request["TrainingJobDefinitions"]
    else:
        shared = {"HyperParameterRanges": config.get("ParameterRanges", {})}
        shared["TuningObjective"] = config.get("HyperParameterTuningJobObjective")
        found = [{**shared, **request["TrainingJobDefinition"]}]
    for definition in found:
        if not definition.get("TuningObjective"):
            raise Refusal("A tuning job needs an objective for each training job definition.")
    return found


def ranges(definition: Record) -> list[Range]:
    """What is tuned.

    Raises:
        Refusal: a range is none.
    """
    found = []
    given = definition.get("HyperParameterRanges", {})
    for kind in ("IntegerParameterRanges", "ContinuousParameterRanges"):
        for entry in given.get(kind, []):
            scale = entry.get("ScalingType", "Linear").replace("Auto", "Linear")
            try:
                low, high = float(entry["MinValue"]), float(entry["MaxValue"])
            except ValueError as error:
                raise Refusal(f"The range of {entry['Name']} is not of numbers: {error}") from error
            top = 1 if scale == "ReverseLogarithmic" else float("inf")
            if low > high or (scale == "Logarithmic" and low <= 0) or (top == 1 and not 0 <= low <= high < 1):
                raise Refusal(f"The range of {entry['Name']} is invalid: {low} to {high}, {scale}")
            found.append(Range(entry["Name"], low, high, kind.startswith("Integer"), scale))
    for entry in given.get("CategoricalParameterRanges", []):
        found.append(Range(entry["Name"], choices=tuple(entry["Values"])))
    if not found:
        raise Refusal("A tuning job needs at least one hyperparameter range.")
    return found


def parents(request: Record) -> list[str]:
    """The tuning jobs whose trials this one starts with."""
    given = request.get("WarmStartConfig", {}).get("ParentHyperParameterTuningJobs", [])
    return [parent["HyperParameterTuningJobName"] for parent in given]


class Tuner:
    """A tuning job that runs."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self._config = record["HyperParameterTuningJobConfig"]
        self._chance = random.Random(self._config.get("RandomSeed"))  # noqa: S311 # nosec B311 - no secret
        self._definitions = definitions(record)

    def run(self) -> None:
        """Start training jobs until all have been, and wait for the last."""
        record, limits, status = self.record, self._config["ResourceLimits"], "Completed"
        most, at_once = int(limits["MaxNumberOfTrainingJobs"]), int(limits["MaxParallelTrainingJobs"])
        end = time.monotonic() + float(limits.get("MaxRuntimeInSeconds", float("inf")))
        try:
            while True:
                going = [job for job, _ in self._own() if job["TrainingJobStatus"] in RUNNING]
                over = record["HyperParameterTuningJobStatus"] == "Stopping" or time.monotonic() > end
                if over:
                    self._stop(going)
                elif len(record["_jobs"]) < most and len(going) < at_once:
                    self._start()
                    continue
                elif self._config.get("TrainingJobEarlyStoppingType") == "Auto":
                    self._stop([job for job in going if self._hopeless(job)])
                if not going and (over or len(record["_jobs"]) >= most):
                    break
                time.sleep(PAUSE)
            if record["HyperParameterTuningJobStatus"] == "Stopping":
                status = "Stopped"
            elif not any("FinalHyperParameterTuningJobObjectiveMetric" in job for job in summaries(record)):
                status = "Failed"
                record["FailureReason"] = "No training job reported the objective metric."
        except Exception as error:  # an error of this server, or a role that was deleted meanwhile
            traceback.print_exc()
            status, record["FailureReason"] = "Failed", f"InternalServerError: {error!r}"[:1024]
        record |= {"HyperParameterTuningEndTime": store.now(), "LastModifiedTime": store.now()}
        record["HyperParameterTuningJobStatus"] = status

    def _own(self) -> list[tuple[Record, Record]]:
        """The training jobs so far, with what was tuned."""
        return [(training.get(entry["name"]), entry) for entry in self.record["_jobs"]]

    def _start(self) -> None:
        record, number = self.record, len(self.record["_jobs"])
        which = number % len(self._definitions)
        definition = self._definitions[which]
        name = f"{record['HyperParameterTuningJobName']}-{number + 1:03d}-{secrets.token_hex(4)}"
        learns = self._config["Strategy"] == "Bayesian"
        tuned = ranges(definition)
        values = propose(tuned, self._trials(which, tuned), self._chance, learns=learns)
        fixed = {**definition.get("StaticHyperParameters", {}), "_tuning_objective_metric": self._objective(which)}
        members = ("StaticHyperParameters", "HyperParameterRanges", "TuningObjective", "DefinitionName")
        request = {k: v for k, v in definition.items() if k not in members}
        request |= {"TrainingJobName": name, "HyperParameters": {**fixed, **values}}
        with store.lock:
            record["_jobs"].append({"name": name, "definition": which, "values": values})
            arn = store.arn("training-job", name)
            training.start(request, arn, TuningJobArn=record["HyperParameterTuningJobArn"])

    def _objective(self, which: int) -> str:
        return str(self._definitions[which]["TuningObjective"]["MetricName"])

    def _trials(self, which: int, tuned: list[Range]) -> list[Trial]:
        """What earlier trials of this definition have shown, those of the parents included."""
        sign = -1 if self._definitions[which]["TuningObjective"]["Type"] == "Maximize" else 1
        found, names = [], {r.name for r in tuned}
        for record in (self.record, *(get(parent) for parent in parents(self.record))):
            for entry in record["_jobs"]:
                value = _final(training.get(entry["name"]), self._objective(which))
                same = record is not self.record or entry["definition"] == which
                if same and value is not None and names <= set(entry["values"]):
                    found.append(Trial(entry["values"], sign * value))
        return found

    def _hopeless(self, job: Record) -> bool:
        """Whether a running job's best is worse than the median of the finished jobs' averages at the same step.

        That is its last one that enough of them had, however far it has got since it was looked at.
        """
        which = next(e["definition"] for e in self.record["_jobs"] if e["name"] == job["TrainingJobName"])
        running = training.job(job["TrainingJobArn"])
        history = list(running.measures.history.get(self._objective(which), [])) if running else []
        finished = [j["_history"] for j, e in self._own() if e["definition"] == which and "_history" in j]
        others: list[list[float]] = [values.get(self._objective(which), []) for values in finished]
        if not history or len(others) < LEAST_FOR_STOPPING:
            return False
        history = history[: sorted(map(len, others))[-LEAST_FOR_STOPPING]]
        others = [values[: len(history)] for values in others if len(values) >= len(history)]
        if not history:
            return False
        median = statistics.median(statistics.fmean(values) for values in others)
        worst = self._definitions[which]["TuningObjective"]["Type"] == "Maximize"
        return max(history) < median if worst else min(history) > median

    def _stop(self, jobs: list[Record]) -> None:
        for job in jobs:
            if job["TrainingJobStatus"] == "InProgress" and (running := training.job(job["TrainingJobArn"])):
                job |= {"TrainingJobStatus": "Stopping", "SecondaryStatus": "Stopping"}
                running.hosts.end(STOPPED)


def _final(job: Record, metric: str) -> float | None:
    found = [m["Value"] for m in job.get("FinalMetricDataList", []) if m["MetricName"] == metric]
    return float(found[0]) if found else None


def summaries(record: Record) -> list[Record]:
    """The training jobs of a tuning job, as it reports them, the best first."""
    found = []
    for entry in record["_jobs"]:
        job, definition = training.get(entry["name"]), definitions(record)[entry["definition"]]
        objective = definition["TuningObjective"]
        members = ("TrainingJobName", "TrainingJobArn", "CreationTime", "TrainingJobStatus", "FailureReason")
        summary: Record = {m: job[m] for m in (*members, "TrainingStartTime", "TrainingEndTime") if m in job}
        summary |= {"TunedHyperParameters": entry["values"], "ObjectiveStatus": "Pending"}
        if name := definition.get("DefinitionName"):
            summary["TrainingJobDefinitionName"] = name
        if job["TrainingJobStatus"] not in RUNNING:
            value = _final(job, objective["MetricName"])
            summary["ObjectiveStatus"] = "Failed" if value is None else "Succeeded"
            if value is not None:
                measured = {"Type": objective["Type"], "MetricName": objective["MetricName"], "Value": value}
                summary["FinalHyperParameterTuningJobObjectiveMetric"] = measured
        found.append(summary)
    return sorted(found, key=rank)


def rank(summary: Record) -> float:
    """By which the best is first; infinite for a job that reported nothing."""
    measured: dict[str, Any] | None = summary.get("FinalHyperParameterTuningJobObjectiveMetric")
    if measured is None:
        return float("inf")
    return float(-measured["Value"] if measured["Type"] == "Maximize" else measured["Value"])
