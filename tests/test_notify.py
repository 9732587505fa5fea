"""Who is told what of a build, deploy and rollback; and that a channel that is down changes nothing."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from roles import ACCOUNT
from tiny import Tiny

from ml_delivery import emulator, notify
from ml_delivery.account import stacks
from ml_delivery.account.change_sets import ensure
from ml_delivery.cloud import Cloud

SECRET = "T000/B000/canary-of-the-webhook"
MESSAGE = notify.Message(
    "deploy",
    "",
    "release 2 is verified",
    "somebody",
    "https://github.com/o/r/compare/a...b",
    12.3,
    "invoke rollback --to 1",
)


class Slack(ThreadingHTTPServer):
    """A webhook that answers in its own way, and keeps what it was sent."""

    def __init__(self, status: int = 200, delay: float = 0.0) -> None:
        outer = self
        self.got: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
                time.sleep(delay)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(b"ok" if status == 200 else b"invalid_token " + SECRET.encode())

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/services/{SECRET}"


@contextmanager
def slack(**how: Any) -> Iterator[Slack]:
    server = Slack(**how)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def aws(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    """A tiny service whose AWS is the embedded one, reached as AWS is: by variables alone."""
    tiny.replace("pipeline.toml", 'branch = "main"\n', f'branch = "main"\naccount = "{ACCOUNT}"\n')
    tiny.commit()
    running = emulator.up(tiny.root)
    monkeypatch.setenv("AWS_ENDPOINT_URL", running.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", running.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", running.secret_key)
    return tiny


def opened(tiny: Tiny, name: str = "aws") -> Cloud:
    return Cloud.open(tiny.config, tiny.config.environment("main"), name)


def told(tiny: Tiny, message: notify.Message = MESSAGE) -> tuple[list[str], float]:
    """The problems, and how many seconds the telling took."""
    began = time.monotonic()
    problems = notify.send(tiny.config, tiny.config.environment("main"), opened(tiny), message)
    return problems, time.monotonic() - began


@pytest.fixture
def quick(aws: Tiny, monkeypatch: pytest.MonkeyPatch) -> float:
    """How many seconds it takes when the channel answers at once, on a machine as busy as it is."""
    with slack() as server:
        monkeypatch.setenv("SLACK_WEBHOOK_URL", server.url)
        return told(aws)[1]


def test_message_says_all() -> None:
    """What, where, how it ended, who, the difference, how long, and how to take it back."""
    assert MESSAGE.text("pricing in production").splitlines() == [
        "✓ deploy of pricing in production",
        "release 2 is verified",
        "by somebody, 12 s",
        "https://github.com/o/r/compare/a...b",
        "to undo: invoke rollback --to 1",
    ]
    failed = notify.Message("build", "pytest failed", "", "somebody", "", 3, "")
    assert failed.text("x in y").splitlines() == ["✗ build of x in y failed", "pytest failed", "by somebody, 3 s"]


@pytest.mark.parametrize(
    ("old", "new", "url"),
    [("a", "b", "https://github.com/o/r/compare/a...b"), ("", "b", "https://github.com/o/r/commit/b"), ("a", "", "")],
)
def test_link_shows_the_difference(old: str, new: str, url: str) -> None:
    """Between two commits; of one when there is no other."""
    assert notify.link("o/r", old, new) == url
    assert notify.link("", old, new) == ""


def test_both_channels_are_told(aws: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slack gets the text, and SNS's subscribers the same."""
    ensure(stacks.delivering(aws.config, aws.config.environment("main")), opened(aws))
    sqs, sns = opened(aws).client("sqs"), opened(aws).client("sns")
    queue = sqs.create_queue(QueueName=aws.name)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    allow = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy})
    sns.subscribe(TopicArn=f"arn:aws:sns:eu-west-1:{ACCOUNT}:{aws.name}-production", Protocol="sqs", Endpoint=arn)
    with slack() as server:
        monkeypatch.setenv("SLACK_WEBHOOK_URL", server.url)
        assert told(aws)[0] == []
    text = MESSAGE.text(f"{aws.name} in production")
    assert server.got == [text]
    (got,) = sqs.receive_message(QueueUrl=queue)["Messages"]
    assert json.loads(got["Body"])["Message"] == text


def test_nothing_in_a_message_is_slacks_markup(aws: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reason that contains mentions and links, as an exception may, is text; and secrets in it are masked."""
    reason = "<!channel> <https://evil.localhost|click> & password=canary"
    with slack() as server:
        monkeypatch.setenv("SLACK_WEBHOOK_URL", server.url)
        told(aws, notify.Message("deploy", reason, "", "x", "", 1, ""))
    assert server.got[0].splitlines()[1] == ("&lt;!channel&gt; &lt;https://evil.localhost|click&gt; &amp; password=***")


def test_rehearsal_tells_nobody(aws: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the embedded cloud nothing is sent."""
    with slack() as server:
        monkeypatch.setenv("SLACK_WEBHOOK_URL", server.url)
        assert notify.send(aws.config, aws.config.environment("main"), opened(aws, "embedded"), MESSAGE) == []
    assert server.got == []


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"status": 403}, "could not notify Slack: status 403"),
        ({"status": 500}, "could not notify Slack: status 500"),
        ({"delay": 60}, "could not notify Slack: "),
    ],
    ids=["refuses", "fails", "never answers"],
)
def test_channel_that_is_down_costs_seconds_only(
    aws: Tiny, quick: float, monkeypatch: pytest.MonkeyPatch, how: dict[str, Any], says: str
) -> None:
    """A channel that answers wrongly or not at all is one line, without its address or what it said."""
    with slack(**how) as server:
        monkeypatch.setenv("SLACK_WEBHOOK_URL", server.url)
        problems, seconds = told(aws)
    line = next(p for p in problems if "Slack" in p)
    assert line.startswith(says)
    assert SECRET not in "".join(problems)
    assert seconds < quick + notify.SECONDS + 4


@pytest.mark.parametrize("url", ["refused", "not a URL", "file:///etc/passwd", "http://no-such-host.invalid/x"])
def test_channel_that_is_not_there_is_one_line(
    aws: Tiny, quick: float, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """Nobody there, or no address at all: one line, and the topic that is missing is another."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        gone = f"http://127.0.0.1:{probe.getsockname()[1]}/{SECRET}"
    monkeypatch.setenv("SLACK_WEBHOOK_URL", gone if url == "refused" else url)
    problems, seconds = told(aws)
    assert [line.partition(":")[0] for line in problems] == ["could not notify SNS", "could not notify Slack"]
    assert SECRET not in "".join(problems)
    assert seconds < quick + notify.SECONDS + 4


def test_deploy_and_rollback_are_told_as_they_end(aws: Tiny, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Success, refusal and rollback each are one message; none of them fails for a channel's sake."""
    environment = aws.config.environment("main")
    for stack in (stacks.service(aws.config, environment), stacks.delivering(aws.config, environment)):
        ensure(stack, opened(aws))
    variables = {name: v for name, v in os.environ.items() if name.startswith("AWS_")}
    page = tmp_path / "summary.md"
    with slack(status=500) as server:
        variables |= {
            "SLACK_WEBHOOK_URL": server.url,
            "PIPELINE_CLOUD": "aws",
            "GITHUB_ACTOR": "octocat",
            "GITHUB_STEP_SUMMARY": str(page),
        }
        monkeypatch.setattr(Tiny, "environment", {**aws.environment, **variables})
        aws.invoke("build", "push", "deploy")
        aws.repair("second")
        second = aws.git("rev-parse", "HEAD")
        first = aws.git("rev-parse", "HEAD~1")
        said = aws.invoke("build", "push", "deploy")
        assert "! could not notify Slack: status 500" in said
        aws.fault("answers 500")
        aws.invoke("build", "push")
        aws.invoke("deploy", code=1)
        aws.invoke("rollback")
    texts = [text.splitlines() for text in server.got]
    assert [lines[0] for lines in texts] == [
        f"✓ deploy of {aws.name} in production",
        f"✓ deploy of {aws.name} in production",
        f"✗ deploy of {aws.name} in production failed",
        f"✓ rollback of {aws.name} in production",
    ]
    assert texts[1][2].startswith("by octocat, ")
    assert texts[1][3] == f"https://github.com/an-owner/a-repository/compare/{first}...{second}"
    assert texts[1][4] == "to undo: invoke rollback --to 1 --branch main --cloud aws"
    assert "answers /version with 500" in texts[2][1]
    assert texts[3][3].endswith(f"compare/{second}...{first}")
    assert page.read_text().count("deploy of") == 3
    assert SECRET not in said + page.read_text()
