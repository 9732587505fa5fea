"""How a service is seen from the outside: monitor, report."""

from __future__ import annotations

from typing import Any

from invoke import Exit

from ml_delivery.tasks import console
from ml_delivery.tasks.base import BRANCH, CLOUD, JSON, action, open_environment, read_config


@action(
    help={
        "render": "write infra/monitoring.yaml and infra/grafana",
        "upload": "bring what others changed up to date: CloudWatch's dashboard, and Grafana's things with $GRAFANA_TOKEN",
        "branch": f"with --upload: {BRANCH}",
        "cloud": f"with --upload: {CLOUD}",
        "json": f"of the differences: {JSON}",
    }
)
def monitor(
    _: Any, render: bool = False, upload: bool = False, branch: str = "", cloud: str = "", json: bool = False
) -> None:
    """Show how dashboards and alarms differ from their definition; exit 0 for not at all, 2 for some."""
    from ml_delivery.monitoring import files

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
    if json:
        console.document({"differences": lines})
        if lines:
            raise Exit(code=2)
        return
    for line in lines:
        console.say(line)
    if lines:
        raise Exit("! the files differ from their definition\n  next: invoke monitor --render", 2)
    console.say("the files are as their definition says")


@action(
    help={"days": "how far back; default: 1", "branch": BRANCH, "cloud": CLOUD, "json": f"of the panels' rows: {JSON}"}
)
def report(_: Any, days: int = 1, branch: str = "", cloud: str = "", json: bool = False) -> None:
    """Write build/monitoring.html: all panels of the last days, drawn, in one page that needs nothing else."""
    from ml_delivery.errors import ConfigError
    from ml_delivery.monitoring import page

    if not 1 <= days <= 455:  # as long as CloudWatch keeps anything
        raise ConfigError("--days", [f"{days} is not within 1 and 455"])
    made = page.write(open_environment(branch, cloud), days)
    if json:
        return console.document(made)
    without = f"; no data yet: {', '.join(made.empty)}" if made.empty else ", each with data"
    console.say(f"wrote {made.path}: {len(made.panels)} panels{without}")


def _upload(branch: str, cloud: str) -> None:
    from ml_delivery.monitoring import api, drift, files
    from ml_delivery.monitoring.queries import place
    from ml_delivery.records import ROLLED_BACK, VERIFIED

    delivery = open_environment(branch, cloud)
    config = delivery.config
    at, queries = place(config, delivery.environment, delivery.cloud.account), files.queries(config.root)
    if drift.board_differs(delivery.cloud, at, queries):
        drift.put_board(delivery.cloud, at, queries)
        console.say("  CloudWatch     was changed; written")
    if not config.monitoring.grafana_url:
        return console.say("  Grafana        none is named in pipeline.toml: monitoring.grafana_url")
    grafana = api.connect(config)
    for part in api.parts(config, at, queries):
        how = grafana.differs(part)
        if how:
            grafana.write(part, missing=how == "missing")
        console.say(f"  {part.name:<14} {'was up to date' if not how else f'was {how}; written'}")
    served = [release for release in delivery.ledger.latest(50) if release.state in (VERIFIED, ROLLED_BACK)]
    texts = ((r.number, r.at, f"release {r.number}: {r.artifact.version[:12]} by {r.who}") for r in served)
    console.say(f"  {'releases':<14} {grafana.annotate(at, texts)} newly marked")
