"""Configuration drift: whether the stack, the bucket's policy, CloudWatch's dashboard and Grafana still match the definition."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ml_delivery.account import change_sets, guards
from ml_delivery.cloud import code_of
from ml_delivery.monitoring import stack
from ml_delivery.monitoring.definition import observed
from ml_delivery.monitoring.template import dashboard
from ml_delivery.observed import Place

if TYPE_CHECKING:
    from ml_delivery.cloud import Cloud
    from ml_delivery.observed import Observed
    from ml_delivery.records import Context

__all__ = ["Drift", "board_differs", "find", "of_bucket", "of_stack", "put_board"]


@dataclass(frozen=True)
class Drift:
    """Something that is not as defined: its kind and name, how it differs (a stack's state, ``changed``, ``missing``), the fix."""

    kind: Literal["CloudWatch dashboard", "Grafana", "bucket", "stack"]
    name: str
    how: str
    next: str


def find(context: Context) -> list[Drift]:
    """What has drifted: CloudWatch's dashboard, if it was created; and Grafana, if it is configured and there is a token.

    Raises:
        CloudError: either does not answer, or refuses.
        ConfigError: ``infra/metrics.toml`` is wrong.
    """
    config, cloud = context.config, context.cloud
    at = Place(config, context.environment, cloud.account)
    seen = observed(at)
    remedy = f"invoke monitor --upload {_where(context)}"
    found = []
    if board_differs(cloud, at, seen):
        found.append(Drift("CloudWatch dashboard", at.name, "changed", remedy))
    if config.monitoring.grafana_url and os.environ.get("GRAFANA_TOKEN"):
        from ml_delivery.monitoring import api  # needs Grafana's SDK, which is an extra

        grafana = api.connect(config)
        for part in api.parts(at, seen):
            if how := grafana.differs(part):
                found.append(Drift("Grafana", part.name, how, remedy))
    return found


def of_bucket(context: Context) -> list[Drift]:
    """Whether the bucket's policy denies less than it must.

    Raises:
        CloudError: S3 refused.
    """
    lacks = guards.lacking(context)
    name = context.foundation.bucket
    return [Drift("bucket", name, guards.says(lacks), guards.remedy(context))] if lacks else []


def of_stack(context: Context) -> list[Drift]:
    """The drift of the monitoring stack, with the alarms. A deploy's roles may not read it, so ``plan`` doesn't include it.

    Raises:
        CloudError: CloudFormation refused.
        ConfigError: ``infra/metrics.toml`` is wrong.
    """
    wanted = stack.wanted(context.config, context.environment)
    state = change_sets.state(wanted, context.cloud)
    return [Drift("stack", wanted.name, state, f"invoke bootstrap {_where(context)}")] if state != "current" else []


def board_differs(cloud: Cloud, at: Place, seen: Observed) -> bool:
    """Whether CloudWatch's dashboard differs from its definition; False if bootstrap has not created it yet.

    Raises:
        CloudError: CloudWatch refused.
    """
    with cloud.faults():
        try:
            body = cloud.client("cloudwatch").get_dashboard(DashboardName=at.name)["DashboardBody"]
        except Exception as error:
            if code_of(error) in ("ResourceNotFound", "DashboardNotFoundError"):
                return False
            raise
    return bool(json.loads(body) != dashboard(at, seen))


def put_board(cloud: Cloud, at: Place, seen: Observed) -> None:
    """Overwrite CloudWatch's dashboard with its definition; CloudFormation would not detect that it was changed.

    Raises:
        CloudError: CloudWatch refused.
    """
    with cloud.faults():
        cloud.client("cloudwatch").put_dashboard(DashboardName=at.name, DashboardBody=json.dumps(dashboard(at, seen)))


def _where(context: Context) -> str:
    """The options by which a command reaches the same environment."""
    return f"--branch {context.environment.branch}{context.where}"
