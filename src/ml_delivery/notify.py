"""Notifies Slack and the environment's SNS topic of how a build, deploy, rollback, retirement or promotion ended.

Only AWS is reported, not a rehearsal on the embedded cloud. A channel that fails causes only a warning, and a delay of a few
seconds at most.
"""

from __future__ import annotations

import html
import json
import os
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_delivery.cloud import code_of
from ml_delivery.masking import masked

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml_delivery.cloud import Cloud
    from ml_delivery.config import Config
    from ml_delivery.keys import Environment

__all__ = ["Message", "link", "send"]

SECONDS = 4.0  # for all channels together
VARIABLE = "SLACK_WEBHOOK_URL"
MOST = 6000  # characters of details, the last ones
FENCE = "```"  # of lines that Slack shows as they are


@dataclass(frozen=True)
class Message:
    """What happened.

    Attributes:
        what: build, deploy, rollback, retirement or promotion.
        failed: why it failed, in one line; empty if it succeeded.
        result: the result, in one line.
        who: who ran it.
        link: to the changes on GitHub; may be empty.
        seconds: how long it took.
        undo: the command that undoes it; empty if there is nothing to undo.
        details: lines that explain it, such as the table of a gate; may be empty.
    """

    what: str
    failed: str
    result: str
    who: str
    link: str
    seconds: float
    undo: str
    details: str = ""

    def text(self, place: str, fence: str = "") -> str:
        """The message as text, without secrets; ``place`` is the service and the environment, ``fence`` is put round details."""
        head = f"✗ {self.what} of {place} failed" if self.failed else f"✓ {self.what} of {place}"
        lines = [head, self.failed or self.result]
        if self.details:
            shown = self.details[-MOST:]
            lines += [fence, shown.replace(fence, "") if fence else shown, fence]
        lines = [*filter(None, lines), f"by {self.who}, {self.seconds:.0f} s"]
        return masked("\n".join([*lines, *filter(None, (self.link, self.undo and f"to undo: {self.undo}"))]))


def link(repository: str, old: str, new: str) -> str:
    """The GitHub page of the changes from ``old`` to ``new``, or of ``new`` if ``old`` is empty; empty if unknown."""
    if not repository or not new:
        return ""
    return f"https://github.com/{repository}/" + (f"compare/{old}...{new}" if old else f"commit/{new}")


def send(config: Config, environment: Environment, cloud: Cloud, message: Message) -> list[str]:
    """Notify every configured channel; returns one line for each that failed, without its address or response."""
    if cloud.name != "aws":
        return []
    place = f"{config.service.name} in {environment.name}"
    topic = f"arn:aws:sns:{cloud.region}:{cloud.account}:{config.name_of(environment)}"
    channels: dict[str, Callable[[], str]] = {"SNS": lambda: _publish(cloud, topic, message.text(place))}
    if url := os.environ.get(VARIABLE, ""):
        channels["Slack"] = lambda: _post(url, message.text(place, FENCE))
    problems: dict[str, str] = {}

    def attempt(name: str, channel: Callable[[], str]) -> None:
        try:
            problems[name] = channel()
        except Exception as error:  # a failed notification must not fail the deploy
            problems[name] = code_of(error) or type(error).__name__

    threads = {n: threading.Thread(target=attempt, args=(n, c), daemon=True) for n, c in channels.items()}
    for thread in threads.values():
        thread.start()
    end = time.monotonic() + SECONDS
    for thread in threads.values():
        thread.join(max(0.0, end - time.monotonic()))
    found = {name: problems.get(name, f"no answer within {SECONDS:.0f} s") for name in channels}
    return [f"could not notify {name}: {problem}" for name, problem in found.items() if problem]


def _publish(cloud: Cloud, topic: str, text: str) -> str:
    # https://docs.aws.amazon.com/sns/latest/api/API_Publish.html: a subject has at most 100 characters, of ASCII
    subject = text.splitlines()[0][:100].encode("ascii", "replace").decode()
    cloud.client("sns", read_timeout=3).publish(TopicArn=topic, Subject=subject, Message=text)
    return ""


def _post(url: str, text: str) -> str:
    # https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks/
    # https://docs.slack.dev/messaging/formatting-message-text/#escaping: no mention or link is made of what was reported
    if not url.startswith(("https://", "http://")):
        return "its address is not a URL"
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps({"text": html.escape(text, quote=False)}).encode(), headers)  # noqa: S310 - checked above
    try:
        with urllib.request.urlopen(request, timeout=3) as answer:  # noqa: S310 # nosec B310 - as above
            return "" if answer.status == 200 else f"status {answer.status}"
    except urllib.error.HTTPError as error:
        return f"status {error.code}"
