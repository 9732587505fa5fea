"""Actions on a service: ``invoke --list`` shows them, ``invoke --help TASK`` explains one.

This file holds words, order, printing and exit codes; what is done lies in ``pipeline/``. Nothing but the standard
library, invoke and the error tree is imported before a task runs, so that listing them is instant.
"""

from __future__ import annotations

import functools
import json as _json
import signal
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from invoke import Collection, Exit, task

from pipeline import console
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline.config import Config
    from pipeline.delivery import Delivery


def _interrupt_once(*_: Any) -> None:
    """Stop, and let nobody stop what is put right on the way out; not SIG_IGN, which Python reports when it races."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    raise KeyboardInterrupt


BRANCH = "the branch whose environment is meant; default: the one that is checked out"
CLOUD = "embedded or aws; default: $PIPELINE_CLOUD, else embedded"
JSON = "print one JSON document instead of text"


def action(**options: Any) -> Callable[[Callable[..., None]], Any]:
    """A task whose faults end as one message and an exit code, never as a traceback."""

    def decorate(function: Callable[..., None]) -> Any:
        @task(**options)
        @functools.wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> None:
            for number in (signal.SIGINT, signal.SIGTERM):  # CI cancels with the latter
                if signal.getsignal(number) is not signal.SIG_IGN:
                    signal.signal(number, _interrupt_once)
            try:
                function(*args, **kwargs)
            except PipelineError as error:
                raise Exit(f"✗ {error}", error.exit_code) from error
            except KeyboardInterrupt as error:
                raise Exit("✗ interrupted", 130) from error

        return guarded

    return decorate


# -- making


@action(help={"data": "a CSV of transactions; default: generated ones", "seed": "for data and models; default: 7"})
def train(_: Any, data: str = "", seed: int = 7) -> None:
    """Train and compare the models, and name the best two in model.lock."""
    from pipeline import training

    training.train(_config(), data=data, seed=seed)


@action(help={"json": JSON})
def build(_: Any, json: bool = False) -> None:
    """Build the artifact: build/artifact.zip, its manifest and its SBOM."""
    from pipeline import build as building

    began = time.perf_counter()
    manifest = building.build(_config())
    if json:
        return console.document(manifest)
    console.say(f"built {manifest.version} in {time.perf_counter() - began:.2f} s")
    console.say(
        f"  digest {manifest.digest}, {console.megabytes(manifest.size)} ({console.megabytes(manifest.unzipped)} unzipped)"
    )
    console.say(f"  model  {manifest.model}")
    if manifest.size > building.DIRECT_LIMIT:
        heaviest = ", ".join(f"{c.package} {console.megabytes(c.zipped)}" for c in manifest.contents[:5])
        console.warn(f"over 50 MB zipped: Lambda takes it through S3 only, as push does; most weigh {heaviest}")
    if manifest.dirty:
        console.say("  from changes that are not committed: only the embedded cloud takes it")


@action(help={"branch": BRANCH, "cloud": CLOUD, "json": JSON})
def push(_: Any, branch: str = "", cloud: str = "", json: bool = False) -> None:
    """Put the built artifact where the branch's environment finds it."""
    from pipeline import store

    config = _config()
    manifest = store.built(config, cloud)
    delivery = _open(branch, cloud, config=config, prepare=True)
    pushed = store.push(delivery.cloud, delivery.foundation.bucket, config.root / "build/artifact.zip", manifest)
    if json:
        return console.document(pushed)
    done = "pushed" if pushed.uploaded else "was there already:"
    console.say(f"{done} {pushed.artifact.digest} as s3://{delivery.foundation.bucket}/{pushed.artifact.key}")


# -- delivering


@action(help={"branch": BRANCH, "cloud": CLOUD, "json": JSON})
def plan(_: Any, branch: str = "", cloud: str = "", json: bool = False) -> None:
    """Show what a deploy would change; exit 0 for nothing, 2 for something."""
    from pipeline import plan as planning

    made = planning.make(_open(branch, cloud))
    if json:
        console.document(made)
    else:
        console.say(f"{made.environment}: nothing to do" if not made.changes else f"{made.environment}:")
        for change in made.changes:
            console.say(f"  {change.what} {change.name}: {change.old or 'none'} → {change.new or 'none'}")
        for name in made.foreign:
            console.say(f"  variable {name} is not ours; it stays")
    if made.changes:
        raise Exit(code=2)


@action(help={"branch": BRANCH, "cloud": CLOUD, "json": JSON})
def deploy(_: Any, branch: str = "", cloud: str = "", json: bool = False) -> None:
    """Release the branch's artifact; exit 0 means that it is verified, or that there was nothing to do."""
    from pipeline import deploy as deploying

    delivery = _open(branch, cloud, prepare=True)
    outcome = deploying.deploy(delivery, tell=console.quiet if json else console.step)
    if json:
        return console.document(outcome)
    if isinstance(outcome, deploying.Outcome):
        return console.outcome(outcome, delivery.cloud.name)
    console.say(
        f"nothing to do: release {outcome.live.release if outcome.live else 0} is live in {outcome.environment}"
    )


@action(help={"branch": BRANCH, "cloud": CLOUD, "to": "a release number; default: the last verified one", "json": JSON})
def rollback(_: Any, branch: str = "", cloud: str = "", to: int = 0, json: bool = False) -> None:
    """Put the last verified release back: code, configuration and model."""
    from pipeline import deploy as deploying

    delivery = _open(branch, cloud)
    outcome = deploying.rollback(delivery, to, tell=console.quiet if json else console.step)
    if json:
        return console.document(outcome)
    console.outcome(outcome, delivery.cloud.name)


@action(help={"branch": BRANCH, "cloud": CLOUD, "yes": "don't ask"})
def bootstrap(_: Any, branch: str = "", cloud: str = "", yes: bool = False) -> None:
    """Create or update what the environment stands on, after showing the change set."""
    from pipeline import infra
    from pipeline.cloud import Cloud
    from pipeline.delivery import checked_out

    config = _config()
    environment = config.environment(branch or checked_out(config))
    opened = Cloud.open(config, environment, cloud)
    planned = infra.plan(config, environment, opened)
    if not planned.changes:
        return console.say(f"{planned.stack}: nothing to do")
    for change in planned.changes:
        console.say(f"  {change.action} {change.type} {change.resource}{' (replaced!)' if change.replacement else ''}")
    if not (yes or opened.name == "embedded" or console.agrees(f"change {planned.stack} on {opened.name}?")):
        infra.discard(opened, planned)
        raise Exit("nothing was changed", 1)
    infra.apply(opened, planned)
    console.say(f"{planned.stack}: done")


# -- looking


@action(help={"path": "what to ask for: /version", "branch": BRANCH, "cloud": CLOUD}, positional=["path"])
def call(_: Any, path: str, branch: str = "", cloud: str = "") -> None:
    """Ask what is live for PATH and print the answer; exit 1 unless its status is below 400."""
    answer = _open(branch, cloud).target.call(path if path.startswith("/") else f"/{path}")
    print(answer.body)
    if answer.fault or answer.status >= 400:
        raise Exit(f"✗ {answer.fault or f'status {answer.status}'}", 1)


@action(help={"branch": BRANCH, "cloud": CLOUD, "json": JSON})
def status(_: Any, branch: str = "", cloud: str = "", json: bool = False) -> None:
    """Show what is live, and who is at work on it."""
    delivery = _open(branch, cloud)
    live, held = delivery.target.live(), delivery.ledger.holder()
    if json:
        return console.document({"live": live and asdict(live), "lock": held and held[0]})
    console.say(f"{delivery.environment.name} on {delivery.cloud.name}")
    if live is None:
        console.say("  nothing is live; next: invoke deploy")
    else:
        console.say(f"  release {live.release} serves as version {live.version}, code {live.code_sha256}")
    if held:
        console.say(f"  locked by {held[0]['who']} on {held[0]['host']} ({held[0]['reason']})")


@action(help={"branch": BRANCH, "cloud": CLOUD, "count": "how many; default: 10", "json": JSON})
def releases(_: Any, branch: str = "", cloud: str = "", count: int = 10, json: bool = False) -> None:
    """List the environment's releases, newest first."""
    found = _open(branch, cloud).ledger.latest(count)
    if json:
        return console.document(found)
    for release in found:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(release.at))
        version = release.artifact["version"]
        console.say(f"{release.number:>4}  {release.state:<11}  {when}  {version[:12]}  {release.who}")
        if release.cause:
            console.say(f"      {release.cause}")


@action(help={"branch": BRANCH, "cloud": CLOUD, "minutes": "how far back; default: 10"})
def logs(_: Any, branch: str = "", cloud: str = "", minutes: int = 10) -> None:
    """Print the function's log of the last minutes."""
    delivery = _open(branch, cloud)
    client = delivery.cloud.client("logs")
    since = int((time.time() - minutes * 60) * 1000)
    with delivery.cloud.faults():
        pages = client.get_paginator("filter_log_events").paginate(
            logGroupName=delivery.foundation.log_group, startTime=since
        )
        for page in pages:
            for event in page["events"]:
                print(event["message"].rstrip("\n"))


@action(help={"json": JSON})
def config(_: Any, json: bool = False) -> None:
    """Print pipeline.toml as it was read, defaults and overrides included."""
    document = {k: v for k, v in asdict(_config()).items() if k != "root"}
    if json:
        return console.document(document)
    for section, content in document.items():
        for key, value in content.items():
            console.say(f"{section}.{key} = {_json.dumps(value)}")


# -- the embedded cloud


@action(help={"port": "a port on loopback; default: the last one, or a free one"})
def up(_: Any, port: int = 0) -> None:
    """Start the embedded AWS; deploys do it by themselves."""
    from pipeline import embedded

    running = embedded.up(_root(), port=port)
    console.say(f"the embedded AWS answers at {running.endpoint} (pid {running.pid})")
    if running.notice:
        console.warn(running.notice)


@action()
def down(_: Any) -> None:
    """Stop the embedded AWS; what it holds is kept."""
    from pipeline import embedded

    console.say("the embedded AWS has stopped" if embedded.down(_root()) else "the embedded AWS was not running")


@action(name="status", help={"json": JSON})
def cloud_status(_: Any, json: bool = False) -> None:
    """Show whether the embedded AWS runs, and where."""
    from pipeline import embedded

    found = embedded.status(_root())
    if json:
        return console.document(found)
    console.say(str(found))


@action()
def reset(_: Any) -> None:
    """Stop the embedded AWS and forget all that it holds."""
    from pipeline import embedded

    embedded.reset(_root())
    console.say("the embedded AWS is empty")


cloud_tasks = Collection("cloud", up, down, cloud_status, reset)
namespace = Collection(
    train, build, push, plan, deploy, rollback, bootstrap, call, status, releases, logs, config, cloud_tasks
)


def _config() -> Config:
    from pipeline.config import load

    return load()


def _root() -> Path:
    from pipeline.config import find_root

    return find_root()


def _open(branch: str, cloud: str, *, config: Config | None = None, prepare: bool = False) -> Delivery:
    from pipeline.delivery import open_delivery

    delivery = open_delivery(config or _config(), branch, cloud, prepare=prepare)
    if delivery.cloud.notice:
        console.warn(delivery.cloud.notice)
    return delivery
