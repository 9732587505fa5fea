"""Notifies the channels of how a build, deploy, rollback or retirement ended, and adds the same to GitHub's job summary."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ml_delivery.errors import PipelineError
from ml_delivery.tasks import console

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ml_delivery.artifact.codebuild import Done
    from ml_delivery.cloud import Cloud
    from ml_delivery.config import Config
    from ml_delivery.keys import Environment
    from ml_delivery.release.delivery import Delivery
    from ml_delivery.release.results import Outcome

__all__ = ["reporting", "reporting_build", "reporting_release"]


@contextmanager
def reporting(what: str, config: Config, environment: Environment, cloud: Cloud) -> Iterator[Callable[..., None]]:
    """Report how the block ends: why it failed, or the facts that it passes to the function that it is given.

    That function accepts ``result``, ``undo``, the commits ``old`` and ``new``, and ``details``, which are reported with a failure,
    too; a block that succeeds without a ``result`` is not reported.
    """
    from ml_delivery import notify, source

    began = time.monotonic()
    facts: dict[str, str] = {}

    def report(
        failed: str = "", result: str = "", old: str = "", new: str = "", undo: str = "", details: str = ""
    ) -> None:
        where = notify.link(config.github.repository, old, new)
        took = time.monotonic() - began
        message = notify.Message(what, failed, result, source.author(config.root), where, took, undo, details)
        console.summary(message.text(f"{config.service.name} in {environment.name}"))
        for problem in notify.send(config, environment, cloud, message):
            console.warn(problem)

    try:
        yield facts.update
    except (PipelineError, KeyboardInterrupt) as error:
        failed = error.message if isinstance(error, PipelineError) else "interrupted"
        report(failed=facts.pop("failed", "") or failed, details=facts.get("details", ""))
        raise
    if "result" in facts:
        report(**facts)


@contextmanager
def reporting_build(config: Config, environment: Environment, cloud: Cloud) -> Iterator[Callable[[Done], Done]]:
    """``reporting`` of a build on CodeBuild, which also makes its digest an output for a workflow's next steps."""
    with reporting("build", config, environment, cloud) as report:

        def reported(done: Done) -> Done:
            console.output(artifact_digest=done.exported.get("ARTIFACT_DIGEST", ""))
            report(result=f"CodeBuild built and pushed {done.commit}", new=done.commit)
            return done

        yield reported


@contextmanager
def reporting_release(what: str, delivery: Delivery) -> Iterator[Callable[[Outcome], Outcome]]:
    """``reporting`` of a deploy or rollback, with the command that undoes it. A deploy with nothing to do is not reported."""
    with reporting(what, delivery.config, delivery.environment, delivery.cloud) as report:

        def reported(done: Outcome) -> Outcome:
            if release := done.release:
                if done.weight == 100:
                    how = f"is verified: deployed version {release.deployed} serves"
                else:
                    how = f"has {done.weight} % of the traffic as deployed version {release.deployed}, "
                    how += "paused until --resume" if done.due else "in an A/B"
                report(
                    result=f"release {release.number} {how}",
                    new=release.artifact.commit,
                    **(_before(done.previous, delivery) if done.previous else {}),
                )
            return done

        yield reported


def _before(previous: int, delivery: Delivery) -> dict[str, str]:
    """The commit of the previous release, and the command that rolls back to it; empty when it can't be read."""
    try:
        commit = delivery.ledger.read(previous).artifact.commit
    except PipelineError:  # the deploy itself is done, and is reported without this
        return {}
    where = f"--branch {delivery.environment.branch} --cloud {delivery.cloud.name}"
    return {"old": commit, "undo": f"invoke rollback --to {previous} {where}"}
