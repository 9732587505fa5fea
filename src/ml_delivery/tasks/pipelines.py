"""The tasks that run prepare, train, evaluate and register as one pipeline, and that answer the lines of a file."""

from __future__ import annotations

from typing import Any

from ml_delivery.tasks import console, jobs
from ml_delivery.tasks.base import BRANCH, CLOUD, action, open_environment

__all__ = ["batch", "pipeline"]


@action(
    positional=["file"],
    help={
        "file": "each line is a request to /invocations",
        "content_type": "of a request",
        "several": "a request has as many lines as there is room for",
        "branch": BRANCH,
        "cloud": CLOUD,
    },
)
def batch(
    _: Any,
    file: str,
    content_type: str = "application/json",
    several: bool = False,
    branch: str = "",
    cloud: str = "",
) -> None:
    """Answer the lines of a file by a job with the live release's model; the answers go to FILE.out."""
    from pathlib import Path

    from ml_delivery.errors import ModelError
    from ml_delivery.jobs import batch as answering

    delivery = open_environment(branch, cloud)
    live = delivery.deployer.live()
    if live is None:
        typed = f"invoke deploy --branch {delivery.environment.branch}{delivery.where}"
        raise ModelError("nothing is live, so that nothing can answer", next=typed)
    wanted = answering.plan(delivery, live.deployed, Path(file), content_type, several=several)
    console.say(
        f"answers {console.counted(wanted.lines, 'line')} with {wanted.model}, {jobs.most(wanted.cost)}; Ctrl-C stops it"
    )
    with console.foreign() as line:
        done = answering.run(delivery, wanted, lambda text: line(f"  {text}"))
    console.say(f"{done.job}: {console.counted(done.lines, 'line')} in {done.file}, {jobs.money(done.cost)}")


@action(
    help={
        "render": "print the definition as JSON, with everything uploaded that it names, and run nothing",
        "run": "create or update the pipeline, run it, and follow it; Ctrl-C stops it",
        "tune": "let the training begin with the best values of a tuning, as in [tune]",
        "instances": "how many hosts share the parts of the training",
        "branch": BRANCH,
        "cloud": CLOUD,
    }
)
def pipeline(
    _: Any,
    render: bool = False,
    run: bool = False,
    tune: bool = False,
    instances: int = 1,
    branch: str = "",
    cloud: str = "",
) -> None:
    """Prepare, train, evaluate, and register what passes the gate, as a pipeline of jobs: --render prints it, --run runs it."""
    from ml_delivery.errors import ConfigError
    from ml_delivery.jobs import pipeline as running
    from ml_delivery.jobs import rendering
    from ml_delivery.tasks.reporting import reporting

    if render == run:
        raise ConfigError("--render, --run", ["write one of the two"])
    delivery = open_environment(branch, cloud, prepare=True)
    wanted = rendering.render(delivery, instances, tune=tune)
    if render:
        return console.document(wanted.document)
    console.say(f"runs {wanted.name}, {jobs.most(wanted.cost)}; Ctrl-C stops it")
    with reporting("pipeline", delivery.config, delivery.environment, delivery.cloud) as report:
        try:
            with console.foreign() as line:
                done = running.run(delivery, wanted, lambda text: line(f"  {text}"))
        except running.GateRefused as refused:
            report(details="\n".join(refused.printed))
            raise
        report(result=f"{done.model} passed the gate, and waits for approval as {done.package}")
    if done.dataset:
        console.say(f"dataset {done.dataset}")
    console.say(f"model package {done.package}: {done.model[:19]}… waits for approval; {jobs.money(done.cost)}")
    typed = f"invoke register --branch {delivery.environment.branch}{delivery.where}"
    console.say(f"wrote {', '.join(done.files)}\n  next: commit them, then {typed}, which approves the package")
