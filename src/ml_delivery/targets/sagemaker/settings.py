"""The keys of ``[function]`` on SageMaker. https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ContainerDefinition.html"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_delivery.keys import Function, key
from ml_delivery.records import DIGEST_VARIABLE, RELEASE_VARIABLE
from ml_delivery.targets.sagemaker.names import PING_VARIABLE

if TYPE_CHECKING:
    from ml_delivery.keys import Environment

__all__ = ["SagemakerSettings", "architecture", "of"]

# Characters of a variable, and bytes of all of them.
LONGEST, MOST = 1024, 32 * 1024
# Each release adds these.
OWN = {RELEASE_VARIABLE: "9" * 6, DIGEST_VARIABLE: f"sha256:{'0' * 64}"}
# Graviton processors have a "g" after the generation: ml.m6g, ml.c6gn, but not ml.g5.
# https://docs.aws.amazon.com/ec2/latest/instancetypes/instance-type-names.html
INSTANCE = r"ml\.[a-z]+\d+[a-z]*(-[a-z0-9]+)?\.[a-z0-9]+"
GRAVITON = re.compile(r"ml\.[a-z]+\d+[a-z]*g[a-z]*\.")


@dataclass(frozen=True)
class SagemakerSettings(Function):
    """The instances of a release, how long they may take to start, and what is kept for a rollback, beside variables and secrets.

    The endpoint is named ``<service>-<environment>``, a release's variant in it ``r<number>``.
    """

    instance_type: str = key('an instance type for inference: "ml.m5.large"', default="ml.m5.large", pattern=INSTANCE)
    instances: int = key("a number of instances: 2", default=1, within=(1, 100))
    start: int = key("seconds within which an instance must be healthy: 240", default=240, within=(60, 900))
    standby: bool = key("true or false", default=False)
    # CloudWatch evaluates alarms on such a query over the last three hours at most:
    # https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-limits.html
    idle_hours: int = key("hours without a request until an alarm, or 0 for no alarm: 3", default=3, within=(0, 3))

    def problems(self, variables: dict[str, str]) -> list[str]:
        found = [f"{PING_VARIABLE}: this target sets it; choose another name"] if PING_VARIABLE in variables else []
        found += [
            f"{name}: SageMaker allows {LONGEST} characters, and it has {len(value)}; store it in a file or a parameter"
            for name, value in variables.items()
            if len(value) > LONGEST
        ]
        size = sum(len(name.encode()) + len(value.encode()) for name, value in {**variables, **OWN}.items())
        if size > MOST:
            largest = max(variables, key=lambda name: len(variables[name]))
            found.append(
                f"{largest}: all variables have {size} bytes, with those that a release adds, and SageMaker allows {MOST}; "
                "store the largest in a file of the service, or in a parameter"
            )
        return found


def architecture(instance_type: str) -> str:
    """The processors of an instance type: ``arm64`` or ``x86_64``."""
    return "arm64" if GRAVITON.match(instance_type) else "x86_64"


def of(environment: Environment) -> SagemakerSettings:
    """The settings in ``environment``, whose target must be this one."""
    assert isinstance(environment.function, SagemakerSettings)
    return environment.function
