"""The deployer of one environment's function, however it is packaged."""

from __future__ import annotations

import json
import re
import time
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ml_delivery.cloud import code_of
from ml_delivery.errors import Refused, Unsettled
from ml_delivery.records import RELEASE_VARIABLE, Answer, Line, Live
from ml_delivery.target import Deployer
from ml_delivery.targets.lambda_function import alias, costs, front, settings, version_metrics
from ml_delivery.targets.lambda_function.alias import ALIAS, CHANGED, GONE
from ml_delivery.targets.lambda_function.function import Convergence, variables_of
from ml_delivery.targets.lambda_function.http import balancer_event, http_event, read_answer
from ml_delivery.waiting import wait

if TYPE_CHECKING:
    from ml_delivery.records import Artifact, Context, Cost, Numbers, Release, Settings, Traffic

__all__ = ["LambdaDeployer"]

# A version that was not called for weeks loses its resources; the first call gives them back, but is itself refused.
WAKING = ("CodeArtifactUserPendingException", "ResourceNotReadyException")
# The start of the description of each version that this pipeline published; other versions are left alone.
NOTE = re.compile(r"release (\d+), ")
# AWS publishes Lambda's metrics per minute, a few minutes late, with the start of the calls as their time.
METRICS_PERIOD, METRICS_DELAY = 60, 180


class LambdaDeployer(Deployer):
    """The function of one environment; a subclass adds what its package type needs.

    Attributes:
        package: Lambda's name for the package type, ``Zip`` or ``Image``.
    """

    package: str
    wakes_within = 180.0  # idle versions were observed to take 40 to 106 s

    def __init__(self, context: Context) -> None:
        self.context = context
        self.function = context.name
        self.own = settings.of(context.environment)
        if context.cloud.name == "aws":
            self.least_pause, self.least_period = METRICS_DELAY + self.own.timeout, METRICS_PERIOD
            self.metrics_delay = METRICS_DELAY

    # -- what a package type defines

    @abstractmethod
    def package_settings(self) -> Settings:
        """The part of ``settings`` that only this package type has."""

    @abstractmethod
    def package_options(self, settings: Settings) -> dict[str, Any]:
        """These settings as Lambda's parameters, for a new function and for its configuration."""

    def create_options(self) -> dict[str, Any]:
        """Lambda's parameters for a new function only."""
        return {}

    @abstractmethod
    def read_package(self, found: dict[str, Any]) -> Settings:
        """These settings as reported by Lambda, comparable with ``package_settings``."""

    @abstractmethod
    def code(self, artifact: Artifact) -> dict[str, Any]:
        """Lambda's parameters for the code of ``artifact``, for a new function and for new code."""

    @abstractmethod
    def digest(self, code_sha256: str) -> str:
        """The artifact's digest, from Lambda's CodeSha256."""

    # -- what the state machine needs

    def live(self) -> Live | None:
        traffic = self.traffic()
        if traffic is None:
            return None
        with self.context.cloud.faults():
            found = self.client.get_function_configuration(FunctionName=self.function, Qualifier=traffic.deployed)
        variables = variables_of(found)
        number = variables.get(RELEASE_VARIABLE, "")
        return Live(
            deployed=traffic.deployed,
            release=int(number) if number.isdigit() else 0,
            digest=self.digest(found["CodeSha256"]),
            settings=self.read(found),
            variables=variables,
            traffic=traffic,
        )

    def settings(self) -> Settings:
        return {
            **self.package_settings(),
            "memory": self.own.memory,
            "timeout": self.own.timeout,
            "tracing": self.own.tracing,
            "role": self.context.output("FunctionRole"),
            "architecture": self.context.config.service.architecture,
        }

    def stage(self, release: Release, dropped: tuple[str, ...]) -> str:
        work = Convergence(self, release, dropped)
        reason = "no reason given"

        def staged() -> str | None:
            nonlocal reason
            try:
                return work.step()
            except Exception as error:
                if code_of(error) in CHANGED or "cannot be assumed by Lambda" in str(error):
                    reason = str(error)
                    return None  # another change is under way, a response was lost, or the role is too new
                raise

        with self.context.cloud.faults():
            try:
                return wait(staged, what=f"the function {self.function}")
            except Unsettled as error:
                if work.digest in ("", release.artifact.digest):
                    raise Unsettled(f"{error.message}: {reason}", error.next) from error
                raise Refused(
                    f"the code on Lambda is {work.digest}, not the artifact's {release.artifact.digest}",
                    next="find out what else changes this function, then run this again",
                ) from error

    def call(
        self,
        path: str,
        deployed: str = "",
        *,
        method: str = "GET",
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        # As users' requests arrive: a handler that does not know these events would be verified, and answer none of them.
        event = balancer_event if self.context.environment.http.front == "load-balancer" else http_event
        started = time.perf_counter()
        with self.context.cloud.faults():
            try:
                answer = self.client.invoke(
                    FunctionName=self.function,
                    Qualifier=deployed or ALIAS,
                    Payload=json.dumps(event(path, method, body, headers)).encode(),
                )
            except Exception as error:
                code, passed = code_of(error), time.perf_counter() - started
                if code == GONE:
                    return Answer(0, "", str(error), passed, gone=True)
                if code in WAKING or (code == "ResourceConflictException" and "Pending" in str(error)):
                    return Answer(0, "", str(error), passed, waking=True)
                raise
            return read_answer(answer, time.perf_counter() - started)

    def numbers(self, deployed: str, since: float) -> Numbers:
        return version_metrics.numbers(
            self.context.cloud, self.function, ALIAS, deployed, since, self.least_period or 1
        )

    def traffic(self) -> Traffic | None:
        with self.context.cloud.faults():
            return alias.traffic(self.client, self.function)

    def shift(self, wanted: Traffic | None, seen: Traffic | None, note: str) -> None:
        with self.context.cloud.faults():
            alias.shift(self.client, self.function, wanted, seen, note)

    def deployed(self) -> dict[str, int]:
        notes: dict[str, str] = {}
        with self.context.cloud.faults():
            pages = self.client.get_paginator("list_versions_by_function").paginate(FunctionName=self.function)
            try:
                notes = {found["Version"]: found.get("Description", "") for page in pages for found in page["Versions"]}
            except Exception as error:
                if code_of(error) != GONE:
                    raise
        return {version: int(found[1]) for version, note in notes.items() if (found := NOTE.match(note))}

    def remove(self, deployed: str) -> None:
        with self.context.cloud.faults():
            try:
                self.client.delete_function(FunctionName=self.function, Qualifier=deployed)
            except Exception as error:
                if code_of(error) not in (GONE, "ResourceConflictException"):  # the latter: an alias needs it
                    raise

    def logs(self, since: float) -> Iterator[Line]:
        group = self.context.output("LogGroup")
        with self.context.cloud.faults():
            pages = self.context.cloud.client("logs").get_paginator("filter_log_events")
            for page in pages.paginate(logGroupName=group, startTime=int(since * 1000)):
                for event in page["events"]:
                    yield Line(event["timestamp"] / 1000, event["message"].rstrip("\n"))

    def address(self, outputs: dict[str, str]) -> str:
        return front.address(self.context.cloud, outputs)

    def cost(self, requests_per_second: float) -> Cost | None:
        milliseconds = version_metrics.mean_duration(self.context.cloud, self.function, ALIAS)
        architecture = self.context.config.service.architecture
        balanced = self.context.environment.http.front == "load-balancer"
        return costs.estimate(requests_per_second, self.own.memory, architecture, milliseconds, balanced=balanced)

    # -- what ``function.py`` needs

    def read(self, found: dict[str, Any]) -> Settings:
        """The settings of a function or version as reported by Lambda, comparable with ``settings``."""
        return {
            **self.read_package(found),
            "memory": found["MemorySize"],
            "timeout": found["Timeout"],
            "tracing": found.get("TracingConfig", {}).get("Mode", "PassThrough"),
            "role": found["Role"],
            "architecture": (found.get("Architectures") or ["x86_64"])[0],
        }

    @property
    def client(self) -> Any:
        """Lambda's client. botocore must neither time out nor retry before the function's own timeout."""
        return self.context.cloud.client("lambda", read_timeout=self.own.timeout + 15)
