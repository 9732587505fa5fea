"""The keys of ``[function]`` on Lambda. https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_delivery.keys import Function, key

if TYPE_CHECKING:
    from ml_delivery.keys import Environment

__all__ = ["LambdaSettings", "of"]


@dataclass(frozen=True)
class LambdaSettings(Function):
    """The function's memory (megabytes), timeout (seconds) and tracing, in addition to its variables and secrets."""

    memory: int = key("megabytes: 1024", default=1024, within=(128, 10240))
    timeout: int = key("seconds: 15", default=15, within=(1, 900))
    tracing: str = key('"PassThrough" or "Active"', default="PassThrough", choices=("PassThrough", "Active"))


def of(environment: Environment) -> LambdaSettings:
    """The function's settings in ``environment``, whose target must be on Lambda."""
    assert isinstance(environment.function, LambdaSettings)
    return environment.function
