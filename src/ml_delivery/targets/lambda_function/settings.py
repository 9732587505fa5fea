"""The keys of ``[function]`` on Lambda. https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_delivery.keys import Function, key
from ml_delivery.records import DIGEST_VARIABLE, RELEASE_VARIABLE

if TYPE_CHECKING:
    from ml_delivery.keys import Environment

__all__ = ["RESERVED", "LambdaSettings", "of"]

# Names that Lambda itself sets: https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
RESERVED = frozenset(
    (
        "_HANDLER",
        "_X_AMZN_TRACE_ID",
        "AWS_DEFAULT_REGION",
        "AWS_REGION",
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_INITIALIZATION_TYPE",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_LAMBDA_RUNTIME_API",
        "LAMBDA_TASK_ROOT",
        "LAMBDA_RUNTIME_DIR",
        "AWS_LAMBDA_MAX_CONCURRENCY",
        "AWS_LAMBDA_METADATA_API",
        "AWS_LAMBDA_METADATA_TOKEN",
    )
)
MOST = 4096  # bytes of all variables, in JSON
# Each release adds these.
OWN = {RELEASE_VARIABLE: "9" * 6, DIGEST_VARIABLE: f"sha256:{'0' * 64}"}


@dataclass(frozen=True)
class LambdaSettings(Function):
    """The function's memory (megabytes), timeout (seconds) and tracing, in addition to its variables and secrets."""

    memory: int = key("megabytes: 1024", default=1024, within=(128, 10240))
    timeout: int = key("seconds: 15", default=15, within=(1, 900))
    tracing: str = key('"PassThrough" or "Active"', default="PassThrough", choices=("PassThrough", "Active"))

    def problems(self, variables: dict[str, str]) -> list[str]:
        found = [f"{name}: Lambda sets it; choose another name" for name in sorted(RESERVED & variables.keys())]
        size = len(json.dumps(variables | OWN, ensure_ascii=False, separators=(",", ":")).encode())
        if size > MOST:
            largest = max(variables, key=lambda name: len(variables[name]))
            found.append(
                f"{largest}: all variables have {size} bytes, with those that a release adds, and Lambda allows {MOST}; "
                "store the largest in a file of the service, or in a parameter"
            )
        return found


def of(environment: Environment) -> LambdaSettings:
    """The function's settings in ``environment``, whose target must be on Lambda."""
    assert isinstance(environment.function, LambdaSettings)
    return environment.function
