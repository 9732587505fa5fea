"""``invoke train --on``: divided among hosts, merged to what one host makes, and each failure one clear message."""

from __future__ import annotations

import hashlib
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from emulated import client
from jobs import Training
from made_images import allow, user

from ml_delivery.cloud import Cloud
from ml_delivery.errors import CloudError, ConfigError, ModelError
from ml_delivery.jobs import running, sagemaker, split, steps
from ml_delivery.jobs import train as training
from ml_delivery.keys import Jobs
from ml_delivery.records import Context
from ml_delivery.waiting import wait

ON = ("train", "--on", "sagemaker")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Training:
    return Training(tmp_path_factory.mktemp("jobs") / "service", shared, "jobs-training")


@pytest.fixture(autouse=True)
def clean(service: Training) -> Iterator[None]:
    """Nothing of one test is left for the next, and nothing keeps running, whatever happened."""
    yield
    service.tiny.git("checkout", "--quiet", "--", ".")
    service.made()
    assert service.runs() == []


def test_two_hosts_make_what_one_makes(service: Training) -> None:
    """The files of two hosts, of one host and of a training here are the same bytes; costs are shown before and after."""
    service.tiny.invoke("train")
    here = service.made()
    assert set(here) == {"a.model", "b.model", "c.model", "data.txt", "run.json"}
    one = service.tiny.invoke(*ON)
    assert "trains on 1 × ml.m5.large, at most 0.08 hours of an instance, 0.01 USD" in one
    assert service.made() == here
    two = service.tiny.invoke(*ON, "--instances", "2")
    assert "host 1: a\nhost 2: b, c\n" in two
    assert "trains on 2 × ml.m5.large, at most 0.17 hours of an instance, 0.02 USD" in two
    assert "algo-1  trains a\n" in two  # the log of each host
    assert "algo-2  trains b c\n" in two
    assert "error 0.5\n" in two
    assert service.made() == here
    job = service.job()
    assert job["AlgorithmSpecification"]["TrainingImage"] == service.image
    assert job["ResourceConfig"]["InstanceCount"] == 2
    assert f"{job['TrainingJobName']}: 6 files in build/made, 0.00 hours of an instance, 0.00 USD" in two


def test_hosts_train_a_part_together(service: Training) -> None:
    """Each host gets it beside its own parts, by ``--together``, and the names of all hosts; its files are the same on each."""
    service.tiny.invoke("train")
    here = service.made()
    service.tiny.replace("pipeline.toml", "[jobs]\n", '[jobs]\ntogether = ["b"]\n')
    printed = service.tiny.invoke(*ON, "--instances", "2")
    assert "host 1: b, a\nhost 2: b, c\n" in printed
    for host in ("algo-1", "algo-2"):
        assert f'{host}  {host} of ["algo-1", "algo-2"] shares b\n' in printed
    assert service.made() == here
    alone = service.tiny.invoke(*ON)
    assert "shares" not in alone
    service.tiny.replace("pipeline.toml", '["b"]', '["x"]')
    assert "jobs.together: x is no part; write one of jobs.parts" in service.tiny.invoke(*ON, code=1)


def test_cost_alone_starts_nothing(service: Training) -> None:
    """``--cost`` shows what a training costs at most, without any cloud; here it costs nothing, and without jobs it is refused."""
    before = time.time()
    printed = service.tiny.invoke(*ON, "--instances", "2", "--cost")
    assert printed == "a training on 2 × ml.m5.large: at most 0.17 hours of an instance, 0.02 USD\n"
    started = service.aws.list_training_jobs(NameContains=service.tiny.name, CreationTimeAfter=before)
    assert started["TrainingJobSummaries"] == []
    assert "4 hosts for 3 parts" in service.tiny.invoke(*ON, "--instances", "4", "--cost", code=1)
    assert "a training here costs nothing; add --on" in service.tiny.invoke("train", "--cost", code=1)
    service.tiny.replace("pipeline.toml", 'instance = "ml.m5.large"', 'instance = ""')
    assert "jobs.instance: empty, so that there are no jobs" in service.tiny.invoke(*ON, "--cost", code=1)


def test_longest_parts_are_first() -> None:
    """Each part goes to the host that is done first, the longest before the others; too many hosts are refused."""
    jobs = Jobs(split="kinds", parts={"x": 1, "y": 5, "z": 4, "w": 3})
    assert split.divide(jobs, 1) == ()
    assert split.divide(jobs, 2) == (("y", "x"), ("z", "w"))
    assert split.divide(jobs, 4) == (("y",), ("z",), ("w",), ("x",))
    assert split.divide(replace(jobs, together=("z",)), 2) == (("z", "y"), ("z", "w", "x"))
    assert split.divide(replace(jobs, together=("z", "x")), 5) == (("z", "x", "y"), ("z", "x", "w"), *[("z", "x")] * 3)
    with pytest.raises(ConfigError, match="5 hosts for 4 parts"):
        split.divide(jobs, 5)
    with pytest.raises(ConfigError, match="nothing to divide"):
        split.divide(Jobs(), 2)
    with pytest.raises(ConfigError, match="0 is not a number of hosts"):
        split.divide(jobs, 0)


def test_dataset_is_named_by_its_digest(service: Training) -> None:
    """A job reads the dataset that an option names; one that is unknown or was altered starts no job."""
    digest = hashlib.sha256(b"rows").hexdigest()
    place = f"data/{digest}/data.parquet"
    unknown = service.tiny.invoke(*ON, "--option", f"data={place}", code=1)
    assert f"there is no dataset {digest}, neither in data/ nor in the bucket jobs-training-production-" in unknown
    cut = service.tiny.invoke(*ON, "--option", f"data=data/{digest[:12]}/data.parquet", code=1)
    assert f"there is no dataset {digest[:12]}, neither in data/ nor in the bucket" in cut
    service.tiny.write(place, "rows")
    service.tiny.write(f"data/{digest}/manifest.json", "{}")
    service.tiny.invoke(*ON, "--instances", "2", "--option", f"data={place}")
    assert service.made()["b.model"] == b"b of rows"
    (service.tiny.root / place).unlink()
    assert "there is no dataset" in service.tiny.invoke("train", "--option", f"data={place}", code=1)
    service.tiny.invoke("train", "--branch", "main", "--option", f"data={place}")  # fetched from the bucket
    assert service.made()["a.model"] == b"a of rows"
    manifest = service.tiny.root / f"data/{digest}/manifest.json"  # in git: another branch may not have it
    manifest.unlink()
    training.plan(context(service), {"data": place}, 1)
    assert manifest.read_text() == "{}"
    service.tiny.write(place, "other rows")
    assert f"{place} was altered" in service.tiny.invoke(*ON, "--option", f"data={place}", code=1)
    (service.tiny.root / place).unlink()


@pytest.mark.parametrize(
    ("do", "hosts", "reason"),
    [
        ("fail", 2, "AlgorithmError: [train] command exited with code 7: trains"),
        ("nothing", 1, "[train] command wrote nothing into build/made ([jobs] writes)"),
        ("clash", 2, "algo-1 and algo-2 both wrote same.txt, with different content"),
        ("quiet", 1, "its log has no line that [jobs.metrics] error matches: error=([0-9.]+)"),
    ],
)
def test_training_that_fails_is_one_message(service: Training, do: str, hosts: int, reason: str) -> None:
    """What the program did wrong is the reason, with exit code 1, and no file of it arrives."""
    printed = service.tiny.invoke(*ON, "--instances", str(hosts), "--option", f"do={do}", code=1)
    assert reason in printed
    assert len([line for line in printed.splitlines() if line.startswith("✗")]) == 1
    assert service.made() == {}


def test_cancel_stops_the_job(service: Training) -> None:
    """Ctrl-C stops the job, and waits until it has stopped."""
    with service.started(*ON, "--option", "do=wait") as process:
        assert process.stdout
        for line in process.stdout:
            if "waiting" in line:
                process.send_signal(signal.SIGINT)
                break
        rest = process.stdout.read()
    job = service.job()
    assert f"✗ interrupted; the job {job['TrainingJobName']} is stopped" in rest
    assert process.returncode == 130
    assert job["TrainingJobStatus"] == "Stopped"


def test_job_that_is_stopped_elsewhere_is_named(service: Training) -> None:
    """A job that the console stops is a failure, which says so."""

    def stop() -> None:
        name = wait(lambda: next(iter(service.runs()), None), what="the job", seconds=60)
        service.aws.stop_training_job(TrainingJobName=name)

    stopper = threading.Thread(target=stop)
    stopper.start()
    printed = service.tiny.invoke(*ON, "--option", "do=wait", code=1)
    stopper.join()
    assert "was stopped, not by this command: in the console, or by another command" in printed


def context(service: Training) -> Context:
    return service.tiny.open()


def plan(service: Training, **options: str) -> training.Plan:
    return training.plan(context(service), options, 1)


def test_job_that_takes_too_long_is_stopped(service: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kind of job that SageMaker sets no limit for is stopped here, when it reaches its limit."""
    code = service.tiny.root / "src/service/training.py"
    code.write_text(f"{code.read_text()}# so that no earlier job is continued\n")
    run = running.run
    monkeypatch.setattr(running, "run", lambda *words: run(*words, 8.0))  # by when it waits
    with pytest.raises(CloudError, match=r"its limit \(\[jobs\] minutes\); the job .* is stopped"):
        training.train(context(service), plan(service, do="wait"), print)


def test_interrupted_training_continues(service: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that reaches its limit is stopped and says so; the next one finds what it kept."""
    made = sagemaker.training

    def short(*args: Any) -> dict[str, Any]:
        return {**made(*args), "StoppingCondition": {"MaxRuntimeInSeconds": 4}}

    with monkeypatch.context() as patched:
        patched.setattr(sagemaker, "training", short)
        with pytest.raises(ModelError, match="was stopped after 5 minutes, its limit"):
            training.train(context(service), plan(service, do="resume"), print)
    lines: list[str] = []
    done = training.train(context(service), plan(service, do="resume"), lines.append)
    assert "resumed" in lines
    assert "a.model" in done.files


def test_spot_waits_for_capacity(service: Training) -> None:
    """On spot capacity a job may wait as long again, and keeps what it continues from."""
    service.tiny.replace("pipeline.toml", "minutes = 5", "minutes = 5\nspot = true")
    assert "on spot capacity" in service.tiny.invoke(*ON)
    job = service.job()
    assert job["StoppingCondition"] == {"MaxRuntimeInSeconds": 300, "MaxWaitTimeInSeconds": 600}
    assert job["EnableManagedSpotTraining"]
    assert "/jobs/checkpoints/" in job["CheckpointConfig"]["S3Uri"]


def test_role_that_can_not_be_passed_is_named(service: Training) -> None:
    """Without iam:PassRole nothing starts, and the message names the right and the role."""
    opened = context(service)
    wanted = plan(service)
    key = user_keys(service, "may-not-pass", allow("sagemaker:*", "s3:*", "logs:*"))
    session = opened.cloud._session.__class__()
    session.set_config_variable("region", opened.cloud.region)
    session.set_credentials(*key)
    cloud = Cloud("embedded", opened.cloud.region, opened.cloud.account, session, opened.cloud.endpoint)
    with pytest.raises(CloudError, match="may not pass the role of jobs") as fault:
        training.train(Context(opened.config, opened.environment, cloud, opened.foundation), wanted, print)
    assert fault.value.next == f"grant iam:PassRole on {wanted.role} with iam:PassedToService sagemaker.amazonaws.com"


def user_keys(service: Training, name: str, *statements: dict[str, Any]) -> tuple[str, str]:
    signed = user(service.running, name, "sts", *statements)
    found = signed._request_signer._credentials
    return found.access_key, found.secret_key


def test_quota_that_is_used_up_is_named(service: Training) -> None:
    """AWS's refusal, as it is documented, says what to ask for; the emulator has no quotas, so the answer is put in its place."""
    opened = context(service)
    wanted = plan(service)
    body = b'{"__type": "ResourceLimitExceeded", "message": "The account-level service limit is 0 Instances"}'

    def refuse(request: Any, **_: Any) -> AWSResponse | None:
        if not request.headers.get("X-Amz-Target", b"").endswith(b"CreateTrainingJob"):
            return None
        answer = AWSResponse(request.url, 400, {"Content-Type": "application/x-amz-json-1.1"}, None)
        answer._content = body
        return answer

    opened.cloud.client("sagemaker").meta.events.register("before-send", refuse)
    with pytest.raises(CloudError, match="quota does not allow this job: The account-level service limit") as fault:
        training.train(opened, wanted, print)
    assert "raise the quota for ml.m5.large" in fault.value.next


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("@sha256:", f"@sha256:{'0' * 64}#", "there is no image"),
        ('instance = "ml.m5.large"', 'instance = ""', "jobs.instance: empty, so that there are no jobs"),
        ("a = 3", 'a = "3"', "jobs.parts.a: '3' is not a number above 0"),
        ("([0-9.]+)", "[0-9.]+", "jobs.metrics.error: it has 0 groups; write one, for the number"),
        ('split = "kinds"', 'split = ""', "jobs.split: empty; write the option"),
    ],
)
def test_settings_that_can_not_work_start_nothing(service: Training, old: str, new: str, says: str) -> None:
    """An image that does not exist, an environment without jobs, and what is wrong in [jobs] are refused first."""
    text = (service.tiny.root / "pipeline.toml").read_text()
    if "#" in new:
        at = text.index("@sha256:")
        text = text[:at] + new[:-1] + text[at + len("@sha256:") + 64 :]
    service.tiny.write("pipeline.toml", text.replace(old, new) if "#" not in new else text)
    before = time.time()
    assert says in service.tiny.invoke(*ON, code=1)
    started = service.aws.list_training_jobs(NameContains=service.tiny.name, CreationTimeAfter=before)
    assert started["TrainingJobSummaries"] == []


def test_environment_from_before_jobs_is_named(service: Training) -> None:
    """On AWS the stack is not changed by a training: without the role the message has the command that creates it."""
    opened = context(service)
    outputs = {name: value for name, value in opened.foundation.outputs.items() if name != "JobRole"}
    older = Context(opened.config, opened.environment, opened.cloud, replace(opened.foundation, outputs=outputs))
    with pytest.raises(CloudError, match="production has no JobRole") as fault:
        training.plan(older, {}, 1)
    assert fault.value.next == "invoke bootstrap --branch main"


def test_mistyped_places_and_hosts_are_refused(service: Training) -> None:
    """A place that does not exist, and hosts without a job."""
    assert "'moon' is not a place to run on; write sagemaker" in service.tiny.invoke("train", "--on", "moon", code=1)
    assert "only a job has hosts; add --on" in service.tiny.invoke("train", "--instances", "2", code=1)
    assert "4 hosts for 3 parts" in service.tiny.invoke(*ON, "--instances", "4", code=1)


def test_job_runs_with_its_own_rights_only(service: Training) -> None:
    """The role reads data and jobs, and writes jobs; artifacts, the ledger and datasets it can't write."""
    opened = context(service)
    bucket, arn = opened.foundation.bucket, steps.role(opened)
    iam = client(service.running, "iam")
    policy = iam.get_role_policy(RoleName=arn.rpartition("/")[2], PolicyName="job")["PolicyDocument"]
    writes = [s for s in policy["Statement"] if "s3:PutObject" in s["Action"]]
    assert [s["Resource"] for s in writes] == [f"arn:aws:s3:::{bucket}/jobs/*"]
    image = service.image.partition("/")[2].partition("@")[0]
    (pull,) = (s for s in policy["Statement"] if s["Sid"] == "Pull")
    assert any(place.endswith(f":repository/{image}") for place in pull["Resource"])
