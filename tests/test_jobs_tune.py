"""``invoke tune --on``: trials that are jobs, one definition for each kind, within a budget; and what can go wrong."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jobs import Training

from ml_delivery.waiting import wait

ON = ("tune", "--on", "sagemaker")
# The score of each kind is least at x = 3; kind b has its least at size large, too.
TRIAL = """\
import argparse, json, os, sys, time

parser = argparse.ArgumentParser()
parser.add_argument("--spaces", action="store_true")
for name, default in (("kind", ""), ("x", "9"), ("size", "small"), ("do", "")):
    parser.add_argument(f"--{name}", default=default)
options = parser.parse_args()
print("a library warns", file=sys.stderr)
x = {"low": 1, "high": 4, "whole": True}
if options.spaces:
    spaces = {"a": {"x": x}, "b": {"x": x, "size": {"choices": ["small", "large"]}}}
    wrong = {"empty": {"a": {}}, "none": {"a": {"x": {"choices": []}}}}
    print("no" if options.do == "words" else json.dumps(wrong.get(options.do, spaces)))
    sys.exit()
inside = os.path.isdir("/opt/ml/input")
if options.do == "fail" or (inside and options.do == "fail there"):
    sys.exit("no luck")
if inside and options.do == "wait":
    print("waiting", flush=True)
    time.sleep(600)
print(f"{'loss' if options.do == 'lost' else 'score'}={(int(options.x) - 3) ** 2 + (options.size == 'small')}")
"""
SETTINGS = """
[tune]
command = ["python", "-m", "service.trial"]
metric = "score=([0-9.]+)"
strategy = "random"
seed = 3
trials = 6
parallel = 3
minutes = 5
writes = "data/tuned.json"
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Training:
    made = Training(tmp_path_factory.mktemp("tune") / "service", shared, "jobs-tune")
    made.tiny.write("src/service/trial.py", TRIAL)
    made.tiny.write("pipeline.toml", (made.tiny.root / "pipeline.toml").read_text() + SETTINGS)
    made.tiny.commit()
    return made


@pytest.fixture(autouse=True)
def clean(service: Training) -> Iterator[None]:
    """Nothing of one test is left for the next, and nothing keeps running, whatever happened."""
    yield
    service.tiny.git("checkout", "--quiet", "--", ".")
    service.tiny.git("clean", "--quiet", "--force", "-d")
    assert service.runs() == []


def tuning(service: Training) -> dict[str, Any]:
    """The tuning job that was created last."""
    jobs = service.aws.list_hyper_parameter_tuning_jobs(
        NameContains="jobs-", SortBy="CreationTime", SortOrder="Descending"
    )
    name = jobs["HyperParameterTuningJobSummaries"][0]["HyperParameterTuningJobName"]
    found: dict[str, Any] = service.aws.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    return found


def test_each_kind_is_tuned_and_the_best_is_written(service: Training) -> None:
    """One job tunes all kinds; the best of each is printed and written with its types; here it would have been quicker."""
    printed = service.tiny.invoke(*ON)
    assert "tunes a, b with 6 trials, 3 at a time, at most 0.25 hours of an instance, 0.03 USD" in printed
    assert "tuning here is quicker and costs nothing" in printed
    job = tuning(service)
    name = job["HyperParameterTuningJobName"]
    assert len(name) <= 32
    assert [one["DefinitionName"] for one in job["TrainingJobDefinitions"]] == ["a", "b"]
    assert job["TrainingJobStatusCounters"]["Completed"] == 6
    trials = service.aws.list_training_jobs_for_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    scores: dict[str, list[float]] = {"a": [], "b": []}
    for trial in trials["TrainingJobSummaries"]:
        score = trial["FinalHyperParameterTuningJobObjectiveMetric"]["Value"]
        scores[trial["TrainingJobDefinitionName"]].append(score)
    document = json.loads((service.tiny.root / "data/tuned.json").read_text())
    assert document["job"] == name
    for kind, best in document["best"].items():
        assert best["score"] == min(scores[kind])
        assert isinstance(best["values"]["x"], int)
        assert f"best {kind}: {best['score']:g}, with " in printed
    assert set(document["best"]["b"]["values"]) == {"x", "size"}
    assert f"{name}: 6 trials, best values in data/tuned.json" in printed


def test_one_kind_starts_with_earlier_trials(service: Training) -> None:
    """A warm start is for one kind, of which hopeless trials are stopped early; for several it is refused, as AWS does."""
    service.tiny.replace("pipeline.toml", "trials = 6", "trials = 1")
    service.tiny.invoke(*ON, "--kind", "a")
    first = tuning(service)
    assert first["HyperParameterTuningJobConfig"]["TrainingJobEarlyStoppingType"] == "Auto"
    name = first["HyperParameterTuningJobName"]
    service.tiny.invoke(*ON, "--kind", "a", "--warm", name)
    again = tuning(service)["WarmStartConfig"]
    assert again["ParentHyperParameterTuningJobs"] == [{"HyperParameterTuningJobName": name}]
    refused = service.tiny.invoke(*ON, "--warm", name, code=1)
    assert "starts with the trials of another for one kind only; add --kind" in refused


def test_budget_in_dollars_is_a_limit_in_time(service: Training) -> None:
    """Dollars limit how long trials may run; too few, or no price to count with, start nothing."""
    service.tiny.replace("pipeline.toml", "trials = 6", "trials = 1\ndollars = 0.0075")
    printed = service.tiny.invoke(*ON, "--kind", "a")
    assert "at most 0.07 hours of an instance, 0.01 USD" in printed  # of one instance: more trials than one are not
    limits = tuning(service)["HyperParameterTuningJobConfig"]["ResourceLimits"]
    assert limits == {"MaxNumberOfTrainingJobs": 1, "MaxParallelTrainingJobs": 1, "MaxRuntimeInSeconds": 270}
    service.tiny.replace("pipeline.toml", "dollars = 0.0075", "dollars = 0.001")
    assert "the budget ends after 36 s, a tuning job takes 120 at least" in service.tiny.invoke(*ON, code=1)
    service.tiny.replace("pipeline.toml", "trials = 1", "trials = 6")
    assert "the budget ends after 12 s, a tuning job takes 120 at least" in service.tiny.invoke(*ON, code=1)
    service.tiny.replace("pipeline.toml", "dollars_per_hour = 0.1", "dollars_per_hour = 0")
    assert "tune.dollars: there is no jobs.dollars_per_hour to count with" in service.tiny.invoke(*ON, code=1)


@pytest.mark.parametrize(("program", "why"), [("no-such-program", "No such file"), ("data", "Permission denied")])
def test_command_that_names_no_program_is_named(service: Training, program: str, why: str) -> None:
    """A program that does not exist, or is none: the setting, the reason and what to correct."""
    (service.tiny.root / "data").mkdir(exist_ok=True)
    place = program if program == "no-such-program" else f"./{program}"
    service.tiny.replace("pipeline.toml", '["python", "-m", "service.trial"]', f'["{place}"]')
    refused = service.tiny.invoke(*ON, code=1)
    assert f"✗ [tune] command: {place} can't be run: {why}" in refused
    assert "next: correct tune.command in pipeline.toml, then run this again" in refused


@pytest.mark.parametrize(
    ("do", "says"),
    [
        ("fail", "[tune] command exited with code 1: no luck"),
        ("lost", "printed no score of a that [tune] metric matches: score=([0-9.]+)"),
        ("words", "with --spaces printed no JSON object of kinds and ranges"),
        ("empty", "with --spaces printed a kind without ranges"),
        ("none", "with --spaces printed a kind without ranges, or an empty range"),
        ("fail there", "failed: No training job reported the objective metric"),
    ],
)
def test_tuning_that_can_not_work_is_one_message(service: Training, do: str, says: str) -> None:
    """A command that fails, or prints no score or no spaces, is found here, before a job costs anything."""
    service.tiny.replace("pipeline.toml", "trials = 6", "trials = 1")
    before = len(service.aws.list_hyper_parameter_tuning_jobs(MaxResults=100)["HyperParameterTuningJobSummaries"])
    assert says in service.tiny.invoke(*ON, "--kind", "a", "--option", f"do={do}", code=1)
    after = len(service.aws.list_hyper_parameter_tuning_jobs(MaxResults=100)["HyperParameterTuningJobSummaries"])
    assert after - before == (do == "fail there")


def test_mistyped_tunings_are_refused(service: Training) -> None:
    """A kind that does not exist, tuning without a place, and a service without a command."""
    assert "there is no c; the kinds are a, b" in service.tiny.invoke(*ON, "--kind", "c", code=1)
    assert "training tunes here already: invoke train" in service.tiny.invoke("tune", code=1)
    service.tiny.replace("pipeline.toml", 'command = ["python", "-m", "service.trial"]', "")
    assert "this service has no command to tune a model" in service.tiny.invoke(*ON, code=1)


def test_cancel_stops_all_trials(service: Training) -> None:
    """Ctrl-C stops the tuning job with its trials."""
    with service.started(*ON, "--kind", "a", "--option", "do=wait") as process:
        assert process.stdout
        wait(lambda: service.runs() or process.poll(), what="a trial", seconds=60)
        assert process.poll() is None, process.stdout.read()
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    assert "✗ interrupted; the job " in rest
    assert " is stopped" in rest
    assert process.returncode == 130
    assert tuning(service)["HyperParameterTuningJobStatus"] == "Stopped"
