"""Proves that what is live is the artifact that its commit's build made."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ml_delivery import config, source
from ml_delivery.artifact import build, store
from ml_delivery.errors import Refused
from ml_delivery.release.probing import document

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml_delivery.records import Artifact
    from ml_delivery.release.delivery import Delivery

__all__ = ["Link", "verify"]


@dataclass(frozen=True)
class Link:
    """One link of the chain from the commit to what answers: a description, and the digest that both sides have."""

    name: str
    digest: str


def verify(delivery: Delivery, *, rebuild: bool, report: Callable[[Link], None]) -> list[Link]:
    """Follow the chain: live → ledger → what was pushed for the commit → its bytes → what answers; optionally a rebuild.

    Args:
        delivery: the environment.
        rebuild: build the commit again in a clean clone, and compare.
        report: called with each link that holds.

    Raises:
        Refused: nothing is live, or a link is broken; names it, and both sides.
    """
    links: list[Link] = []
    branch = delivery.environment.branch
    where = f"--branch {branch}{delivery.where}"

    def hold(name: str, digest: str, wanted: str) -> None:
        if digest != wanted:
            raise Refused(f"{name}: {digest or 'nothing'} is not {wanted}", next=f"invoke rollback {where}")
        links.append(Link(name, digest))
        report(links[-1])

    live = delivery.deployer.live()
    release = delivery.ledger.find(live.release) if live else None
    if live is None or release is None:
        raise Refused("what is live was not deployed by this pipeline", next=f"invoke status {where}")
    recorded = release.artifact
    hold(f"live version {live.deployed} is release {release.number}", live.digest, recorded.digest)
    pushed = store.find(delivery, recorded.version)
    hold(f"release {release.number} is what was pushed for {recorded.version}", recorded.digest, pushed.digest)
    hold(f"its bytes in {recorded.location}", delivery.deployer.stored(pushed), pushed.digest)
    answer = delivery.deployer.call("/version")
    if answer.fault:
        raise Refused(f"what is live does not answer /version: {answer.fault}", next=f"invoke logs {where}")
    says = document(answer.body)
    hold("what answers /version", str(says.get("content", "")), recorded.content)
    if "digest" in says:  # as the deploy set it; the target's own is what it is compared with
        hold("the digest that /version names", str(says["digest"]), live.digest)
    if rebuild and recorded.dirty:
        raise Refused(
            f"release {release.number} was built from uncommitted changes, so it can't be rebuilt",
            next=f"commit, then invoke build --branch {branch} && invoke push {where} && invoke deploy {where}",
        )
    if rebuild:
        wanted = recorded.digest if delivery.target.same_bytes else recorded.content
        hold(f"a rebuild of {recorded.commit}", _rebuilt(delivery, recorded), wanted)
    return links


def _rebuilt(delivery: Delivery, recorded: Artifact) -> str:
    with tempfile.TemporaryDirectory() as folder:
        clone = source.clone(delivery.config.root, recorded.commit, Path(folder, "clone"))
        made = build.build(config.load(clone), delivery.environment.branch)
        return made.digest if delivery.target.same_bytes else made.content
