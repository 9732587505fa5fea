"""A service whose releases differ by their variables alone, deploys in processes that may die, and users all the while."""

from __future__ import annotations

import json
import os
import signal
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from botocore.config import Config as Options
from botocore.exceptions import ClientError
from tiny import Tiny

from ml_delivery.keys import Deploy
from ml_delivery.records import ROLLED_BACK, VERIFIED
from ml_delivery.release import delivery, deploy, results
from ml_delivery.targets.lambda_function import settings

from . import Fault, faults

HANDLER = """\
import json, os, pathlib, time

RELEASE = json.loads((pathlib.Path(__file__).parent.parent / "release.json").read_text())
BAD = os.environ.get("BAD", "")


def handler(event, context):
    if BAD == "raises" or (BAD == "half" and int(context.aws_request_id[:4], 16) % 2 and event["rawPath"] == "/"):
        raise ValueError("no such luck")
    if BAD == "slow" and event["rawPath"] == "/":
        time.sleep(0.4)
    body = {"release": int(os.environ["RELEASE_NUMBER"]), **RELEASE}
    return {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": json.dumps(body)}
"""
KEEP = Deploy(keep=3, keep_days=0)


class Service:
    """One built and pushed service; ``open`` gives a delivery of it with other variables, without touching the tree."""

    def __init__(self, tiny: Tiny, rules: Deploy = KEEP, handler: str = HANDLER) -> None:
        tiny.write("src/service/handler.py", handler)
        tiny.commit()
        tiny.push()
        self.tiny = tiny
        self.rules = rules
        self.name = f"{tiny.name}-production"
        self._opened = tiny.open()
        os.register_at_fork(after_in_child=self._forked)

    def _forked(self) -> None:
        """Let a new process have connections of its own; its clients, which take long to make, are copies of ours."""
        for client in self._opened.cloud._clients.values():
            client._endpoint.http_session._manager.clear()

    def open(self, **variables: str) -> delivery.Delivery:
        opened = self._opened
        known = opened.environment.function
        function = replace(known, variables={**known.variables, **variables})
        return replace(opened, environment=replace(opened.environment, function=function, deploy=self.rules))

    def deploy(self, *, detach: bool = False, **variables: str) -> Any:
        return deploy.deploy(self.open(**variables), lambda _: None, detach=detach)

    def rollback(self, to: int = 0) -> results.Outcome:
        return deploy.rollback(self.open(), to, lambda _: None)

    def live(self) -> int:
        found = self.open().deployer.live()
        return found.release if found else 0

    def reset(self) -> None:
        """As before the first release: no function and no ledger; what was pushed stays."""
        opened = self.open()
        with suppress(ClientError):
            opened.cloud.client("lambda").delete_function(FunctionName=self.name)
        s3, bucket = opened.cloud.client("s3"), opened.foundation.bucket
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="releases/")
        for key in [entry["Key"] for page in pages for entry in page.get("Contents", [])]:
            s3.delete_object(Bucket=bucket, Key=key)

    def problems(self, since: int = 1) -> list[str]:
        """What does not fit together when nobody is at work; nothing when all is well.

        ``since`` is the first release whose record is looked at.
        """
        opened = self.open()
        head, live = opened.ledger.head(), opened.deployer.live()
        found = []
        if head.holder or head.work:
            found.append(f"leaked: {head.holder} {head.work}")
        if (live.release if live else 0) != head.live or (live and live.traffic.weights):
            found.append(f"live is {live}, the ledger says {head.live}")
        states = {number: opened.ledger.find(number) for number in range(since, head.newest + 1)}
        if missing := [number for number, release in states.items() if release is None or release.state == "staged"]:
            found.append(f"without an end in the ledger: {missing}")
        if (
            live
            and (release := states.get(head.live))
            and (release.state, release.deployed) != (VERIFIED, live.deployed)
        ):
            found.append(f"live is {live.deployed}, but {release}")
        for one in head.kept:
            release = states.get(one.number)
            if release and (release.state != one.state or one.state not in (VERIFIED, ROLLED_BACK)):
                found.append(f"kept as {one.state}: {release}")
        return found

    def orphans(self) -> set[str]:
        """Versions that neither a rollback nor anybody else needs."""
        opened = self.open()
        return set(opened.deployer.deployed()) - {one.deployed for one in opened.ledger.head().kept}


def apart(work: Callable[[], Any], *planned: Fault) -> tuple[int, list[str]]:
    """Do ``work`` in a process of its own, with faults; its exit code (0, 1, or minus the signal), and who was struck."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            with faults(*planned):
                work()
            code = 0
        except BaseException as error:
            if os.environ.get("FAULTS_VERBOSE"):
                traceback.print_exc()
            os.write(write, f"{type(error).__name__}: {error}"[:2000].replace("\n", " ").encode())
        finally:
            for fault in planned:
                os.write(write, ("\n" + " ".join(fault.struck)).encode())
            os._exit(code)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said.split("\n")


@dataclass(frozen=True)
class Met:
    """What users met: how many requests, how many failed, and what went wrong with the first of those."""

    requests: int
    failed: int
    failures: list[str]


class Users:
    """A process that asks what is live, so many times a second, until it is told to stop."""

    def __init__(self, service: Service, rate: float = 20.0, path: str = "/version") -> None:
        self._met: Met | None = None
        read, self._stop = os.pipe()
        self._result, write = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            try:
                os.close(self._stop)
                os.set_blocking(read, False)
                met = self.use(service, rate, path, lambda: _told(read))
                os.write(write, json.dumps([met.requests, met.failed, met.failures[:20]]).encode())
            finally:
                os._exit(0)
        os.close(read)
        os.close(write)

    def use(self, service: Service, rate: float, path: str, told: Callable[[], bool]) -> Met:
        """Ask until ``told``; in the process of the users."""
        return _use(service, rate, path, told)

    def stop(self) -> Met:
        """End them; what they met. A second call changes nothing."""
        if self._met is None:
            os.close(self._stop)
            with os.fdopen(self._result) as pipe:
                self._met = Met(*json.loads(pipe.read()))
            os.waitpid(self._child, 0)
        return self._met


def _told(read: int) -> bool:
    try:
        return os.read(read, 1) == b""
    except BlockingIOError:
        return False


def _use(service: Service, rate: float, path: str, told: Callable[[], bool]) -> Met:
    opened, requests, failures = service.open(), 0, []
    timeout = settings.of(opened.environment).timeout + 15
    once = Options(retries={"total_max_attempts": 1}, read_timeout=timeout)  # a user has no second try
    cloud = opened.cloud
    cloud._clients["lambda", timeout] = cloud._session.create_client(
        "lambda", endpoint_url=cloud._endpoint, config=once
    )
    target = opened.deployer
    while not told():
        began = time.monotonic()
        requests += 1
        try:
            answer = target.call(path)
            if answer.status != 200:
                failures.append(answer.fault or f"status {answer.status}")
        except Exception as error:
            failures.append(f"{type(error).__name__}: {error}")
        time.sleep(max(0.0, began + 1 / rate - time.monotonic()))
    return Met(requests, len(failures), failures)
