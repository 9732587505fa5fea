"""``invoke pipeline``: prepare, train on two hosts, judge, and register or refuse, as one pipeline; rendered, run, stopped."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from jobs import Training, as_aws
from roles import ACCOUNT
from test_jobs_prepare import NOTEBOOK, RULES, linked, packages
from test_jobs_tune import SETTINGS, TRIAL
from test_notify import slack
from tiny import Tiny

from ml_delivery.jobs import inside, pipeline, sagemaker, steps

RUN = ("pipeline", "--run")
PROMOTION = """\
import argparse, hashlib, sys
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--refuse", action="store_true")
options = parser.parse_args()
champion = Path("model.lock").read_text().splitlines()[1]
made = sorted(path.name for path in Path("build/made").iterdir())
print("judges", *made, "against", champion, flush=True)
if options.refuse:
    sys.exit("✗ refused: 0.5 is worse than 0.4")
content = Path("build/made/a.model").read_bytes()
digest = hashlib.sha256(content).hexdigest()
for old in Path("models").iterdir():
    old.unlink()
Path(f"models/{digest[:12]}.onnx").write_bytes(content)
Path("model.lock").write_text(f'[primary]\\ndigest = "sha256:{digest}"\\nfile = "models/{digest[:12]}.onnx"\\n')
"""
DATA = hashlib.sha256(b"1 2 4").hexdigest()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Training:
    import _ssl

    more = packages("ipykernel", "jupytext", "nbclient")
    more[_ssl.__file__] = Path(_ssl.__file__)
    more |= linked(path for path in more.values() if isinstance(path, Path) and ".so" in path.name)
    made = Training(tmp_path_factory.mktemp("pipeline") / "service", shared, "jobs-pipeline", more)
    made.tiny.write("notebooks/prepare.py", NOTEBOOK)
    made.tiny.write("src/service/rules.py", RULES)
    made.tiny.write("src/service/promotion.py", PROMOTION)
    made.tiny.write("data/raw.txt", "1 2 x3 4")
    settings = '\n[prepare]\nnotebook = "notebooks/prepare.py"\noptions = { source = "data/raw.txt", seed = 3 }\n'
    made.tiny.write("pipeline.toml", (made.tiny.root / "pipeline.toml").read_text() + settings)
    made.tiny.replace("pipeline.toml", 'branch = "main"\n', f'branch = "main"\naccount = "{ACCOUNT}"\n')
    made.tiny.commit()
    return made


@pytest.fixture(autouse=True)
def clean(service: Training) -> Iterator[None]:
    """Nothing of one test is left for the next, and nothing keeps running, whatever happened."""
    commit = service.tiny.git("rev-parse", "HEAD")
    yield
    service.tiny.git("reset", "--quiet", "--hard", commit)
    service.tiny.git("clean", "--quiet", "--force", "-dx", "data", "models", "build")
    assert service.runs() == []


def trainings(service: Training) -> list[dict[str, Any]]:
    """The trainings of pipelines, the newest first."""
    found: list[dict[str, Any]] = service.aws.list_training_jobs(
        NameContains="pipelines-", SortBy="CreationTime", SortOrder="Descending"
    )["TrainingJobSummaries"]
    return found


def without_notebook(service: Training, more: str) -> None:
    """To be quick, nothing is prepared, and no training continues from another."""
    text = (service.tiny.root / "pipeline.toml").read_text()
    text = text.replace('notebook = "notebooks/prepare.py"\n', "").replace('keeps = "build/kept"\n', "")
    service.tiny.write("pipeline.toml", f"{text}\n{more}\n")
    service.tiny.commit()


def test_pipeline_prepares_trains_judges_and_registers(service: Training) -> None:
    """Two hosts' parts are judged as one training on the prepared data; what passed is in the tree, and waits for its commit."""
    tiny = service.tiny
    first = (tiny.root / "model.lock").read_text().splitlines()[1]
    printed = tiny.invoke(*RUN, "--instances", "2")
    assert "runs jobs-pipeline-production, at most 0.33 hours of an instance, 0.03 USD; Ctrl-C stops it" in printed
    order = [line.strip() for line in printed.splitlines() if line.strip().endswith(": Succeeded")]
    assert order == [f"{name}: Succeeded" for name in ("prepare", "train", "evaluate", "gate", "register")]
    assert "prepare  reads data/raw.txt with seed 3" in printed
    assert "train  algo-2  trains b c" in printed
    assert f"evaluate  judges a.model b.model c.model data.txt run.json against {first}" in printed
    model = b"a of 1 2 4"
    digest = hashlib.sha256(model).hexdigest()
    assert f'digest = "sha256:{digest}"' in (tiny.root / "model.lock").read_text()
    (file,) = (tiny.root / "models").iterdir()  # the old one is removed, as the gate did
    assert file.read_bytes() == model
    assert json.loads((tiny.root / f"data/{DATA}/manifest.json").read_text())["rows"] == 3
    assert f"dataset {DATA}" in printed
    name = printed.partition("model package ")[2].partition(": ")[0]
    package = service.aws.describe_model_package(ModelPackageName=name)
    assert package["ModelApprovalStatus"] == "PendingManualApproval"
    assert package["ModelPackageDescription"] == f"sha256:{digest}"
    assert package["CustomerMetadataProperties"] == {"service": tiny.name, "data": DATA}
    assert package["MetadataProperties"]["CommitId"] == tiny.git("rev-parse", "HEAD")
    assert "next: commit them, then invoke register --branch main, which approves the package" in printed
    tiny.commit()
    assert f"{name}: sha256:{digest[:12]}… PendingManualApproval → Approved" in tiny.invoke("register")


def test_refusal_of_the_gate_is_reported(service: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data team gets what the gate printed; no package, no change of the tree, exit code 1."""
    tiny = service.tiny
    without_notebook(service, "[promote.options]\nrefuse = true")
    with as_aws(service, monkeypatch), slack() as server, monkeypatch.context() as patched:
        patched.setattr(Tiny, "environment", {**tiny.environment, "SLACK_WEBHOOK_URL": server.url})
        printed = tiny.invoke(*RUN, code=1)
    assert "✗ the gate refused: 0.5 is worse than 0.4" in printed
    assert "register" not in printed
    lines = server.got[0].splitlines()
    assert lines[0] == "✗ pipeline of jobs-pipeline in production failed"
    assert lines[3].startswith("judges a.model")
    assert lines[4] == "✗ refused: 0.5 is worse than 0.4"
    assert tiny.git("status", "--porcelain") == ""


def test_definition_is_made_of_the_jobs_own_requests(service: Training) -> None:
    """What is printed is JSON of the public schema's version, with what ``invoke train`` would ask for; it can be created."""
    document = json.loads(service.tiny.invoke("pipeline", "--render", "--instances", "2"))
    assert document["Version"] == "2020-12-01"
    found = {step["Name"]: step for step in document["Steps"]}
    assert {name: step["Type"] for name, step in found.items()} == {
        "prepare": "Processing",
        "train": "Training",
        "evaluate": "Processing",
        "gate": "Condition",
    }
    opened = service.tiny.open()
    given = steps.Inputs("", "", "", "", "")
    role = steps.role(opened)
    train = sagemaker.training(opened, given, role, service.image, 2, (), "")
    rendered = found["train"]["Arguments"]
    for member in ("RoleArn", "ResourceConfig", "StoppingCondition", "EnableManagedSpotTraining"):
        assert rendered[member] == train[member]
    assert (
        rendered["AlgorithmSpecification"]["MetricDefinitions"] == train["AlgorithmSpecification"]["MetricDefinitions"]
    )
    process = sagemaker.processing(opened, given, role, service.image)
    for name in ("prepare", "evaluate"):
        for member in ("RoleArn", "ProcessingResources", "StoppingCondition"):
            assert found[name]["Arguments"][member] == process[member]
    valid(document)
    text = {"PipelineName": "rendered", "PipelineDefinition": json.dumps(document)}
    service.aws.create_pipeline(**text, RoleArn=steps.role(opened, "PipelineRole"))
    service.aws.delete_pipeline(PipelineName="rendered")


def test_training_begins_with_the_best_of_a_tuning(service: Training) -> None:
    """The trials are jobs of the pipeline; the training gets the best values of each kind, typed, and their score."""
    service.tiny.write("src/service/trial.py", TRIAL)
    without_notebook(service, SETTINGS.replace("trials = 6", "trials = 3").replace("parallel = 3", "parallel = 2"))
    printed = service.tiny.invoke(*RUN, "--tune")
    order = [line.strip() for line in printed.splitlines() if line.strip().endswith(": Succeeded")]
    assert order == [f"{name}: Succeeded" for name in ("tune", "train", "evaluate", "gate", "register")]
    best = json.loads(printed.partition("train  tuned ")[2].splitlines()[0])["best"]
    assert set(best) <= {"a", "b"}
    assert best
    trials = service.aws.list_training_jobs(
        NameContains="-0", SortBy="CreationTime", SortOrder="Descending", MaxResults=3
    )
    assert len(trials["TrainingJobSummaries"]) == 3
    for kind, tried in best.items():
        values = tried["values"]
        assert isinstance(values["x"], int)
        assert tried["score"] == (values["x"] - 3) ** 2 + (values.get("size", "small") == "small")
        assert set(values) == ({"x", "size"} if kind == "b" else {"x"})
    document = json.loads(service.tiny.invoke("pipeline", "--render", "--tune"))
    tune = next(step for step in document["Steps"] if step["Type"] == "Tuning")["Arguments"]
    assert tune["HyperParameterTuningJobConfig"]["ResourceLimits"]["MaxNumberOfTrainingJobs"] == 3
    valid(document)


@pytest.mark.parametrize(("goal", "x"), [("minimize", 2), ("maximize", 3)])
def test_best_trial_of_each_kind_is_chosen(tmp_path: Path, goal: str, x: int) -> None:
    """By the goal; a trial without a score, and a file that is none, are no trials."""
    tried = [("a", 0.5, "3"), ("a", 0.25, "2"), ("b", 9.0, "4"), ("a", None, "1")]
    for number, (kind, score, value) in enumerate(tried):
        made = tmp_path / f"trial-{number}/output"
        made.mkdir(parents=True)
        (made / "trial.json").write_text(json.dumps({"kind": kind, "score": score, "values": {"x": value}}))
        with tarfile.open(made / "model.tar.gz", "w:gz") as archive:
            archive.add(made / "trial.json", "trial.json")
    (tmp_path / "job.json").write_text("{}")
    space = {"x": {"low": 1, "high": 4, "whole": True}}
    found = inside.best(tmp_path, {"goal": goal, "spaces": {"a": space, "b": space}})
    assert {kind: one["values"] for kind, one in found.items()} == {"a": {"x": x}, "b": {"x": 4}}


def valid(document: dict[str, Any]) -> None:
    """Compare it with the public schema, where that is; it states no licence."""
    if schema := os.environ.get("PIPELINE_DEFINITION_SCHEMA"):
        jsonschema.validate(document, json.loads(Path(schema).read_text()))


@pytest.mark.parametrize("name", ["/etc/x", "../x", "models/../../x", ".git/hooks/pre-commit", "lib/.git/config"])
def test_archive_of_a_job_writes_nothing_beside_the_service(name: str) -> None:
    """What a job leaves is from outside; what it may change is seen by ``git diff``."""
    assert not pipeline._inside(name)
    assert pipeline._inside("models/a.onnx")
    assert pipeline._inside(".github/x")


def test_mistyped_pipelines_are_refused(service: Training) -> None:
    """Neither or both of the options, and more hosts than parts."""
    assert "--render, --run: 1 problem\n  write one of the two" in service.tiny.invoke("pipeline", code=1)
    assert "write one of the two" in service.tiny.invoke("pipeline", "--run", "--render", code=1)
    assert "4 hosts for 3 parts" in service.tiny.invoke(*RUN, "--instances", "4", code=1)


def test_cancel_stops_the_execution_and_its_job(service: Training) -> None:
    """Ctrl-C stops both, and waits until they have stopped."""
    without_notebook(service, '[train.options]\ndo = "wait"')
    with service.started(*RUN) as process:
        assert process.stdout
        for line in process.stdout:
            if "waiting" in line:
                process.send_signal(signal.SIGINT)
                break
        rest = process.stdout.read()
    assert "✗ interrupted; the job arn:aws:sagemaker:" in rest
    assert " is stopped\n" in rest
    assert process.returncode == 130
    assert trainings(service)[0]["TrainingJobStatus"] == "Stopped"


def test_execution_that_is_stopped_elsewhere_is_named(service: Training) -> None:
    """An execution that the console stops is a failure, which says so."""
    without_notebook(service, '[train.options]\ndo = "wait"')
    with service.started(*RUN) as process:
        assert process.stdout
        for line in process.stdout:
            if "waiting" in line:
                break
        number = trainings(service)[0]["TrainingJobName"].split("-")[1]
        pipeline = service.aws.describe_pipeline(PipelineName=f"{service.tiny.name}-production")["PipelineArn"]
        service.aws.stop_pipeline_execution(PipelineExecutionArn=f"{pipeline}/execution/{number}")
        rest = process.stdout.read()
    assert "was stopped, not by this command: in the console, or by another command" in rest
    assert process.returncode == 1
