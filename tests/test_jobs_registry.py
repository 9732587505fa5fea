"""``invoke promote`` notifies the data team of a refusal; the model registry follows ``model.lock``, and never leads it."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from emulated import client
from jobs import Training, as_aws
from roles import ACCOUNT
from test_notify import Slack, slack
from tiny import Tiny

PROMOTION = """\
import argparse, hashlib, sys
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--model", default="first")
parser.add_argument("--refuse", action="store_true")
options = parser.parse_args()
print("model    error", "lines     0.50", "trees     0.45", sep="\\n", flush=True)
if options.refuse:
    sys.exit("✗ refused: the error is 0.45, at most 0.40 may pass; password=canary")
content = options.model.encode()
digest = hashlib.sha256(content).hexdigest()
Path("models").mkdir(exist_ok=True)
Path(f"models/{digest[:12]}.onnx").write_bytes(content)
lock = f'[primary]\\ndigest = "sha256:{digest}"\\nfile = "models/{digest[:12]}.onnx"\\nmetrics = {{ error = 0.25 }}\\n'
Path("model.lock").write_text(lock + '\\n[data]\\ndigest = "sha256:of-the-data"\\n')
"""
REFUSAL = "✗ refused: the error is 0.45, at most 0.40 may pass; password=***"
TABLE = ["model    error", "lines     0.50", "trees     0.45", REFUSAL]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Training:
    made = Training(tmp_path_factory.mktemp("registry") / "service", shared, "jobs-registry")
    made.tiny.write("src/service/promotion.py", PROMOTION)
    made.tiny.replace("pipeline.toml", 'branch = "main"\n', f'branch = "main"\naccount = "{ACCOUNT}"\n')
    made.tiny.commit()
    return made


@pytest.fixture
def aws(service: Training, monkeypatch: pytest.MonkeyPatch) -> Iterator[Training]:
    with as_aws(service, monkeypatch):
        yield service
    service.tiny.git("checkout", "--quiet", "--", ".")
    service.tiny.git("clean", "--quiet", "--force", "-d")


def promote(aws: Training, server: Slack, monkeypatch: pytest.MonkeyPatch, *options: str, code: int = 0) -> str:
    with monkeypatch.context() as patched:
        patched.setattr(Tiny, "environment", {**aws.tiny.environment, "SLACK_WEBHOOK_URL": server.url})
        return aws.tiny.invoke("promote", "--branch", "main", *options, code=code)


def queue(aws: Training) -> tuple[Any, str]:
    """A subscriber of the environment's topic."""
    sqs, sns = client(aws.running, "sqs"), client(aws.running, "sns")
    url = sqs.create_queue(QueueName=aws.tiny.name)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=f"arn:aws:sns:eu-west-1:{ACCOUNT}:{aws.tiny.name}-production", Protocol="sqs", Endpoint=arn)
    allow = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [{**allow, "Resource": arn}]})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    return sqs, url


def packages(aws: Training) -> dict[str, dict[str, Any]]:
    """The model packages, by the digest of their model."""
    name = f"{aws.tiny.name}-production"
    listed = aws.aws.list_model_packages(ModelPackageGroupName=name, MaxResults=100)["ModelPackageSummaryList"]
    found = [aws.aws.describe_model_package(ModelPackageName=one["ModelPackageArn"]) for one in listed]
    return {one["ModelPackageDescription"]: one for one in found}


def test_refusal_is_reported_with_the_table_and_the_reason(aws: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slack and SNS get both, without secrets; nothing is registered, and the command fails as before."""
    sqs, url = queue(aws)
    before, registered = aws.tiny.git("status", "--porcelain"), aws.aws.list_model_packages()["ModelPackageSummaryList"]
    with slack() as server:
        printed = promote(aws, server, monkeypatch, "--option", "refuse", code=1)
    assert printed.count("trees     0.45") == 1
    assert "✗ [promote] command exited with code 1" in printed
    assert "next: fix what it printed, then invoke promote --branch main\n" in printed  # as typed
    (got,) = server.got
    lines = got.splitlines()
    assert lines[:2] == [f"✗ promotion of {aws.tiny.name} in production failed", REFUSAL]
    assert lines[2:8] == ["```", *TABLE, "```"]
    assert lines[8].startswith("by octocat, ")
    (message,) = sqs.receive_message(QueueUrl=url)["Messages"]
    assert json.loads(message["Body"])["Message"].splitlines()[2:6] == TABLE
    assert aws.tiny.git("status", "--porcelain") == before
    assert aws.aws.list_model_packages()["ModelPackageSummaryList"] == registered


def test_approval_follows_the_commit(aws: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    """A promoted model waits for approval until its commit is there, and is rejected when another one has its place."""
    with slack() as server:
        first = promote(aws, server, monkeypatch)
    assert "… PendingManualApproval" in first
    assert "next: commit model.lock with its models, then invoke register --branch main --cloud aws" in first
    assert server.got[0].splitlines()[1] == "a model passed the gate and is in model.lock"
    digest, old = (f"sha256:{hashlib.sha256(content).hexdigest()}" for content in (b"first", b"a model"))
    package = packages(aws)[digest]
    assert package["ModelApprovalStatus"] == "PendingManualApproval"
    assert package["MetadataProperties"]["CommitId"] == aws.tiny.git("rev-parse", "HEAD")
    facts = package["CustomerMetadataProperties"]
    assert (facts["model"], facts["role"], facts["data"]) == (digest, "primary", "sha256:of-the-data")
    s3 = client(aws.running, "s3")

    def content(uri: str) -> bytes:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        found: bytes = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        return found

    assert json.loads(content(package["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"])) == {"error": 0.25}
    (container,) = package["InferenceSpecification"]["Containers"]
    assert container["Image"] == aws.image
    with tarfile.open(fileobj=io.BytesIO(content(container["ModelDataUrl"]))) as archive:
        assert [archive.extractfile(entry).read() for entry in archive] == [b"first"]  # type: ignore[union-attr]

    def approvals() -> list[str]:
        found = packages(aws)
        return [found[one]["ModelApprovalStatus"] for one in (old, digest, second) if one in found]

    second = f"sha256:{hashlib.sha256(b'second').hexdigest()}"
    assert "the model registry is as model.lock says" in aws.tiny.invoke("register")
    assert approvals() == ["Approved", "PendingManualApproval"]  # the old one is what the commit names
    aws.tiny.commit()
    assert "PendingManualApproval → Approved" in aws.tiny.invoke("register")
    assert approvals() == ["Rejected", "Approved"]
    with slack() as server:
        promote(aws, server, monkeypatch, "--option", "model=second")
    assert approvals() == ["Rejected", "Approved", "PendingManualApproval"]
    aws.tiny.commit()
    aws.tiny.invoke("register")
    assert approvals() == ["Rejected", "Rejected", "Approved"]
    commit = aws.tiny.git("rev-parse", "HEAD")
    assert packages(aws)[digest]["ApprovalDescription"] == f"model.lock of {commit} names it no more"


def test_another_branch_changes_nothing(aws: Training) -> None:
    """Of another branch than the environment's, no package is approved."""
    aws.tiny.git("switch", "--quiet", "--create", "other")
    try:
        refused = aws.tiny.invoke("register", "--branch", "main", code=1)
    finally:
        aws.tiny.git("switch", "--quiet", "main")
    assert "other is checked out, and production follows main" in refused
    assert "next: git switch main, then invoke register --cloud aws" in refused
