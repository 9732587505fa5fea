"""SageMaker's tuning jobs on the embedded AWS: they run training jobs, learn from them, and stop hopeless ones."""

from __future__ import annotations

import math
import random
import statistics
import threading
from typing import Any

import pytest
from botocore.exceptions import ClientError
from emulated import client
from made_images import Registry, allow, pulls, role

from embedded_aws.sagemaker.search import Range, Trial, propose
from ml_delivery import emulator
from ml_delivery.waiting import wait

# The loss is least at x = 3 and kind = b.
PROGRAM = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
import json, time
words = json.load(open("/opt/ml/input/config/hyperparameters.json"))
worse = float(words.get("worse", 0))
loss = (float(words["x"]) - 3) ** 2 + (words["kind"] != "b") + worse
if worse:
    words |= {"steps": "600", "pause": "0.1"}
for step in range(int(words.get("steps", 1))):
    print(f"loss={loss + 1 / (step + 1):.6f};", flush=True)
    time.sleep(float(words.get("pause", 0)))
print(f"loss={loss:.6f};", flush=True)
"""
EARLY = 0


class Place:
    """What tuning jobs need, and short forms of the calls."""

    def __init__(self, running: emulator.Running) -> None:
        self.aws = client(running, "sagemaker")
        registry = Registry(running, "tuning")
        self.image = registry.push("1", PROGRAM)
        client(running, "s3").create_bucket(
            Bucket="tuning-data", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
        )
        where = allow("s3:PutObject", on="arn:aws:s3:::tuning-data/*")
        self.role = role(running, "tuning", where, *pulls(registry))

    def definition(self, **fixed: str) -> dict[str, Any]:
        return {
            "StaticHyperParameters": fixed,
            "AlgorithmSpecification": {
                "TrainingImage": self.image,
                "TrainingInputMode": "File",
                "MetricDefinitions": [{"Name": "loss", "Regex": "loss=([-0-9.]+);"}],
            },
            "RoleArn": self.role,
            "OutputDataConfig": {"S3OutputPath": "s3://tuning-data/out"},
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
            "StoppingCondition": {"MaxRuntimeInSeconds": 120},
        }

    def tune(self, name: str, strategy: str = "Random", jobs: int = 3, **changes: Any) -> dict[str, Any]:
        config = {
            "Strategy": strategy,
            "RandomSeed": 7,
            "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "loss"},
            "ResourceLimits": {"MaxNumberOfTrainingJobs": jobs, "MaxParallelTrainingJobs": 2},
            "ParameterRanges": {
                "ContinuousParameterRanges": [{"Name": "x", "MinValue": "0", "MaxValue": "10"}],
                "CategoricalParameterRanges": [{"Name": "kind", "Values": ["a", "b"]}],
            },
            **changes.pop("config", {}),
        }
        given = {"HyperParameterTuningJobConfig": config, "TrainingJobDefinition": self.definition(), **changes}
        self.aws.create_hyper_parameter_tuning_job(HyperParameterTuningJobName=name, **given)

        def done() -> dict[str, Any] | None:
            found: dict[str, Any] = self.aws.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
            return found if found["HyperParameterTuningJobStatus"] not in ("InProgress", "Stopping") else None

        return wait(done, what=name, seconds=240)

    def jobs(self, name: str, **options: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.aws.list_training_jobs_for_hyper_parameter_tuning_job(
            HyperParameterTuningJobName=name, MaxResults=100, **options
        )["TrainingJobSummaries"]
        return found


@pytest.fixture(scope="module")
def place(running: emulator.Running) -> Place:
    return Place(running)


def test_tuning_job_runs_training_jobs_and_finds_the_best(place: Place) -> None:
    """Each trial is a training job with values in range; the best is that of the least objective; a seed repeats the values."""
    done = place.tune("tunes")
    assert done["HyperParameterTuningJobStatus"] == "Completed", done.get("FailureReason")
    jobs = place.jobs("tunes", SortBy="FinalObjectiveMetricValue", SortOrder="Ascending")
    losses = [job["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] for job in jobs]
    assert losses == sorted(losses)
    assert len(jobs) == 3
    assert done["BestTrainingJob"]["TrainingJobName"] == jobs[0]["TrainingJobName"]
    assert done["TrainingJobStatusCounters"]["Completed"] == done["ObjectiveStatusCounters"]["Succeeded"] == 3
    trained = place.aws.describe_training_job(TrainingJobName=jobs[0]["TrainingJobName"])
    assert trained["TuningJobArn"] == done["HyperParameterTuningJobArn"]
    values = jobs[0]["TunedHyperParameters"]
    assert 0 <= float(values["x"]) <= 10
    assert values.items() <= trained["HyperParameters"].items()
    assert trained["HyperParameters"]["_tuning_objective_metric"] == "loss"
    again = place.tune("tunes-again", WarmStartConfig=warm("tunes"))
    assert again["HyperParameterTuningJobStatus"] == "Completed"
    seen = [sorted(j["TunedHyperParameters"]["x"] for j in place.jobs(name)) for name in ("tunes", "tunes-again")]
    assert seen[0] == seen[1]
    listed = place.aws.list_hyper_parameter_tuning_jobs(NameContains="again")["HyperParameterTuningJobSummaries"]
    assert [job["HyperParameterTuningJobName"] for job in listed] == ["tunes-again"]


def warm(parent: str) -> dict[str, Any]:
    parents = [{"HyperParameterTuningJobName": parent}]
    return {"ParentHyperParameterTuningJobs": parents, "WarmStartType": "IdenticalDataAndAlgorithm"}


def test_hopeless_trial_is_stopped_early(place: Place) -> None:
    """A running job whose best is worse than the median of the finished ones at its step is stopped before its end.

    Of the values of ``worse`` the seed draws three small ones first, and then a large one, which would run for a minute.
    """
    drawn = {"Name": "worse", "Values": ["0", "1000"]}
    config = {
        "TrainingJobEarlyStoppingType": "Auto",
        "RandomSeed": EARLY,
        "ResourceLimits": {"MaxNumberOfTrainingJobs": 4, "MaxParallelTrainingJobs": 1},
        "ParameterRanges": {
            "ContinuousParameterRanges": [{"Name": "x", "MinValue": "3", "MaxValue": "3"}],
            "CategoricalParameterRanges": [{"Name": "kind", "Values": ["b"]}, drawn],
        },
    }
    done = place.tune("early", config=config)
    jobs = sorted(place.jobs("early"), key=lambda job: job["TrainingJobName"])
    assert [job["TunedHyperParameters"]["worse"] for job in jobs] == ["0", "0", "0", "1000"]
    assert [job["TrainingJobStatus"] for job in jobs] == ["Completed", "Completed", "Completed", "Stopped"]
    assert done["TrainingJobStatusCounters"]["Stopped"] == 1


def test_stopped_tuning_job_stops_its_training_jobs(place: Place) -> None:
    """StopHyperParameterTuningJob ends what runs, and starts nothing more."""
    slow = place.definition(steps="600", pause="0.1")
    name = {"HyperParameterTuningJobName": "halted"}

    def stop() -> None:
        wait(lambda: place.jobs("halted") or None, what="the first training job")
        place.aws.stop_hyper_parameter_tuning_job(**name)

    stopper = threading.Timer(1, stop)
    stopper.start()
    done = place.tune("halted", jobs=9, TrainingJobDefinition=slow)
    stopper.join()
    assert done["HyperParameterTuningJobStatus"] == "Stopped"
    assert {job["TrainingJobStatus"] for job in place.jobs("halted")} == {"Stopped"}
    assert len(place.jobs("halted")) < 9


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"Strategy": "Hyperband"}, "the embedded AWS emulates Strategy Random and Bayesian only"),
        ({"ParameterRanges": {}}, "at least one hyperparameter range"),
        ({"HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "none"}}, "has no metric definition"),
        (
            {"ParameterRanges": {"IntegerParameterRanges": [{"Name": "x", "MinValue": "9", "MaxValue": "1"}]}},
            "The range of x is invalid",
        ),
    ],
)
def test_tuning_job_that_can_not_run_is_refused(place: Place, changes: dict[str, Any], words: str) -> None:
    """What isn't emulated, and a search that has nothing to search, is refused before any training job starts."""
    with pytest.raises(ClientError) as fault:
        place.tune("refused", config=changes)
    assert words in fault.value.response["Error"]["Message"]


def test_learning_search_finds_better_values_than_chance() -> None:
    """Over 30 searches of 40 trials the learning one ends at half of the loss of the other, or less."""
    ranges = [
        Range("x", 0, 10),
        Range("n", 1, 100, whole=True, scale="Logarithmic"),
        Range("kind", choices=("a", "b", "c")),
    ]

    def best(seed: int, learns: bool) -> float:
        chance, trials = random.Random(seed), []
        for _ in range(40):
            values = propose(ranges, trials, chance, learns=learns)
            loss = (float(values["x"]) - 3) ** 2 + abs(math.log(int(values["n"]) / 20)) + (values["kind"] != "b")
            assert 0 <= float(values["x"]) <= 10
            assert 1 <= int(values["n"]) <= 100
            trials.append(Trial(values, loss))
        return min(trial.loss for trial in trials)

    learned, chance = (statistics.fmean(best(seed, learns) for seed in range(30)) for learns in (True, False))
    assert learned < chance / 2


@pytest.mark.parametrize("more", [{"WarmStartConfig": {}}, {"config": {"TrainingJobEarlyStoppingType": "Auto"}}])
def test_several_definitions_have_no_warm_start_and_no_early_stopping(place: Place, more: dict[str, Any]) -> None:
    """As on AWS, both are for a single definition: https://docs.aws.amazon.com/sagemaker/latest/dg/multiple-algorithm-hpo.html"""
    ranges = {"ContinuousParameterRanges": [{"Name": "x", "MinValue": "0", "MaxValue": "1"}]}
    objective = {"Type": "Minimize", "MetricName": "loss"}
    definitions = [
        {**place.definition(), "DefinitionName": name, "HyperParameterRanges": ranges, "TuningObjective": objective}
        for name in ("one", "two")
    ]
    config = {
        "Strategy": "Random",
        "ResourceLimits": {"MaxNumberOfTrainingJobs": 1, "MaxParallelTrainingJobs": 1},
        **more.pop("config", {}),
    }
    if "WarmStartConfig" in more:
        place.tune("parent-of-several", jobs=1)
        more = {"WarmStartConfig": warm("parent-of-several")}
    with pytest.raises(ClientError, match="single training job definition only"):
        place.aws.create_hyper_parameter_tuning_job(
            HyperParameterTuningJobName="several",
            HyperParameterTuningJobConfig=config,
            TrainingJobDefinitions=definitions,
            **more,
        )
