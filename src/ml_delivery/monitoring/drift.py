"""Whether dashboards and alert rules are still what the definition says, where they are shown."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_delivery.cloud import code_of
from ml_delivery.monitoring import files
from ml_delivery.monitoring.queries import place
from ml_delivery.monitoring.template import dashboard

if TYPE_CHECKING:
    from ml_delivery.cloud import Cloud
    from ml_delivery.monitoring.queries import Place
    from ml_delivery.release.delivery import Delivery

__all__ = ["Drift", "board_differs", "find", "put_board"]


@dataclass(frozen=True)
class Drift:
    """One thing that is not as defined: its name, ``changed`` or ``missing``, and the command that puts it back."""

    name: str
    how: str
    next: str


def find(delivery: Delivery) -> list[Drift]:
    """What has drifted: CloudWatch's dashboard, if it was ever made; and Grafana, if there is one and a token for it.

    Raises:
        CloudError: either does not answer, or refuses.
    """
    config, cloud = delivery.config, delivery.cloud
    at, queries = place(config, delivery.environment, cloud.account), files.queries(config.root)
    remedy = f"invoke monitor --upload --branch {at.branch} --cloud {cloud.name}"
    found = []
    if board_differs(cloud, at, queries):
        found.append(Drift(f"CloudWatch dashboard {at.function}", "changed", remedy))
    if config.monitoring.grafana_url and os.environ.get("GRAFANA_TOKEN"):
        from ml_delivery.monitoring import api  # needs Grafana's SDK, which is an extra

        grafana = api.connect(config)
        for part in api.parts(config, at, queries):
            if how := grafana.differs(part):
                found.append(Drift(f"Grafana {part.name}", how, remedy))
    return found


def board_differs(cloud: Cloud, at: Place, queries: dict[str, str]) -> bool:
    """Whether CloudWatch's dashboard is another than defined; one that bootstrap has not made yet is none.

    Raises:
        CloudError: CloudWatch refused.
    """
    with cloud.faults():
        try:
            body = cloud.client("cloudwatch").get_dashboard(DashboardName=at.function)["DashboardBody"]
        except Exception as error:
            if code_of(error) in ("ResourceNotFound", "DashboardNotFoundError"):
                return False
            raise
    return bool(json.loads(body) != dashboard(at, queries))


def put_board(cloud: Cloud, at: Place, queries: dict[str, str]) -> None:
    """Make CloudWatch's dashboard what it is defined as; CloudFormation would not see that others changed it.

    Raises:
        CloudError: CloudWatch refused.
    """
    with cloud.faults():
        body = json.dumps(dashboard(at, queries))
        cloud.client("cloudwatch").put_dashboard(DashboardName=at.function, DashboardBody=body)
