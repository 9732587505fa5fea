"""Services whose commands are processes, and callers who use what is live."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from botocore.config import Config
from botocore.exceptions import ConnectionError as NoConnection
from botocore.exceptions import HTTPClientError
from botocore.session import Session
from tiny import Tiny

from ml_delivery import emulator

from . import Figures

RULES = {
    "all-at-once": 'strategy = "all-at-once"',
    "canary": 'strategy = "canary"\nweight = 40\npause = 2\nperiod = 1',
    "linear": 'strategy = "linear"\nweight = 34\npause = 1\nperiod = 1',
}
EVENT = json.dumps({"version": "2.0", "rawPath": "/version", "requestContext": {"http": {"method": "GET"}}})
CALLS = 4.0  # a second, to each service


class Service:
    """A tiny service with one strategy, whose commands are processes."""

    def __init__(self, folder: Path, shared: Path, strategy: str) -> None:
        self.strategy = strategy
        self.tiny = Tiny(folder / strategy, shared, f"chaos-{strategy}")
        self.function = f"{self.tiny.name}-production"
        with (self.tiny.root / "pipeline.toml").open("a") as settings:
            settings.write(f"\n[deploy]\n{RULES[strategy]}\nkeep = 3\nkeep_days = 0\n")
        self.usual: dict[str, float] = {}  # seconds of an undisturbed command
        self.note, self.bad = "", False
        self.change("start")
        self.bucket = self.tiny.open().foundation.bucket
        self.found(emulator.up(self.tiny.root))

    def found(self, running: emulator.Running) -> None:
        """Use the emulator where it runs now: one that was killed may have lost its port to another program."""
        self.running, self._clients = running, dict[str, Any]()

    def aws(self, name: str) -> Any:
        """A client; of Lambda, whose calls are counted, one that tries once."""
        if name not in self._clients:
            running = self.running
            options = Config(
                retries={"total_max_attempts": 1 if name == "lambda" else 3},
                s3={"addressing_style": "path"},
                read_timeout=60,
            )
            keys = {"aws_access_key_id": running.access_key, "aws_secret_access_key": running.secret_key}
            self._clients[name] = Session().create_client(
                name, region_name="eu-west-1", endpoint_url=running.endpoint, config=options, **keys
            )
        return self._clients[name]

    def change(self, note: str, *, bad: bool = False) -> None:
        """Commit, build and push something new; a bad one is refused by the health check."""
        self.tiny.repair(note)
        if bad:
            self.tiny.fault("answers 500")
        self.note, self.bad = note, bad
        self.tiny.push()

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command as the workflow does: a shell that is replaced by it."""
        line = ["bash", "-e", "-c", 'exec "$@"', "step", *self.tiny.command(*words)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL}
        return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
            line, cwd=self.tiny.root, env=self.tiny.environment, text=True, start_new_session=True, **pipes
        )

    def head(self) -> dict[str, Any]:
        answer = self.aws("s3").get_object(Bucket=self.bucket, Key="releases/production/head.json")
        found: dict[str, Any] = json.loads(answer["Body"].read())
        return found

    def inconsistent(self) -> str:
        """What does not fit together after a deploy that succeeded; empty if all does."""
        head, aws = self.head(), self.aws("lambda")
        alias = aws.get_alias(FunctionName=self.function, Name="live")
        answer = aws.invoke(FunctionName=self.function, Qualifier="live", Payload=EVENT)
        body = json.loads(json.loads(answer["Payload"].read())["body"])
        pages = aws.get_paginator("list_versions_by_function").paginate(FunctionName=self.function)
        there = {one["Version"] for page in pages for one in page["Versions"]} - {"$LATEST"}
        facts = {
            "is held": head["holder"],
            "has work under way": head["work"],
            "splits traffic": alias.get("RoutingConfig", {}).get("AdditionalVersionWeights"),
            "is not swept": not head["swept"],
            "serves another release": body["release"] != head["live"],
            "serves another commit": body["note"] != self.note,
            "keeps versions for nothing": there - {one["deployed"] for one in head["kept"]},
            "lacks versions": {one["deployed"] for one in head["kept"]} - there,
        }
        return "; ".join(f"{what}: {value}" for what, value in facts.items() if value)


class Callers:
    """One caller for each service, that asks its live alias again and again, without a second try."""

    def __init__(self, services: list[Service], figures: Figures) -> None:
        self.down = threading.Event()  # set while the emulator does not run
        self._figures, self._stop = figures, threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(one,)) for one in services]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _call(self, service: Service) -> None:
        while not self._stop.wait(1 / CALLS):
            down = self.down.is_set()
            try:
                answer = service.aws("lambda").invoke(FunctionName=service.function, Qualifier="live", Payload=EVENT)
                body = json.loads(answer["Payload"].read())
                fault = "" if body.get("statusCode") == 200 and "FunctionError" not in answer else f"{body}"
            except (NoConnection, HTTPClientError) as error:  # no answer at all, as from an emulator that was killed
                if down or self.down.is_set():
                    self._figures.unreachable += 1
                    continue
                fault = f"{type(error).__name__}: {error}"
            except Exception as error:
                fault = f"{type(error).__name__}: {error}"
            self._figures.requests += 1
            if fault:
                self._figures.failed.append(f"{time.strftime('%H:%M:%S')} {service.strategy}: {fault}"[:400])
