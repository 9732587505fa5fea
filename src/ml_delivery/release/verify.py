"""Proves that what is live is the artifact that its commit's build made."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ml_delivery import source
from ml_delivery.artifact import provenance, store
from ml_delivery.errors import Refused
from ml_delivery.release import foreign
from ml_delivery.release import rebuild as rebuilding
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
    """Follow the chain: live → ledger → what was pushed for the commit → its provenance → its bytes → what answers.

    Args:
        delivery: the environment.
        rebuild: also build the commit again in a clean clone, and compare.
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
    if live is None:
        raise Refused("nothing is live", next=f"invoke deploy {where}")
    if (release := delivery.ledger.find(live.release)) is None:
        raise Refused("what is live was not deployed by this pipeline", next=f"invoke status {where}")
    recorded = release.artifact
    hold(f"live version {live.deployed} is release {release.number}", live.digest, recorded.digest)
    pushed = store.find(delivery, recorded.version)
    hold(f"release {release.number} is what was pushed for {recorded.version}", recorded.digest, pushed.digest)
    made = provenance.check(delivery, pushed)
    hold(f"its provenance, by {made.invocation or 'a local build'}", made.digest, recorded.digest)
    hold(
        "its bill of materials",
        store.bill(delivery.cloud, delivery.foundation.bucket, pushed.version, made.sbom),
        made.sbom,
    )
    hold(f"its bytes in {recorded.location}", delivery.deployer.stored(pushed), pushed.digest)
    answer = delivery.deployer.call("/version")
    if answer.fault:
        fault = foreign.shown(delivery, answer.fault)
        raise Refused(f"what is live does not answer /version: {fault}", next=f"invoke logs {where}")
    says = document(answer.body)
    for name, of, wanted in (
        ("what answers /version", "content", recorded.content),
        # as the deploy set it; the target's own is what it is compared with
        *([("the digest that /version names", "digest", live.digest)] if "digest" in says else []),
    ):
        answered = str(says.get(of, ""))
        hold(name, answered if foreign.NAME.fullmatch(answered) else foreign.shown(delivery, answered, 100), wanted)
    if rebuild and recorded.dirty:
        raise Refused(
            f"release {release.number} was built from uncommitted changes, so it can't be rebuilt",
            next=f"git add --all && git commit, then invoke build --branch {branch} && invoke push {where} && "
            f"invoke deploy {where}",
        )
    if rebuild:
        wanted = recorded.digest if delivery.target.same_bytes else recorded.content
        hold(f"a rebuild of {recorded.commit}", _rebuilt(delivery, recorded), wanted)
    return links


def _rebuilt(delivery: Delivery, recorded: Artifact) -> str:
    with tempfile.TemporaryDirectory() as folder:
        clone = source.clone(delivery.config.root, recorded.commit, Path(folder, "clone"))
        made = rebuilding.rebuild(delivery.config.root, clone, delivery.environment.branch)
        return made.digest if delivery.target.same_bytes else made.content
