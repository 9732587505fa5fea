"""Updates the function to what a release defines, one change after another, then publishes a version.

A change counts as done once it was read back. So after a lost response or a crash, nothing is changed twice.
https://docs.aws.amazon.com/lambda/latest/dg/functions-states.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ml_delivery.cloud import code_of
from ml_delivery.errors import Refused
from ml_delivery.targets.lambda_function.alias import GONE
from ml_delivery.waiting import wait

if TYPE_CHECKING:
    from ml_delivery.records import Artifact, Context, Release, Settings

__all__ = ["Convergence", "Package", "variables_of"]


class Package(Protocol):
    """What this module needs to know about the package type; a deployer provides it."""

    package: str
    function: str
    context: Context

    @property
    def client(self) -> Any:
        """Lambda's client."""

    def create_options(self) -> dict[str, Any]:
        """Lambda's parameters for a new function only."""

    def package_options(self, settings: Settings) -> dict[str, Any]:
        """Lambda's parameters for this package type."""

    def code(self, artifact: Artifact) -> dict[str, Any]:
        """Lambda's parameters for the code."""

    def digest(self, code_sha256: str) -> str:
        """The artifact's digest, from Lambda's CodeSha256."""

    def read(self, found: dict[str, Any]) -> Settings:
        """The settings of a function as reported by Lambda."""


class Convergence:
    """One release on its way to a published version.

    Attributes:
        digest: of the function's code when it was last read; empty before that.
    """

    def __init__(self, deployer: Package, release: Release, dropped: tuple[str, ...]) -> None:
        self.digest = ""
        self._deployer, self._release, self._dropped = deployer, release, dropped
        self._name = {"FunctionName": deployer.function}
        self._changed = False

    def step(self) -> str | None:
        """Make the next missing change, and return None; once nothing is missing, return the published version.

        Raises:
            Refused: the function can't be updated to this release; the message gives the reason.
        """
        there, release, read = self._configuration("$LATEST"), self._release, self._deployer.read
        if there is None:
            self._create(release.environment)
            return None
        if code := there.get("CodeSha256"):  # a function that was never created has none
            self.digest = self._deployer.digest(code)
        self._require_same_package(there)
        if there.get("State") == "Failed":  # it was never created, and can only be deleted
            name = self._deployer.function
            raise Refused(
                f"Lambda could not create {name}: {there.get('StateReason', 'no reason given')}",
                next=f"fix that, then aws lambda delete-function --function-name {name}, then run this again",
            )
        if there.get("LastUpdateStatus") == "Failed" and not self._changed:
            self._change_code(there)  # the failure of an earlier deploy stays visible until an update succeeds
            return None
        if not _settled(there):
            return None
        variables = {k: v for k, v in variables_of(there).items() if k not in self._dropped} | release.environment
        architecture = {"architecture": release.settings["architecture"]}
        if read(there) | architecture != release.settings or variables_of(there) != variables:
            self._changed = True
            self._deployer.client.update_function_configuration(
                **self._name, RevisionId=there["RevisionId"], **self._options(release.settings, variables)
            )
            return None
        if self.digest != release.artifact.digest or read(there) != release.settings:
            self._change_code(there)
            return None
        published = (
            self._deployer.client.publish_version(  # idempotent: returns the same version if nothing has changed
                **self._name,
                CodeSha256=there["CodeSha256"],
                RevisionId=there["RevisionId"],
                Description=f"release {release.number}, {release.artifact.version}",
            )
        )
        version: str = published["Version"]
        return wait(lambda: self._ready(version), what=f"version {version} of {self._deployer.function}")

    def _create(self, variables: dict[str, str]) -> None:
        self._deployer.client.create_function(
            **self._name,
            Code=self._deployer.code(self._release.artifact),
            Architectures=[self._release.settings["architecture"]],
            Tags={"service": self._deployer.context.config.service.name},
            **self._deployer.create_options(),
            **self._options(self._release.settings, variables),
        )

    def _change_code(self, there: dict[str, Any]) -> None:
        self._changed = True
        self._deployer.client.update_function_code(
            **self._name,
            RevisionId=there["RevisionId"],
            Architectures=[self._release.settings["architecture"]],
            **self._deployer.code(self._release.artifact),
        )

    def _options(self, settings: Settings, variables: dict[str, str]) -> dict[str, Any]:
        return {
            "Role": settings["role"],
            "MemorySize": settings["memory"],
            "Timeout": settings["timeout"],
            "TracingConfig": {"Mode": settings.get("tracing", "PassThrough")},
            "Environment": {"Variables": variables},
            **self._deployer.package_options(settings),
        }

    def _ready(self, version: str) -> str | None:
        there = self._configuration(version)
        return version if there is not None and _settled(there) else None

    def _configuration(self, qualifier: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self._deployer.client.get_function_configuration(**self._name, Qualifier=qualifier)
        except Exception as error:
            if code_of(error) == GONE:
                return None
            raise
        return found

    def _require_same_package(self, there: dict[str, Any]) -> None:
        """Check that the function has this package type, which Lambda never changes.

        https://docs.aws.amazon.com/lambda/latest/api/API_UpdateFunctionCode.html
        """
        kind = there.get("PackageType", "Zip")
        if kind != self._deployer.package:
            raise Refused(
                f"the function {self._deployer.function} was created with the package type {kind}, which Lambda never "
                f"changes to {self._deployer.package}",
                next="give the target an environment of its own in pipeline.toml (which has a function of its own), deploy it, "
                "switch the callers of the old function to the new one, then retire the old environment",
            )


def variables_of(found: dict[str, Any]) -> dict[str, str]:
    """The variables of a function or version as reported by Lambda."""
    variables: dict[str, str] = found.get("Environment", {}).get("Variables", {})
    return variables


def _settled(found: dict[str, Any]) -> bool:
    """Whether Lambda has finished updating a function or version.

    Raises:
        Refused: the update failed.
    """
    states = (found.get("State"), found.get("LastUpdateStatus"))
    if "Failed" in states:
        reason = found.get("LastUpdateStatusReason") or found.get("StateReason") or "no reason given"
        raise Refused(f"Lambda could not update the function: {reason}", next="fix what the reason names")
    return "Pending" not in states and "InProgress" not in states
