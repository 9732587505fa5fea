"""Tells the channels how a build, deploy or rollback ended, and GitHub's summary what came of it."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from ml_delivery.errors import PipelineError
from ml_delivery.tasks import console

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ml_delivery.artifact.codebuild import Done
    from ml_delivery.cloud import Cloud
    from ml_delivery.config import Config
    from ml_delivery.keys import Environment
    from ml_delivery.release.delivery import Delivery
    from ml_delivery.release.deploy import Outcome
    from ml_delivery.release.plan import Plan

T = TypeVar("T", "Outcome", "Outcome | Plan", "Outcome | None")

__all__ = ["telling", "telling_build", "telling_release"]


@contextmanager
def telling(what: str, config: Config, environment: Environment, cloud: Cloud) -> Iterator[Callable[..., None]]:
    """Tell how the block ends: that it failed, and why; or what it hands to the function that it is given.

    That takes ``result``, ``undo``, and the commits ``old`` and ``new``; a block that does not call it is not told of.
    """
    from ml_delivery import notify, source

    began = time.monotonic()
    facts: dict[str, str] = {}

    def tell(failed: str = "", result: str = "", old: str = "", new: str = "", undo: str = "") -> None:
        where = notify.link(config.github.repository, old, new)
        took = time.monotonic() - began
        message = notify.Message(what, failed, result, source.author(config.root), where, took, undo)
        console.summary(message.text(f"{config.service.name} in {environment.name}"))
        for problem in notify.send(config, environment, cloud, message):
            console.warn(problem)

    try:
        yield facts.update
    except (PipelineError, KeyboardInterrupt) as error:
        tell(failed=error.message if isinstance(error, PipelineError) else "interrupted")
        raise
    if facts:
        tell(**facts)


@contextmanager
def telling_build(config: Config, environment: Environment, cloud: Cloud) -> Iterator[Callable[[Done], Done]]:
    """``telling`` of a build on CodeBuild; its digest is for a workflow's next steps, too."""
    with telling("build", config, environment, cloud) as tell:

        def told(done: Done) -> Done:
            console.output(artifact_digest=done.exported.get("ARTIFACT_DIGEST", ""))
            tell(result=f"CodeBuild built and pushed {done.commit}", new=done.commit)
            return done

        yield told


@contextmanager
def telling_release(what: str, delivery: Delivery) -> Iterator[Callable[[T], T]]:
    """``telling`` of a deploy or rollback, with the command that takes it back. A deploy with nothing to do is not told."""
    with telling(what, delivery.config, delivery.environment, delivery.cloud) as tell:

        def told(done: T) -> T:
            if release := getattr(done, "release", None):
                weight = getattr(done, "weight", 100)
                waits = f"has {weight} % of the traffic and waits for --resume, as version {release.version}"
                how = f"is verified: version {release.version} serves" if weight == 100 else waits
                former = getattr(done, "former", 0)
                tell(
                    result=f"release {release.number} {how}",
                    new=release.artifact["commit"],
                    **(_before(former, delivery) if former else {}),
                )
            return done

        yield told


def _before(former: int, delivery: Delivery) -> dict[str, str]:
    """The commit of the release that served before, and the command that puts it back; empty when that can't be said."""
    try:
        commit = delivery.ledger.read(former).artifact["commit"]
    except PipelineError:  # what was done is done, and is told without this
        return {}
    where = f"--branch {delivery.environment.branch} --cloud {delivery.cloud.name}"
    return {"old": commit, "undo": f"invoke rollback --to {former} {where}"}
