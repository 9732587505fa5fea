"""The tasks that change nothing: status, releases, logs, verify, config."""

from __future__ import annotations

import itertools
import json as _json
import sys
import time
from contextlib import suppress
from dataclasses import asdict, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invoke import Exit

from ml_delivery.errors import PipelineError
from ml_delivery.tasks import console
from ml_delivery.tasks.base import BRANCH, CLOUD, JSON, action, open_environment, read_config

if TYPE_CHECKING:
    from ml_delivery.errors import CloudError
    from ml_delivery.release.delivery import Delivery
    from ml_delivery.release.head import Head
    from ml_delivery.release.results import Link

WATCH_SECONDS = 5  # CloudWatch itself measures by the minute


@action(
    help={
        "branch": BRANCH,
        "cloud": CLOUD,
        "json": JSON,
        "watch": "refresh every few seconds: releases, traffic by version, errors, latency, alarms",
        "looks": "with --watch: stop after this many refreshes; default: at Ctrl-C",
    }
)
def status(_: Any, branch: str = "", cloud: str = "", json: bool = False, watch: bool = False, looks: int = 0) -> None:
    """Show what is live, and what is under way."""
    from ml_delivery.release import front, words

    delivery = open_environment(branch, cloud)
    if watch:
        return _watch(delivery, looks)
    live, head = delivery.deployer.live(), delivery.ledger.head()
    found = front.find(delivery)
    where = f"--branch {delivery.environment.branch}{delivery.where}"
    if json:
        return console.document(
            {
                "live": live and asdict(replace(live, variables=_ours(live.variables, head))),
                "lock": head.holder and asdict(head.holder),
                "work": head.work and asdict(head.work),
                "retired": head.retired,
                "experiment": head.experiment and asdict(head.experiment),
                "address": found.address,
            }
        )
    console.say(f"{delivery.environment.name} on {delivery.cloud.name}")
    for line in words.state(live, head, where):
        console.say(f"  {line}")
    if live:
        console.front(found, delivery)


def _ours(variables: dict[str, str], head: Head) -> dict[str, str]:
    """The variables that this pipeline set: any other may be a secret."""
    return {name: value for name, value in variables.items() if name in head.owned}


@action(
    help={
        "branch": BRANCH,
        "cloud": CLOUD,
        "count": "how many; default: 10",
        "html": "write them to this file as a page, with a chart of the times",
        "json": JSON,
    }
)
def releases(_: Any, branch: str = "", cloud: str = "", count: int = 10, html: str = "", json: bool = False) -> None:
    """List the environment's releases, newest first."""
    delivery = open_environment(branch, cloud)
    damaged: list[CloudError] = []
    found = delivery.ledger.latest(count, damaged)
    if html:
        from ml_delivery.release import history

        title = f"{delivery.config.service.name} in {delivery.environment.name} on {delivery.cloud.name}"
        live = delivery.deployer.live()
        Path(html).write_text(history.page(title, found, live.release if live else 0), encoding="utf-8")
        console.say(f"wrote {html}")
    elif json:
        console.document(found)
    else:
        for release in found:
            when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(release.at))
            version = release.artifact.version
            tag = f"  {release.artifact.tag}" if release.artifact.tag else ""
            console.say(f"{release.number:>4}  {release.state:<11}  {when}  {version[:12]}  {release.who}{tag}")
            if release.cause:
                console.say(f"      {release.cause}")
    if damaged:  # after those that can be read
        raise damaged[0]


@action(
    help={
        "query": "run this Logs Insights query of infra/queries instead of printing the log, such as slow",
        "branch": BRANCH,
        "cloud": CLOUD,
        "minutes": "how far back; default: 10",
        "follow": "go on with what is logged from now on, until Ctrl-C",
        "json": "with --query: print one JSON document instead of text",
    }
)
def logs(
    _: Any,
    query: str = "",
    branch: str = "",
    cloud: str = "",
    minutes: int = 10,
    follow: bool = False,
    json: bool = False,
) -> None:
    """Print the log of the last minutes, or what a query finds in it."""
    from ml_delivery.release import following, foreign

    if query and follow:
        raise Exit("✗ --follow: a query is of what is logged already\n  next: leave out --follow or --query", 1)
    if query:
        return _query(query, branch, cloud, minutes, json)
    delivery = open_environment(branch, cloud)
    foreign.learn(delivery)
    since = time.time() - minutes * 60
    lines = following.lines(delivery.deployer, since) if follow else delivery.deployer.logs(since)
    with console.foreign() as say, suppress(*([KeyboardInterrupt] if follow else [])):
        for line in lines:
            say(line.text)


def _watch(delivery: Delivery, looks: int) -> None:
    """On a terminal each refresh overwrites the previous one; elsewhere it is printed below it."""
    from ml_delivery.monitoring import glance

    live = sys.stdout.isatty()
    for look in itertools.count(1):
        found = glance.lines(delivery)
        if live:
            console.clear()
        console.say("\n".join(found))
        if look == looks:
            return
        time.sleep(WATCH_SECONDS)


def _query(name: str, branch: str, cloud: str, minutes: int, json: bool) -> None:
    from ml_delivery.errors import ConfigError
    from ml_delivery.monitoring import data
    from ml_delivery.monitoring.definition import observed
    from ml_delivery.observed import Place
    from ml_delivery.release import foreign

    delivery = open_environment(branch, cloud)
    seen = observed(Place(delivery.config, delivery.environment, delivery.cloud.account))
    known = seen.logs
    if name not in known:
        near = get_close_matches(name, known, 1)
        listed = [f"{other}: {text.splitlines()[0].lstrip('# ')}" for other, text in known.items()]
        meant = f"; did you mean {near[0]}?" if near else ""
        raise PipelineError(
            "\n  ".join([f"--query: there is no query {name!r}{meant}", *listed]),
            next=f"invoke logs --query {(near or list(known))[0]} --branch {delivery.environment.branch}{delivery.where}",
        )
    if not seen.log_group:
        raise ConfigError(
            "--query",
            [f"{delivery.environment.target} has no log in CloudWatch, so it can't be queried"],
            next=f"invoke logs --branch {branch or delivery.environment.branch}{delivery.where}",
        )
    foreign.learn(delivery)
    rows = data.ask_log(delivery.cloud, seen.log_group, known[name], minutes)
    if json:
        return console.document(rows)
    with console.foreign():
        console.table(rows)


@action(
    help={"branch": BRANCH, "cloud": CLOUD, "rebuild": "build the commit again, and compare the bytes", "json": JSON}
)
def verify(_: Any, branch: str = "", cloud: str = "", rebuild: bool = False, json: bool = False) -> None:
    """Prove that what is live is the artifact that its commit's build made; exit 1 at the first broken link."""
    from ml_delivery.release import verify as verifying
    from ml_delivery.release import words

    def say(link: Link) -> None:
        console.say(f"✓ {words.link(link)}\n    {link.digest}")

    links = verifying.verify(open_environment(branch, cloud), rebuild=rebuild, report=console.quiet if json else say)
    if json:
        console.document(links)


@action(help={"json": JSON})
def config(_: Any, json: bool = False) -> None:
    """Print the configuration as read from pipeline.toml, with defaults and overrides."""
    document = {k: v for k, v in asdict(read_config()).items() if k != "root"}
    if json:
        return console.document(document)
    for section, content in document.items():
        for key, value in content.items():
            console.say(f"{section}.{key} = {_json.dumps(value)}")
