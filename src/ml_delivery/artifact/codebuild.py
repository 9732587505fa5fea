"""Runs a build of exactly this commit on CodeBuild, follows it to its end, and stops it when it can't be followed."""

from __future__ import annotations

import os
import re
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_delivery import source
from ml_delivery.cloud import EXPIRED, code_of
from ml_delivery.errors import BuildError, CloudError, Interrupted, PipelineError
from ml_delivery.signals import uninterrupted

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml_delivery.cloud import Cloud
    from ml_delivery.config import Config
    from ml_delivery.keys import Environment

__all__ = ["Done", "Phase", "run"]

SUCCEEDED = "SUCCEEDED"
PAUSE = (0.2, 3.0)  # seconds between two polls, minimum and maximum
# The package indexes and proxies of this machine; passed to the embedded CodeBuild, which runs on this machine.
NETWORK = r"(PIP|UV)_\w+|(HTTPS?|NO)_PROXY|https?_proxy|no_proxy|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE|DOCKER_HOST"


@dataclass(frozen=True)
class Phase:
    """A phase that has ended: CodeBuild's name and status, its duration in seconds, and why it failed, if it did."""

    name: str
    status: str
    seconds: float
    reason: str


@dataclass(frozen=True)
class Done:
    """A build that succeeded: CodeBuild's id, the commit, its duration, phases and exported variables."""

    id: str
    commit: str
    seconds: float
    phases: tuple[Phase, ...]
    exported: dict[str, str]


def run(
    config: Config,
    environment: Environment,
    cloud: Cloud,
    tell: Callable[[Phase], None],
    line: Callable[[str], None],
) -> Done:
    """Build the checked-out commit on the environment's CodeBuild project, and wait until the build has ended.

    Args:
        config: the service's configuration.
        environment: the environment whose project, ``<service>-<environment>``, builds.
        cloud: the environment's cloud.
        tell: called with each phase when it has ended.
        line: called with each line of the log as it arrives.

    Raises:
        SourceError: the tree has uncommitted changes, which CodeBuild could not see; or is a folder of a repository.
        BuildError: the build failed, timed out or was stopped elsewhere; the message has the phase and the reason.
        CloudError: there is no such project, or the build can't be followed; the build is stopped.
        Interrupted: a cancel; the build is stopped.
            If it can't be stopped, both have its id, and the command that stops it.
    """
    tree = source.read(config.root)
    source.require_top(config.root, "CodeBuild finds buildspec.yml")
    source.require_clean(tree, cloud.name, "codebuild")
    project = config.name_of(environment)
    if cloud.name == "embedded":
        from ml_delivery import emulator

        network = {name: value for name, value in os.environ.items() if re.fullmatch(NETWORK, name)}
        emulator.offer(config.root, project, f"https://github.com/{config.github.repository}.git", network)
    variables = {
        "PIPELINE_CLOUD": cloud.name,
        "PIPELINE_PYTHON": config.service.python,
        "PIPELINE_BRANCH": environment.branch,
    }
    began = time.monotonic()
    request = {
        "projectName": project,
        "sourceVersion": tree.commit,
        "environmentVariablesOverride": [
            {"name": name, "value": value, "type": "PLAINTEXT"} for name, value in variables.items()
        ],
        # Sent twice, as after a lost response, it starts one build:
        # https://docs.aws.amazon.com/codebuild/latest/APIReference/API_StartBuild.html
        "idempotencyToken": secrets.token_hex(16),
    }
    build: dict[str, Any] = {}
    try:
        with cloud.faults():
            build = _start(cloud, request, environment)
            build, phases = _follow(cloud, build, tell, line)
    except (KeyboardInterrupt, Exception) as fault:
        if not build and code_of(fault.__cause__ or fault):  # AWS refused to start one
            raise
        raise _stop(cloud, request, build.get("id", ""), fault) from fault
    if build["buildStatus"] != SUCCEEDED:
        raise _failure(build, phases)
    exported = {v["name"]: v["value"] for v in build.get("exportedEnvironmentVariables", [])}
    return Done(build["id"], tree.commit, time.monotonic() - began, tuple(phases), exported)


def _start(cloud: Cloud, request: dict[str, Any], environment: Environment) -> dict[str, Any]:
    try:
        started: dict[str, Any] = cloud.client("codebuild").start_build(**request)["build"]
    except Exception as error:
        if code_of(error) != "ResourceNotFoundException":
            raise
        remedy = f"invoke bootstrap --branch {environment.branch} --cloud {cloud.name}"
        raise CloudError(f"there is no CodeBuild project {request['projectName']}", next=remedy) from error
    return started


def _stop(cloud: Cloud, request: dict[str, Any], build: str, fault: BaseException) -> PipelineError:
    """Stop the build, which would still push, and return the error to raise; names the build when it can't be stopped.

    Args:
        cloud: where it runs.
        request: what started it.
        build: its id; empty when the response was not awaited.
        fault: why it is not followed to its end.
    """
    kind = Interrupted if isinstance(fault, KeyboardInterrupt) else CloudError
    cause = (
        "interrupted" if kind is Interrupted else getattr(fault, "message", "") or f"{type(fault).__name__}: {fault}"
    )
    client, place = cloud.client("codebuild"), f"--region {cloud.region}"
    with uninterrupted():
        try:
            with cloud.faults():
                build = build or client.start_build(**request)["build"]["id"]
                left = client.stop_build(id=build)["build"]
        except PipelineError as second:
            listed = f"aws codebuild list-builds-for-project --project-name {request['projectName']} {place}"
            known = build or f"\"$({listed} --query 'ids[0]' --output text)\""
            step = f"aws codebuild stop-build --id {known} {place}"
            step = "invoke cloud.down, which ends its builds" if cloud.name == "embedded" else step
            what = f"the build {build}" if build else f"a build of {request['projectName']}, if it was started,"
            first = f"{second.next}, then " if code_of(second.__cause__ or second) in EXPIRED else ""
            return kind(
                f"{cause}; {what} could not be stopped, and may still push: {second.message}", next=first + step
            )
    status = left["buildStatus"] if left.get("buildComplete") else "STOPPED"
    how = "is stopped" if status == "STOPPED" else f"had ended as {status}"
    return kind(f"{cause}; the build {build} {how}", next="run this again")


def _follow(
    cloud: Cloud, build: dict[str, Any], tell: Callable[[Phase], None], line: Callable[[str], None]
) -> tuple[dict[str, Any], list[Phase]]:
    """Report each log line and phase as they arrive, until the build is complete and its log is read."""
    client, log = cloud.client("codebuild"), _Log(cloud)
    phases: list[Phase] = []
    pause = PAUSE[0]
    while True:
        build = client.batch_get_builds(ids=[build["id"]])["builds"][0]
        ended = [phase for phase in build.get("phases", []) if "phaseStatus" in phase]
        news = log.lines(build.get("logs", {}))
        for text in news:
            line(text)
        for phase in ended[len(phases) :]:
            seconds = (phase["endTime"] - phase["startTime"]).total_seconds() if "endTime" in phase else 0.0
            reason = "; ".join(c["message"] for c in phase.get("contexts", []) if c.get("message"))
            phases.append(Phase(phase["phaseType"], phase["phaseStatus"], seconds, reason))
            tell(phases[-1])
        if build.get("buildComplete"):
            for text in log.lines(build.get("logs", {})):
                line(text)
            return build, phases
        pause = PAUSE[0] if news else min(pause * 1.5, PAUSE[1])
        time.sleep(pause)


class _Log:
    """The build's log stream in CloudWatch Logs, read incrementally."""

    def __init__(self, cloud: Cloud) -> None:
        self._client = cloud.client("logs")
        self._token: dict[str, str] = {}

    def lines(self, place: dict[str, Any]) -> list[str]:
        """The lines that were logged since the last call; none while the stream does not exist yet."""
        found: list[str] = []
        if not place.get("streamName"):
            return found
        while True:
            try:
                answer = self._client.get_log_events(
                    logGroupName=place["groupName"],
                    logStreamName=place["streamName"],
                    startFromHead=True,
                    **self._token,
                )
            except Exception as error:
                if code_of(error) == "ResourceNotFoundException":
                    return found
                raise
            found += [event["message"].rstrip("\n") for event in answer["events"]]
            token = {"nextToken": answer["nextForwardToken"]}
            if token == self._token or not answer["events"]:
                self._token = token
                return found
            self._token = token


def _failure(build: dict[str, Any], phases: list[Phase]) -> BuildError:
    """The error for a failed build, with the phase and CodeBuild's reason."""
    bad = next((phase for phase in phases if phase.status != SUCCEEDED), None)
    where = f" in {bad.name}: {bad.reason or 'no reason given'}" if bad else ""
    remedies = {
        "TIMED_OUT": "find out what takes so long, or raise TimeoutInMinutes in your own infra/delivery.yaml",
        "STOPPED": "run this again",
    }
    remedy = remedies.get(build["buildStatus"], "fix what the log reports, commit, git push, then run this again")
    return BuildError(f"CodeBuild ended {build['id']} as {build['buildStatus']}{where}", next=remedy)
