"""What a function adds to an environment's stacks, and what it creates outside of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ml_delivery import cloudformation
from ml_delivery.targets.lambda_function import front, settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml_delivery.cloud import Cloud
    from ml_delivery.config import Config
    from ml_delivery.keys import Environment

__all__ = ["part", "removals"]


def part(config: Config, environment: Environment) -> cloudformation.Infrastructure:
    """The parts in this folder's ``foundation.yaml`` and ``delivery.yaml``: role, log group and policy statements; and the
    address."""
    parameters = {
        "Tracing": settings.of(environment).tracing,
        "Secrets": ",".join(cloudformation.secret_arns(config, environment)) or "none",
    }
    made = cloudformation.part(Path(__file__).parent, parameters)
    return replace(made, front=front.template(environment, config.service.name))


def removals(config: Config, environment: Environment, cloud: Cloud) -> dict[str, Callable[[], object]]:
    """Removes the function with all its versions."""
    name = config.name_of(environment)
    return {f"the function {name}": lambda: cloud.client("lambda").delete_function(FunctionName=name)}
