"""A function on Lambda, however it is packaged: a release is a published version, the alias ``live`` names what serves.

``lambda_zip`` and its like say what a package is; all else is here.
"""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pipeline.cloud import code_of
from pipeline.errors import Refused
from pipeline.targets import Answer, Live
from pipeline.waiting import wait

if TYPE_CHECKING:
    from pipeline.cloud import Cloud
    from pipeline.config import Config
    from pipeline.infra import Foundation
    from pipeline.keys import Environment
    from pipeline.store import Artifact

__all__ = ["RELEASE_VARIABLE", "LambdaFunction", "http_event"]

ALIAS = "live"
# The one variable that the deploy adds by itself; the service answers it at /version.
RELEASE_VARIABLE = "RELEASE_NUMBER"
GONE = "ResourceNotFoundException"


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

    def package_options(self) -> dict[str, Any]:
        """The same as Lambda takes them, for a new function and for its configuration."""
        raise NotImplementedError

    def create_options(self) -> dict[str, Any]:
        """What Lambda takes for a new function only."""
        return {}

    def read_package(self, found: dict[str, Any]) -> dict[str, Any]:
        """The same as Lambda reports them, comparable with ``package_settings``."""
        raise NotImplementedError

    def code(self, artifact: Artifact) -> dict[str, Any]:
        """Where Lambda takes the code of ``artifact`` from, for a new function and for new code."""
        raise NotImplementedError

    # -- what the deploy asks

    @property
    def _lambda(self) -> Any:
        # A call may last as long as the function may; botocore must neither give up before that nor call twice.
        return self._cloud.client("lambda", read_timeout=self._config.function.timeout + 15)

    def live(self) -> Live | None:
        with self._cloud.faults():
            try:
                alias = self._lambda.get_alias(FunctionName=self.function, Name=ALIAS)
            except Exception as error:
                if code_of(error) == GONE:
                    return None
                raise
            version = alias["FunctionVersion"]
            found = self._lambda.get_function_configuration(FunctionName=self.function, Qualifier=version)
        variables = found.get("Environment", {}).get("Variables", {})
        return Live(
            version=version,
            release=int(variables.get(RELEASE_VARIABLE, 0)),
            code_sha256=found["CodeSha256"],
            settings=self._settings(found),
            variables=variables,
            tag=alias["RevisionId"],
        )

    def settings(self) -> dict[str, Any]:
        return {
            **self.package_settings(),
            "memory": self._config.function.memory,
            "timeout": self._config.function.timeout,
            "role": self._foundation.role,
            "architecture": self._config.service.architecture,
        }

    def stage(self, number: int, artifact: Artifact, variables: dict[str, str], dropped: set[str]) -> str:
        ours = {**variables, RELEASE_VARIABLE: str(number)}
        with self._cloud.faults():
            there = self._configuration()
            if there is None:
                self._create(self.code(artifact), ours)
                there = self._settled()
            else:
                self._same_package(there)
                # A function that another caller left in mid-update settles first.
                there = self._settled(there)
                wanted = {k: v for k, v in _variables(there).items() if k not in dropped} | ours
                there = self._update_configuration(there, wanted)
                if there["CodeSha256"] != artifact.code_sha256:
                    self._lambda.update_function_code(
                        FunctionName=self.function,
                        RevisionId=there["RevisionId"],
                        **self.code(artifact),
                        **self._architectures(),
                    )
                    there = self._settled()
            if there["CodeSha256"] != artifact.code_sha256:
                raise Refused(
                    f"Lambda holds {there['CodeSha256']}, which is not the artifact's {artifact.code_sha256}",
                    next="run this again; someone else changes this function",
                )
            published = self._lambda.publish_version(
                FunctionName=self.function,
                CodeSha256=artifact.code_sha256,
                RevisionId=there["RevisionId"],
                Description=f"release {number}, {artifact.version}",
            )
            version: str = published["Version"]
            self._settled(published, qualifier=version)
        return version

    def call(self, path: str, version: str = "", *, method: str = "GET", body: str = "") -> Answer:
        started = time.perf_counter()
        with self._cloud.faults():
            answer = self._lambda.invoke(
                FunctionName=self.function,
                Qualifier=version or ALIAS,
                Payload=json.dumps(http_event(path, method, body)).encode(),
            )
            payload = answer["Payload"].read().decode("utf-8", "replace")
        seconds = time.perf_counter() - started
        if "FunctionError" in answer:
            return Answer(0, payload, f"{answer['FunctionError']}: {_reason(payload)}", seconds)
        try:
            response = json.loads(payload)
            status = int(response["statusCode"])
            text = response.get("body") or ""
            if response.get("isBase64Encoded"):
                text = base64.b64decode(text).decode("utf-8", "replace")
        except (ValueError, TypeError, KeyError):
            return Answer(0, payload, f"not an HTTP response: {payload[:200]}", seconds)
        return Answer(status, text, "", seconds)

    def shift(self, version: str, live: Live | None) -> None:
        with self._cloud.faults():
            if live is None:
                self._lambda.create_alias(FunctionName=self.function, Name=ALIAS, FunctionVersion=version)
                return
            try:
                self._lambda.update_alias(
                    FunctionName=self.function,
                    Name=ALIAS,
                    FunctionVersion=version,
                    RevisionId=live.tag,
                    RoutingConfig={"AdditionalVersionWeights": {}},
                )
            except Exception as error:
                if code_of(error) != "PreconditionFailedException":
                    raise
                raise Refused("the traffic was moved by someone else meanwhile", next="invoke status") from error

    def restore(self, live: Live | None) -> None:
        now = self.live()
        if now is None or (live is not None and now.version == live.version):
            return
        if live is None:
            with self._cloud.faults():
                self._lambda.delete_alias(FunctionName=self.function, Name=ALIAS)
        else:
            self.shift(live.version, now)

    # -- the function itself

    def _configuration(self, qualifier: str = "$LATEST") -> dict[str, Any] | None:
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

    def _create(self, code: dict[str, Any], variables: dict[str, str]) -> None:
        wanted = self.settings()
        self._lambda.create_function(
            FunctionName=self.function,
            Code=code,
            Role=wanted["role"],
            MemorySize=wanted["memory"],
            Timeout=wanted["timeout"],
            Environment={"Variables": variables},
            Tags={"service": self._config.service.name},
            **self.package_options(),
            **self.create_options(),
            **self._architectures(),
        )

    def _update_configuration(self, there: dict[str, Any], variables: dict[str, str]) -> dict[str, Any]:
        wanted = self.settings()
        self._lambda.update_function_configuration(
            FunctionName=self.function,
            RevisionId=there["RevisionId"],
            Role=wanted["role"],
            MemorySize=wanted["memory"],
            Timeout=wanted["timeout"],
            Environment={"Variables": variables},
            **self.package_options(),
        )
        return self._settled()

    def _settings(self, found: dict[str, Any]) -> dict[str, Any]:
        return {
            **self.read_package(found),
            "memory": found["MemorySize"],
            "timeout": found["Timeout"],
            "role": found["Role"],
            "architecture": (found.get("Architectures") or ["x86_64"])[0],
        }

    def _architectures(self) -> dict[str, list[str]]:
        return {"Architectures": [self._config.service.architecture]}

    def _settled(self, known: dict[str, Any] | None = None, qualifier: str = "$LATEST") -> dict[str, Any]:
        """The configuration, once Lambda has finished with it; ``known`` spares a call when it already has.

        https://docs.aws.amazon.com/lambda/latest/dg/functions-states.html
        """
        seen = [known] if known else []

        def settled() -> dict[str, Any] | None:
            found = seen.pop() if seen else self._configuration(qualifier)
            if found is None:
                return None
            states = (found.get("State"), found.get("LastUpdateStatus"))
            if "Failed" in states:
                reason = found.get("LastUpdateStatusReason") or found.get("StateReason") or "no reason given"
                raise Refused(f"Lambda could not take the release: {reason}", next="mend what the reason names")
            return None if "Pending" in states or "InProgress" in states else found

        return wait(settled, what=f"the function {self.function}")


def http_event(path: str, method: str = "GET", body: str = "") -> dict[str, Any]:
    """The event that an HTTP API or a Function URL sends for this request (payload format 2.0).

    https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
    """
    parts = urlsplit(path)
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": parts.path,
        "rawQueryString": parts.query,
        "headers": {"host": "pipeline", "user-agent": "pipeline", "content-type": "application/json"},
        "requestContext": {
            "domainName": "pipeline",
            "http": {
                "method": method,
                "path": parts.path,
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": "pipeline",
            },
            "requestId": f"pipeline-{time.time_ns()}",
            "stage": "$default",
            "timeEpoch": int(time.time() * 1000),
        },
        "body": body,
        "isBase64Encoded": False,
    }


def _variables(found: dict[str, Any]) -> dict[str, str]:
    variables: dict[str, str] = found.get("Environment", {}).get("Variables", {})
    return variables


def _reason(payload: str) -> str:
    """Lambda's own words for a function error: its type and message."""
    try:
        error = json.loads(payload)
        return f"{error.get('errorType', 'Error')}: {error.get('errorMessage', payload)}"
    except (ValueError, AttributeError):
        return payload[:500]
