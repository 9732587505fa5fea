"""Proves that what is live is the artifact that its commit's build made."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ml_delivery import objects, source
from ml_delivery.artifact import provenance, store
from ml_delivery.errors import Refused
from ml_delivery.release import foreign, words
from ml_delivery.release import rebuild as rebuilding
from ml_delivery.release.probing import document
from ml_delivery.release.results import Link

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml_delivery.records import Artifact
    from ml_delivery.release.delivery import Delivery
    from ml_delivery.release.results import LinkKind

__all__ = ["verify"]


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

    live = delivery.deployer.live()
    if live is None:
        raise Refused("nothing is live", next=f"invoke deploy {where}")
    if (release := delivery.ledger.find(live.release)) is None:
        raise Refused("what is live was not deployed by this pipeline", next=f"invoke status {where}")
    recorded, number = release.artifact, release.number

    def hold(kind: LinkKind, digest: str, wanted: str, subject: str = "", restore: str = "") -> None:
        link = Link(kind, digest, subject, number)
        if digest != wanted:
            refusal = f"{words.link(link)}: {digest or 'nothing'} is not {wanted}"
            raise Refused(refusal, next=restore or f"invoke rollback {where}")
        links.append(link)
        report(link)

    hold("live", live.digest, recorded.digest, live.deployed)
    pushed = store.find(delivery, recorded.version)
    hold("pushed", recorded.digest, pushed.digest, recorded.version)
    # A build of what is checked out now is another artifact, which must be live before it can be verified.
    made = provenance.check(delivery, pushed, after=f" && invoke deploy {where}")
    hold("provenance", made.digest, recorded.digest, made.invocation)
    cloud, bucket = delivery.cloud, delivery.foundation.bucket
    bill = store.bill(cloud, bucket, pushed.version, made.sbom)
    # A rollback would not bring it back.
    restore = objects.remedy(cloud, bucket, store.bill_key(pushed.version, made.sbom))
    hold("bill of materials", bill, made.sbom, pushed.version, restore)
    hold("bytes", delivery.deployer.stored(pushed), pushed.digest, recorded.location)
    answer = delivery.deployer.call("/version")
    if answer.fault:
        fault = foreign.shown(delivery, answer.fault)
        raise Refused(f"what is live does not answer /version: {fault}", next=f"invoke logs {where}")
    says = document(answer.body)
    wanted: dict[LinkKind, str] = {"content": recorded.content}
    if "digest" in says:  # as the deploy set it; the target's own is what it is compared with
        wanted["digest"] = live.digest
    for kind, digest in wanted.items():
        answered = str(says.get(kind, ""))
        hold(kind, answered if foreign.NAME.fullmatch(answered) else foreign.shown(delivery, answered, 100), digest)
    if rebuild and recorded.dirty:
        raise Refused(
            f"release {release.number} was built from uncommitted changes, so it can't be rebuilt",
            next=f"git add --all && git commit, then invoke build --branch {branch} && invoke push {where} && "
            f"invoke deploy {where}",
        )
    if rebuild:
        built = recorded.digest if delivery.target.same_bytes else recorded.content
        hold("rebuild", _rebuilt(delivery, recorded), built, recorded.commit)
    return links


def _rebuilt(delivery: Delivery, recorded: Artifact) -> str:
    with tempfile.TemporaryDirectory() as folder:
        clone = source.clone(delivery.config.root, recorded.commit, Path(folder, "clone"))
        made = rebuilding.rebuild(delivery.config.root, clone, delivery.environment.branch)
        return made.digest if delivery.target.same_bytes else made.content
