"""Shows that what is live is the artifact which its commit's build made."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ml_delivery import config, source
from ml_delivery.artifact import build, store
from ml_delivery.errors import Refused
from ml_delivery.release.probing import said

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml_delivery.release.delivery import Delivery

__all__ = ["Link", "verify"]


@dataclass(frozen=True)
class Link:
    """One link of the chain from the commit to what answers: what was compared, and what both sides are."""

    name: str
    digest: str


def verify(delivery: Delivery, *, rebuild: bool, tell: Callable[[Link], None]) -> list[Link]:
    """Follow the chain: live → ledger → what was pushed for the commit → its bytes → what answers; and a build anew.

    Args:
        delivery: the environment.
        rebuild: build the commit again in a clean clone, and compare the bytes.
        tell: called with each link that holds.

    Raises:
        Refused: nothing is live, or a link is broken; names it, and both sides.
    """
    links: list[Link] = []

    def hold(name: str, digest: str, wanted: str) -> None:
        if digest != wanted:
            raise Refused(f"{name}: {digest or 'nothing'} is not {wanted}", next="invoke releases, invoke rollback")
        links.append(Link(name, digest))
        tell(links[-1])

    live = delivery.target.live()
    release = delivery.ledger.find(live.release) if live else None
    if live is None or release is None:
        raise Refused("what is live is no release of ours", next="invoke status")
    recorded = store.Artifact(**release.artifact)
    hold(f"live version {live.version} is release {release.number}", live.code_sha256, recorded.code_sha256)
    pushed = store.find(delivery.cloud, delivery.foundation.bucket, recorded.version)
    hold(f"release {release.number} is what was pushed for {recorded.version}", recorded.digest, pushed.digest)
    place = "bucket" if pushed.key.endswith(".zip") else "registry"
    hold(f"its bytes in the {place}", delivery.target.stored(asdict(pushed)), pushed.digest)
    answer = delivery.target.call("/version")
    if answer.fault:
        raise Refused(f"what is live does not answer /version: {answer.fault}", next="invoke logs, invoke rollback")
    hold("what answers /version", str(said(answer.body).get("content", "")), recorded.content)
    if rebuild and recorded.dirty:
        raise Refused(
            f"release {release.number} was built from changes that no commit has, so nothing can be built anew",
            next="commit, then invoke build push deploy",
        )
    if rebuild:
        hold(f"a build of {recorded.commit} anew", _rebuilt(delivery, recorded.commit), _comparable(recorded))
    return links


def _comparable(artifact: store.Artifact) -> str:
    """What two builds share: a ZIP's bytes; an image's content, since the registry has the digest of its manifest."""
    return artifact.digest if artifact.key.endswith(".zip") else artifact.content


def _rebuilt(delivery: Delivery, commit: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        clone = source.clone(delivery.config.root, commit, Path(folder, "clone"))
        made = build.build(config.load(clone))
        return made.digest if (clone / "build/artifact.zip").exists() else made.content
