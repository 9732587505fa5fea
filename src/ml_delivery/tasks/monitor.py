"""The tasks for monitoring: monitor, report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from invoke import Exit

from ml_delivery.tasks import console
from ml_delivery.tasks.base import BRANCH, CLOUD, JSON, action, open_environment, read_config

if TYPE_CHECKING:
    from ml_delivery.release.delivery import Delivery


@action(
    help={
        "render": "write build/monitoring: the monitoring stacks' templates, and Grafana's provisioning files",
        "upload": "overwrite what differs: CloudWatch's dashboard, and Grafana's objects with $GRAFANA_TOKEN",
        "branch": BRANCH,
        "cloud": CLOUD,
        "json": f"of the differences: {JSON}",
    }
)
def monitor(
    _: Any, render: bool = False, upload: bool = False, branch: str = "", cloud: str = "", json: bool = False
) -> None:
    """Compare the deployed alarms and dashboards with their definition; exit 2 if they differ, else 0."""
    if render:
        return _render()
    delivery = open_environment(branch, cloud)
    if upload:
        return _upload(delivery)
    from ml_delivery.monitoring import drift

    found = [*drift.of_stack(delivery), *drift.find(delivery)]
    if json:
        console.document({"differences": found})
    else:
        for one in found:
            console.say(f"{one.kind} {one.name}: {one.how}; next: {one.next}")
        if not found:
            console.say("the deployed alarms and dashboards are as defined")
    if found:
        raise Exit(code=2)


@action(
    help={"days": "how far back; default: 1", "branch": BRANCH, "cloud": CLOUD, "json": f"of the panels' rows: {JSON}"}
)
def report(_: Any, days: int = 1, branch: str = "", cloud: str = "", json: bool = False) -> None:
    """Write build/monitoring.html: all panels of the last days as charts, in one self-contained page."""
    from ml_delivery.errors import ConfigError
    from ml_delivery.monitoring import page

    if not 1 <= days <= 455:  # as long as CloudWatch keeps anything
        raise ConfigError("--days", [f"{days} is not between 1 and 455"])
    made = page.write(open_environment(branch, cloud), days)
    if json:
        return console.document(made)
    without = f"; no data yet: {', '.join(made.empty)}" if made.empty else ", each with data"
    console.say(f"wrote {made.path}: {len(made.panels)} panels{without}")


def _render() -> None:
    from ml_delivery.monitoring import files

    changed = files.write(read_config())
    for path in changed:
        console.say(f"wrote {path}")
    if not changed:
        console.say("nothing to write")


def _upload(delivery: Delivery) -> None:
    from ml_delivery.monitoring import api, drift
    from ml_delivery.monitoring.definition import observed
    from ml_delivery.observed import Place
    from ml_delivery.records import ROLLED_BACK, VERIFIED

    at = Place(delivery.config, delivery.environment, delivery.cloud.account)
    seen = observed(at)
    if drift.board_differs(delivery.cloud, at, seen):
        drift.put_board(delivery.cloud, at, seen)
        console.say("  CloudWatch     was changed; written")
    if not delivery.config.monitoring.grafana_url:
        return console.say("  Grafana        not configured; to use one, set monitoring.grafana_url in pipeline.toml")
    grafana = api.connect(delivery.config)
    for part in api.parts(at, seen):
        how = grafana.differs(part)
        if how:
            grafana.write(part, missing=how == "missing")
        console.say(f"  {part.name:<14} {'was up to date' if not how else f'was {how}; written'}")
    served = [release for release in delivery.ledger.latest(50, []) if release.state in (VERIFIED, ROLLED_BACK)]
    texts = ((r.number, r.at, f"release {r.number}: {r.artifact.version[:12]} by {r.who}") for r in served)
    console.say(f"  {'releases':<14} {grafana.annotate(at, texts)} newly marked")
