"""The monitoring stack of an environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_delivery import cloudformation
from ml_delivery.account.stacks import Stack, names
from ml_delivery.errors import ConfigError
from ml_delivery.monitoring import definition, template
from ml_delivery.observed import Place

if TYPE_CHECKING:
    from ml_delivery.config import Config
    from ml_delivery.keys import Environment

__all__ = ["wanted"]


def wanted(config: Config, environment: Environment) -> Stack:
    """The stack ``<service>-<environment>-monitoring``, made from the definition.

    Raises:
        ConfigError: Grafana's role could be assumed without an external id, or ``infra/metrics.toml`` is wrong.
    """
    known = config.monitoring
    if known.grafana_principal not in ("", "grafana.amazonaws.com") and not known.grafana_external_id:
        problem = "monitoring.grafana_external_id: empty; write the external id that Grafana shows"
        raise ConfigError("pipeline.toml", [problem])
    at = Place(config, environment, "${AWS::AccountId}")
    body = cloudformation.write(template.template(at, definition.observed(at)))
    return Stack(names(config, environment)["monitoring"], body, {}, "infra/metrics.toml")
