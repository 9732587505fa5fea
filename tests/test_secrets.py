"""No secret value gets out: canaries in the environment, in SSM and in the webhook's address, over a full run."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from roles import ACCOUNT
from test_notify import Slack
from tiny import PRICING, Tiny

from ml_delivery import emulator
from ml_delivery.account import change_sets, stacks
from ml_delivery.cloud import Cloud

CANARIES = {
    "SNYK_TOKEN": "canary-0123-snyk",
    "GITHUB_TOKEN": "canary-4567-github",
    "DATABASE_PASSWORD": "canary-89ab-database",
    "PIP_INDEX_URL": "https://user:canary-cdef-index@127.0.0.1:9/simple",
}
SECRETS = ["canary-0123", "canary-4567", "canary-89ab", "canary-cdef", "canary-of-ssm", "canary-of-the-webhook"]


def leaks(place: str, content: bytes) -> list[str]:
    """Which canaries are in ``content``, a ZIP's members among it."""
    found = [f"{place}: {secret}" for secret in SECRETS if secret.encode() in content]
    if zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name in archive.namelist():
                found += leaks(f"{place}/{name}", archive.read(name))
    return found


@pytest.fixture
def service(tiny_alone: Tiny, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    """A tiny service on an embedded AWS of its own, reached as AWS is, with a secret in SSM."""
    tiny = tiny_alone
    tiny.replace("pipeline.toml", 'branch = "main"\n', f'branch = "main"\naccount = "{ACCOUNT}"\n')
    project = (PRICING / "pyproject.toml").read_text()
    (tiny.root / "pyproject.toml").write_text(re.sub(r"(?ms)^dependencies = \[.*?^\]", "dependencies = []", project))
    tiny.commit()
    running = emulator.up(tiny.root)
    environment = tiny.config.environment("main")
    cloud = Cloud.open(tiny.config, environment, "embedded")
    for stack in (stacks.service(tiny.config, environment), stacks.delivering(tiny.config, environment)):
        change_sets.ensure(stack, cloud)
    cloud.client("ssm").put_parameter(Name=f"/{tiny.name}/production/key", Value="canary-of-ssm", Type="SecureString")
    monkeypatch.setenv("GITHUB_API_URL", "http://127.0.0.1:9")
    variables = {
        **CANARIES,
        "AWS_ENDPOINT_URL": running.endpoint,
        "AWS_ACCESS_KEY_ID": running.access_key,
        "AWS_SECRET_ACCESS_KEY": running.secret_key,
        "PIPELINE_CLOUD": "aws",
        "GITHUB_STEP_SUMMARY": str(tiny.root.parent / "summary.md"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    monkeypatch.setattr(Tiny, "environment", {**tiny.environment, **variables})
    return tiny


def test_no_secret_gets_out(service: Tiny) -> None:
    """Nothing printed, summarised, built, pushed, recorded, configured or logged holds one, in success and in failure."""
    slack = Slack(status=500)
    service.environment["SLACK_WEBHOOK_URL"] = slack.url
    printed = []

    def run(*words: str) -> None:
        done = subprocess.run(
            words, cwd=service.root, env=service.environment, capture_output=True, text=True, check=False
        )
        printed.append(done.stdout + done.stderr)

    def invoke(*words: str) -> None:
        run(*service.command(*words))

    for words in (["build"], ["push"], ["plan"], ["plan", "--json"], ["deploy"], ["status", "--json"], ["verify"]):
        invoke(*words)
    assert "is verified" in printed[4]
    service.fault("answers 500")
    for words in (["build"], ["push"], ["deploy"]):
        invoke(*words)
    assert "refused: " in printed[-1]
    for words in (
        ["releases", "--json"],
        ["logs"],
        ["config", "--json"],
        ["doctor"],
        ["rollback"],
        ["build", "--on", "codebuild"],
    ):
        invoke(*words)
    run(sys.executable, "-m", "ml_delivery.scanning", "sast")
    run(sys.executable, "-m", "ml_delivery.scanning", "sca")
    slack.shutdown()

    found = leaks("printed", "\n".join(printed).encode())
    found += leaks("summary", (service.root.parent / "summary.md").read_bytes())
    found += leaks("told", "\n".join(slack.got).encode())
    for path in (service.root / "build").rglob("*"):
        if path.is_file():
            found += leaks(str(path.relative_to(service.root)), path.read_bytes())
    cloud = Cloud.open(service.config, service.config.environment("main"), "embedded")
    s3, bucket = cloud.client("s3"), f"{service.name}-production-{ACCOUNT}"
    entries = s3.list_objects_v2(Bucket=bucket)["Contents"]
    assert len(entries) > 5
    for entry in entries:
        found += leaks(entry["Key"], s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read())
    versions = cloud.client("lambda").list_versions_by_function(FunctionName=f"{service.name}-production")
    found += leaks("function", str(versions).encode())
    logs = cloud.client("logs")
    for group in logs.describe_log_groups()["logGroups"]:
        events = logs.filter_log_events(logGroupName=group["logGroupName"])["events"]
        found += leaks(group["logGroupName"], str(events).encode())
    assert slack.got
    assert found == []


RAISING = """
    if event["rawPath"] == "/readyz":
        raise RuntimeError("https://user:canary-cdef-index@db, canary-of-ssm, password=canary-in-the-text ::add-mask::x")
"""
ANSWERING = """
    if event["rawPath"] == "/readyz":
        print("canary-of-ssm", "canary-of-the-webhook")
        return {"statusCode": 500, "body": "no: canary-of-ssm, AKIACANARY0123456789, Bearer canary-in-the-text"}
"""


@pytest.mark.parametrize(
    ("answer", "reads"),
    [(RAISING, False), (ANSWERING, True)],
    ids=["raises, its secrets can't be read here", "answers 500, they can"],
)
def test_what_a_service_leaks_is_masked(service: Tiny, answer: str, reads: bool) -> None:
    """A handler that puts secrets into its exception, response and log: none is printed, sent, summarised or recorded."""
    environment = service.config.environment("main")
    cloud = Cloud.open(service.config, environment, "embedded")
    name = f"{service.name}-production"
    path = f"/{service.name}/production/key"
    service.replace("pipeline.toml", "[promote]", f'[function.secrets]\nAPI_KEY = "ssm:{path}"\n\n[promote]')
    service.replace("src/service/handler.py", '    body = {"release"', f'{answer}\n    body = {{"release"')
    service.commit("Leak")
    change_sets.ensure(stacks.service(service.config, service.config.environment("main")), cloud)
    if not reads:
        iam = cloud.client("iam")
        iam.create_user(UserName="deployer")
        rights = [
            {"Effect": "Allow", "Action": "*", "Resource": "*"},
            {"Effect": "Deny", "Action": "ssm:*", "Resource": "*"},
        ]
        document = json.dumps({"Version": "2012-10-17", "Statement": rights})
        iam.put_user_policy(UserName="deployer", PolicyName="all", PolicyDocument=document)
        key = iam.create_access_key(UserName="deployer")["AccessKey"]
        service.environment["AWS_ACCESS_KEY_ID"] = key["AccessKeyId"]
        service.environment["AWS_SECRET_ACCESS_KEY"] = key["SecretAccessKey"]
    sqs = cloud.client("sqs")
    queue = sqs.create_queue(QueueName=name)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    allow = {"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": arn}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy})
    cloud.client("sns").subscribe(TopicArn=f"arn:aws:sns:eu-west-1:{ACCOUNT}:{name}", Protocol="sqs", Endpoint=arn)
    slack = Slack()
    service.environment |= {"SLACK_WEBHOOK_URL": slack.url, "GITHUB_ACTIONS": "true"}

    printed = {
        words: subprocess.run(
            service.command(*words.split()),
            cwd=service.root,
            env=service.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        for words in ("build", "push", "deploy", "releases --json", "releases", "call /readyz", "logs", "status")
    }
    slack.shutdown()
    output = {words: done.stdout + done.stderr for words, done in printed.items()}
    assert printed["deploy"].returncode == 1
    kind = "RuntimeError: " if answer == RAISING else "answers /readyz with 500: "
    assert f"{kind}{'' if reads else '(not shown, since it may contain a secret'}" in output["deploy"]
    assert "Traceback" not in output["deploy"]

    s3, bucket = cloud.client("s3"), f"{name}-{ACCOUNT}"
    recorded = [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket, Prefix="releases/")["Contents"]]
    messages = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]
    sinks = {
        **{key: s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode() for key in recorded},
        "Slack": "\n".join(slack.got),
        "SNS": "\n".join(message["Body"] for message in messages),
        "summary": (service.root.parent / "summary.md").read_text(),
        **{words: text for words, text in output.items() if reads or words not in ("call /readyz", "logs")},
    }
    assert len(recorded) > 2
    assert kind.strip(": ") in sinks["Slack"] + sinks["SNS"]
    hidden = [*SECRETS, "canary-in-the-text", "AKIACANARY"]
    assert [(sink, secret) for sink, text in sinks.items() for secret in hidden if secret in text] == []
    # What the log and the response contain is known to the one who asks for them; without the right to read the secrets, what
    # has a secret's form, and what this process knows, is masked all the same.
    for words in ("call /readyz", "logs"):
        assert "canary-in-the-text" not in output[words]
        assert "canary-of-the-webhook" not in output[words]


def test_a_leak_would_be_found() -> None:
    """The search itself sees into archives."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.txt", "x canary-of-ssm x")
    assert "zip/a.txt: canary-of-ssm" in leaks("zip", buffer.getvalue())
