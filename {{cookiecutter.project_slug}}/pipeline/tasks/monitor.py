"""How a service is seen from the outside: monitor, report."""

from __future__ import annotations

from typing import Any

from invoke import Exit

from pipeline import console
from pipeline.tasks import BRANCH, CLOUD, action, open_environment, read_config


@action(
    help={
        "render": "write infra/monitoring.yaml and infra/grafana",
        "upload": "bring Grafana (monitoring.grafana_url, $GRAFANA_TOKEN) up to date",
        "branch": BRANCH,
        "cloud": CLOUD,
    }
)
def monitor(_: Any, render: bool = False, upload: bool = False, branch: str = "", cloud: str = "") -> None:
    """Show how dashboards and alarms differ from their definition; exit 0 for not at all, 2 for some."""
    from pipeline.monitoring import files

    config = read_config()
    if render:
        changed = files.write(config)
        for path in changed:
            console.say(f"wrote {path}")
        if not changed:
            console.say("nothing to write")
    if upload:
        return _upload(branch, cloud)
    if render:
        return
    lines = files.differences(config)
    for line in lines:
        console.say(line)
    if lines:
        raise Exit("! the files differ from their definition\n  next: invoke monitor --render", 2)
    console.say("the files are as their definition says")


def _upload(branch: str, cloud: str) -> None:
    from pipeline.monitoring import api, files
    from pipeline.monitoring.queries import place

    delivery = open_environment(branch, cloud)
    config = delivery.config
    at = place(config, delivery.environment, delivery.cloud.account)
    grafana = api.connect(config)
    for part in api.parts(config, at, files.queries(config.root)):
        how = grafana.differs(part)
        if how:
            grafana.write(part, missing=how == "missing")
        console.say(f"  {part.name:<14} {'was up to date' if not how else f'was {how}; written'}")
    marked = grafana.annotate(
        at,
        (
            (r.number, r.at, f"release {r.number}: {r.artifact['version'][:12]} by {r.who}")
            for r in delivery.ledger.latest(50)
        ),
    )
    console.say(f"  {'releases':<14} {marked} newly marked")
