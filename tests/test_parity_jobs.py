"""train.yml trains and tunes: the cost before the review, then the job, by the workflow's own steps and with its own role."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest
from bake import bake, commit, start
from botocore import UNSIGNED
from botocore.config import Config as Options
from botocore.exceptions import ClientError
from botocore.session import Session
from issuer import Issuer
from jobs import pushed
from roles import ACCOUNT
from tiny import PYTHON
from workflow import WORKFLOWS, Event, Runner, asked, bootstrapped

from ml_delivery import emulator

TRAIN = "import pathlib; pathlib.Path('build').mkdir(exist_ok=True); pathlib.Path('build/a.model').write_text('made')"
TRIAL = """import sys; print('{"a": {"x": {"choices": [1]}}}' if '--spaces' in sys.argv else 'score=1')"""


def command(text: str) -> str:
    return f"command = {json.dumps([f'python{PYTHON}', '-c', text])}"


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """A bake of the trivial service with jobs switched on, whose image is there, bootstrapped as its README says."""
    made = bake(
        tmp_path_factory.mktemp("parity") / "out", starter="blank", python_version=PYTHON, project_slug="demand-pricing"
    )
    issuer = Issuer()
    start(made)
    subprocess.run(["make", "setup"], cwd=made, check=True, capture_output=True)
    running = emulator.up(made)
    image = pushed(running, "parity-jobs", {})
    settings = made / "pipeline.toml"
    text = settings.read_text().replace('branch = "main"\naccount = ""', f'branch = "main"\naccount = "{ACCOUNT}"')
    text = text.replace('instance = ""', 'instance = "ml.m5.large"', 1).replace('image = ""', f'image = "{image}"', 1)
    text = text.replace("dollars_per_hour = 0.0", "dollars_per_hour = 0.1").replace("trials = 16", "trials = 1")
    text = text.replace('command = ["python", "-m", "service.training"]', command(TRAIN))
    text = text.replace("command = []", command(TRIAL), 1)
    settings.write_text(text)
    commit(made, "Jobs")
    issuer.publish(made / ".pipeline/cloud")
    runner = Runner(made, running.endpoint, issuer, {})
    yield runner
    emulator.down(made)


@pytest.fixture(scope="module")
def delivery(runner: Runner) -> str:
    """The variable that ``invoke bootstrap`` prints."""
    return bootstrapped(runner.checkout)


def test_training_and_tuning_run_after_their_cost_was_shown(runner: Runner, delivery: str) -> None:
    """Both jobs of both actions: the cost is in the summary, then the job runs as the role of the environment."""
    for action, cost, done in (
        ("train", "a training on 1 × ml.m5.large: at most 1.00 hours of an instance, 0.10 USD", "1 file in build"),
        (
            "tune",
            "a tuning with 1 trial: at most 1.00 hours of an instance, 0.10 USD",
            "best values in data/tuned.json",
        ),
    ):
        event = Event("workflow_dispatch", "main", delivery, {"action": action, "instances": "1"})
        runner.job("train.yml", "cost", event)
        assert cost in runner.summary.read_text()
        runner.job("train.yml", "train", event)
        assert done in runner.printed[-1]
    steps = [
        step["run"]
        for job in ("cost", "train")
        for step in WORKFLOWS["train.yml"]["jobs"][job]["steps"]
        if "run" in step
    ]
    assert set(steps) <= set(runner.ran)


def test_role_of_jobs_deploys_nothing(runner: Runner, delivery: str) -> None:
    """The service's code runs beside it: its workflow can't take the deploy role, nor this one write what a deploy reads."""
    roles = json.loads(delivery)["main"]
    assert set(roles) == asked()
    endpoint = {"region_name": "eu-west-1", "endpoint_url": runner.endpoint}
    sts = Session().create_client("sts", config=Options(signature_version=UNSIGNED), **endpoint)

    def keys(role: str, workflow: str) -> dict[str, str]:
        subject = "repo:your-organisation/demand-pricing"
        token = runner.issuer.token(
            f"{subject}:environment:production",
            job_workflow_ref=f"{subject.removeprefix('repo:')}/.github/workflows/{workflow}@refs/heads/main",
        )
        found = sts.assume_role_with_web_identity(RoleArn=roles[role], RoleSessionName="tests", WebIdentityToken=token)[
            "Credentials"
        ]
        names = {"aws_access_key_id": "AccessKeyId", "aws_secret_access_key": "SecretAccessKey"}
        return {**{name: found[known] for name, known in names.items()}, "aws_session_token": found["SessionToken"]}

    for role, workflow in (("deploy", "train.yml"), ("train", "deploy.yml")):
        with pytest.raises(ClientError, match="Not authorized to perform sts:AssumeRoleWithWebIdentity"):
            keys(role, workflow)
    assert keys("deploy", "deploy.yml")
    own = keys("train", "train.yml")
    s3, functions = (Session().create_client(name, **endpoint, **own) for name in ("s3", "lambda"))
    bucket = f"demand-pricing-production-{ACCOUNT}"
    s3.put_object(Bucket=bucket, Key="jobs/a", Body=b"")
    for key in ("artifacts/a", "releases/production/head.json"):
        with pytest.raises(ClientError, match="AccessDenied"):
            s3.put_object(Bucket=bucket, Key=key, Body=b"")
    with pytest.raises(ClientError, match="AccessDenied"):
        functions.get_alias(FunctionName="demand-pricing-production", Name="live")
