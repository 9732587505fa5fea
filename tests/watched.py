"""A tiny service that measures itself as the real one does, goes wrong on request, and is watched from the outside."""

from __future__ import annotations

import dataclasses
import http.server
import json
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tiny import PRICING, TEMPLATE, Tiny

from ml_delivery.account import change_sets, stacks
from ml_delivery.account.stacks import Stack
from ml_delivery.monitoring import stack as monitoring
from ml_delivery.release.delivery import Delivery

HANDLER = """\
import json, os, pathlib, time

from ml_service.telemetry import trace
from service.telemetry import line

RELEASE = json.loads((pathlib.Path(__file__).parent.parent / "release.json").read_text())
COLD = [1]


def handler(event, context):
    path = event["rawPath"]
    if path == "/raises":
        raise ValueError("no such luck")
    if path == "/slow":
        time.sleep(0.4)
    number = int(os.environ["RELEASE_NUMBER"])
    measured = {}
    if path.startswith("/v1/"):
        ranks = [0.97] * 100 if path.endswith("drifted") else [(i + 0.5) / 100 for i in range(100)]
        measured = {"BackupUsed": int(path.endswith("backup")), "CacheHits": 0, "PredictedSales": 12.5,
                    "RecommendedPrice": 1.1, "RecommendedPriceRank": ranks}
    print(line("info", path=path, status=500 if path == "/fails" else 200, model="sha256:1",
               trace=trace(event["headers"].get("x-amzn-trace-id", "")), Latency=99.5 if "<" in path or path == "/traced" else 1.5,
               Failures=int(path == "/fails"), ColdStarts=COLD.pop() if COLD else 0, Release=number, **measured))
    body = {"release": number, "given": event["headers"].get("x-amzn-trace-id"), **RELEASE}
    return {"statusCode": 500 if path == "/fails" else 200, "body": json.dumps(body)}
"""


def quick(stack: Stack) -> Stack:
    """The same with alarms that fire and clear in seconds; but for p95 and quiet, thresholds and periods are as shipped."""
    template = json.loads(stack.body)
    for name, resource in template["Resources"].items():
        if resource["Type"] == "AWS::CloudWatch::Alarm":
            for query in resource["Properties"]["Metrics"]:
                query.get("MetricStat", {})["Period"] = 10
            changes = {"SlowAlarm": {"Threshold": 300}, "QuietAlarm": {"EvaluationPeriods": 1, "DatapointsToAlarm": 1}}
            resource["Properties"] |= changes.get(name, {})
    return dataclasses.replace(stack, body=json.dumps(template))


class Watched(Tiny):
    """The service, deployed, with all its stacks."""

    def __init__(self, root: Path, shared: Path, name: str) -> None:
        super().__init__(root, shared, name)
        shutil.copy(PRICING / "src/service/telemetry.py", root / "src/service/telemetry.py")
        shutil.copytree(PRICING / "infra", root / "infra")
        shutil.copytree(
            TEMPLATE / "src/ml_service", root / "src/ml_service", ignore=shutil.ignore_patterns("__pycache__")
        )
        self.write("src/service/handler.py", HANDLER)
        self.commit("Measure")
        self.deploy()

    def stand(self, change: Callable[[Stack], Stack] = lambda stack: stack) -> Delivery:
        """Create the stacks, that of monitoring after a change; the environment, opened."""
        opened = self.open()
        environment = self.config.environment("main")
        change_sets.ensure(stacks.delivering(self.config, environment), opened.cloud)
        change_sets.ensure(change(monitoring.wanted(self.config, environment)), opened.cloud)
        return opened


class Listener:
    """What a topic sends to an HTTP endpoint on loopback; subscriptions are confirmed as AWS asks."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        listener = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                message = json.loads(self.rfile.read(int(self.headers["content-length"])))
                self.send_response(200)
                self.end_headers()
                if message["Type"] == "SubscriptionConfirmation":
                    threading.Thread(target=listener.confirm, args=(message,)).start()
                else:
                    listener.messages.append({"subject": message["Subject"], **json.loads(message["Message"])})

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        self.confirmed = threading.Event()
        self.client: Any = None
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def subscribe(self, delivery: Delivery, topic: str) -> None:
        self.client = delivery.cloud.client("sns")
        self.client.subscribe(TopicArn=topic, Protocol="http", Endpoint=self.url)
        assert self.confirmed.wait(20)

    def confirm(self, message: dict[str, Any]) -> None:
        self.client.confirm_subscription(TopicArn=message["TopicArn"], Token=message["Token"])
        self.confirmed.set()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def repeat(work: Callable[[], None], until: Callable[[], bool], seconds: float) -> bool:
    """Do ``work`` again and again until something holds; whether it did within ``seconds``."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        work()
        if until():
            return True
    return False
