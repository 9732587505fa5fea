"""A function on Lambda, however it is packaged: a release is a published version, the alias ``live`` names what serves.

``lambda_zip`` and its like say what a package is; all else is here.
"""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

from ml_delivery.cloud import code_of
from ml_delivery.errors import Refused, Unsettled
from ml_delivery.release.targets import Answer, Live, lambda_alias, lambda_metrics
from ml_delivery.release.targets.lambda_alias import ALIAS, CHANGED, GONE
from ml_delivery.release.targets.lambda_http import http_event, read_answer
from ml_delivery.waiting import wait

if TYPE_CHECKING:
    from ml_delivery.account.infra import Foundation
    from ml_delivery.cloud import Cloud
    from ml_delivery.config import Config
    from ml_delivery.keys import Environment
    from ml_delivery.release.head import Release
    from ml_delivery.release.targets import Numbers, Traffic

__all__ = ["RELEASE_VARIABLE", "LambdaFunction"]

# The one variable that the deploy adds by itself; the service answers it at /version.
RELEASE_VARIABLE = "RELEASE_NUMBER"
# A version that nobody called for weeks is given its resources anew by the first call, which is itself refused.
WAKING = ("CodeArtifactUserPendingException", "ResourceNotReadyException")
# How the description of each version of ours begins; others' versions are left alone.
NOTE = re.compile(r"release (\d+), ")


class LambdaFunction:
    """The function of one environment; a subclass adds what its kind of package needs.

    Attributes:
        package: Lambda's name for the kind, ``Zip`` or ``Image``.
    """

    package: str

    def __init__(self, config: Config, environment: Environment, cloud: Cloud, foundation: Foundation) -> None:
        self.function = f"{config.service.name}-{environment.name}"
        self._config = config
        self._cloud = cloud
        self._foundation = foundation

    # -- what a kind of package answers

    def package_settings(self) -> dict[str, Any]:
        """Those of ``settings`` that only this kind has."""
        raise NotImplementedError

    def package_options(self, settings: dict[str, Any]) -> dict[str, Any]:
        """The same as Lambda takes them, for a new function and for its configuration."""
        raise NotImplementedError

    def create_options(self) -> dict[str, Any]:
        """What Lambda takes for a new function only."""
        return {}

    def read_package(self, found: dict[str, Any]) -> dict[str, Any]:
        """The same as Lambda reports them, comparable with ``package_settings``."""
        raise NotImplementedError

    def code(self, artifact: dict[str, Any]) -> dict[str, Any]:
        """Where Lambda takes the code of ``artifact`` from, for a new function and for new code."""
        raise NotImplementedError

    # -- what the deploy asks

    def live(self) -> Live | None:
        traffic = self.traffic()
        if traffic is None:
            return None
        with self._cloud.faults():
            found = self._lambda.get_function_configuration(FunctionName=self.function, Qualifier=traffic.version)
        variables = _variables(found)
        number = variables.get(RELEASE_VARIABLE, "")
        return Live(
            version=traffic.version,
            release=int(number) if number.isdigit() else 0,
            code_sha256=found["CodeSha256"],
            settings=self._read(found),
            variables=variables,
            traffic=traffic,
        )

    def settings(self) -> dict[str, Any]:
        return {
            **self.package_settings(),
            "memory": self._config.function.memory,
            "timeout": self._config.function.timeout,
            "tracing": self._config.function.tracing,
            "role": self._foundation.role,
            "architecture": self._config.service.architecture,
        }

    def stage(self, release: Release, dropped: tuple[str, ...]) -> str:
        found: dict[str, Any] = {}

        def staged() -> str | None:
            try:
                return self._converge(release, dropped, found)
            except Exception as error:
                if code_of(error) in CHANGED or "cannot be assumed by Lambda" in str(error):
                    found["why"] = str(error)
                    return None  # someone else's change, our own whose answer was lost, or a role that is too new
                raise

        with self._cloud.faults():
            try:
                return wait(staged, what=f"the function {self.function}")
            except Unsettled as error:
                wanted, there = release.artifact["code_sha256"], found.get("CodeSha256")
                if there in (None, wanted):
                    raise Unsettled(f"{error.message}: {found.get('why', 'no reason given')}", error.next) from error
                raise Refused(
                    f"Lambda holds {there}, which is not the artifact's {wanted}",
                    next="run this again; someone else changes this function",
                ) from error

    def call(self, path: str, version: str = "", *, method: str = "GET", body: str = "") -> Answer:
        started = time.perf_counter()
        with self._cloud.faults():
            try:
                answer = self._lambda.invoke(
                    FunctionName=self.function,
                    Qualifier=version or ALIAS,
                    Payload=json.dumps(http_event(path, method, body)).encode(),
                )
            except Exception as error:
                code, passed = code_of(error), time.perf_counter() - started
                if code == GONE:
                    return Answer(0, "", str(error), passed, gone=True)
                if code in WAKING or (code == "ResourceConflictException" and "Pending" in str(error)):
                    return Answer(0, "", str(error), passed, waking=True)
                raise
            return read_answer(answer, time.perf_counter() - started)

    def numbers(self, version: str, since: float) -> Numbers:
        return lambda_metrics.numbers(self._cloud, self.function, ALIAS, version, since)

    def milliseconds(self) -> float:
        return lambda_metrics.mean_duration(self._cloud, self.function, ALIAS)

    def traffic(self) -> Traffic | None:
        with self._cloud.faults():
            return lambda_alias.traffic(self._lambda, self.function)

    def shift(self, wanted: Traffic | None, seen: Traffic | None, note: str) -> None:
        with self._cloud.faults():
            lambda_alias.shift(self._lambda, self.function, wanted, seen, note)

    def versions(self) -> dict[str, int]:
        notes: dict[str, str] = {}
        with self._cloud.faults():
            pages = self._lambda.get_paginator("list_versions_by_function").paginate(FunctionName=self.function)
            try:
                notes = {found["Version"]: found.get("Description", "") for page in pages for found in page["Versions"]}
            except Exception as error:
                if code_of(error) != GONE:
                    raise
        return {version: int(found[1]) for version, note in notes.items() if (found := NOTE.match(note))}

    def remove(self, version: str) -> None:
        with self._cloud.faults():
            try:
                self._lambda.delete_function(FunctionName=self.function, Qualifier=version)
            except Exception as error:
                if code_of(error) not in (GONE, "ResourceConflictException"):  # the latter: an alias needs it
                    raise

    # -- the function itself

    def _converge(self, release: Release, dropped: tuple[str, ...], found: dict[str, Any]) -> str | None:
        """Do the next thing that is missing; the version, once nothing is. ``found`` takes what Lambda said last.

        A change is seen as done by reading it back, so an answer that is lost, or a second run after a crash, costs a
        read and no second change. https://docs.aws.amazon.com/lambda/latest/dg/functions-states.html
        """
        there = self._configuration("$LATEST")
        ours = {**release.variables, RELEASE_VARIABLE: str(release.number)}
        if there is None:
            self._create(release, ours)
            return None
        found |= there
        self._same_package(there)
        if there.get("State") == "Failed":  # it was never made; Lambda has no way on from there
            raise Refused(
                f"Lambda could not make {self.function}: {there.get('StateReason', 'no reason given')}",
                next=f"mend that, aws lambda delete-function --function-name {self.function}, then run this again",
            )
        if there.get("LastUpdateStatus") == "Failed" and not found.get("changed"):
            self._change_code(release, there, found)  # a former deploy's failure stays until an update succeeds
            return None
        if not _settled(there):
            return None
        variables = {k: v for k, v in _variables(there).items() if k not in dropped} | ours
        architecture = {"architecture": release.settings["architecture"]}
        if self._read(there) | architecture != release.settings or _variables(there) != variables:
            found["changed"] = True
            self._lambda.update_function_configuration(
                FunctionName=self.function,
                RevisionId=there["RevisionId"],
                **self._options(release.settings, variables),
            )
            return None
        if there["CodeSha256"] != release.artifact["code_sha256"] or self._read(there) != release.settings:
            self._change_code(release, there, found)
            return None
        published = self._lambda.publish_version(  # gives the same version again when nothing has changed since
            FunctionName=self.function,
            CodeSha256=there["CodeSha256"],
            RevisionId=there["RevisionId"],
            Description=f"release {release.number}, {release.artifact['version']}",
        )
        version: str = published["Version"]
        return wait(lambda: self._ready(version), what=f"version {version} of {self.function}")

    def _change_code(self, release: Release, there: dict[str, Any], found: dict[str, Any]) -> None:
        found["changed"] = True
        self._lambda.update_function_code(
            FunctionName=self.function,
            RevisionId=there["RevisionId"],
            Architectures=[release.settings["architecture"]],
            **self.code(release.artifact),
        )

    def _ready(self, version: str) -> str | None:
        there = self._configuration(version)
        return version if there is not None and _settled(there) else None

    def _configuration(self, qualifier: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self._lambda.get_function_configuration(
                FunctionName=self.function, Qualifier=qualifier
            )
        except Exception as error:
            if code_of(error) == GONE:
                return None
            raise
        return found

    def _same_package(self, there: dict[str, Any]) -> None:
        """Whether the function is of this kind of package, which Lambda never changes.

        https://docs.aws.amazon.com/lambda/latest/api/API_UpdateFunctionCode.html
        """
        kind = there.get("PackageType", "Zip")
        if kind != self.package:
            raise Refused(
                f"the function {self.function} was made with the package type {kind}, which Lambda never changes to "
                f"{self.package}",
                next="give the target an environment of its own in pipeline.toml (its function is a new one), deploy it, let "
                "what calls the old function call the new one, then retire the old environment",
            )

    def _create(self, release: Release, variables: dict[str, str]) -> None:
        self._lambda.create_function(
            FunctionName=self.function,
            Code=self.code(release.artifact),
            Architectures=[release.settings["architecture"]],
            Tags={"service": self._config.service.name},
            **self.create_options(),
            **self._options(release.settings, variables),
        )

    def _options(self, settings: dict[str, Any], variables: dict[str, str]) -> dict[str, Any]:
        return {
            "Role": settings["role"],
            "MemorySize": settings["memory"],
            "Timeout": settings["timeout"],
            "TracingConfig": {"Mode": settings.get("tracing", "PassThrough")},
            "Environment": {"Variables": variables},
            **self.package_options(settings),
        }

    def _read(self, found: dict[str, Any]) -> dict[str, Any]:
        return {
            **self.read_package(found),
            "memory": found["MemorySize"],
            "timeout": found["Timeout"],
            "tracing": found.get("TracingConfig", {}).get("Mode", "PassThrough"),
            "role": found["Role"],
            "architecture": (found.get("Architectures") or ["x86_64"])[0],
        }

    @property
    def _lambda(self) -> Any:
        # A call may last as long as the function may; botocore must neither give up before that nor call twice.
        return self._cloud.client("lambda", read_timeout=self._config.function.timeout + 15)


def _settled(found: dict[str, Any]) -> bool:
    """Whether Lambda has finished with a function or version.

    Raises:
        Refused: it could not take the release.
    """
    states = (found.get("State"), found.get("LastUpdateStatus"))
    if "Failed" in states:
        reason = found.get("LastUpdateStatusReason") or found.get("StateReason") or "no reason given"
        raise Refused(f"Lambda could not take the release: {reason}", next="mend what the reason names")
    return "Pending" not in states and "InProgress" not in states


def _variables(found: dict[str, Any]) -> dict[str, str]:
    variables: dict[str, str] = found.get("Environment", {}).get("Variables", {})
    return variables
