"""The health check: whether what answers is the expected release, and works."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from ml_delivery.errors import Refused
from ml_delivery.release.results import Asked, Probed

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml_delivery.records import Answer, Release
    from ml_delivery.release.delivery import Delivery

__all__ = ["document", "probe"]

# AWS is eventually consistent: it can take a moment, usually less than a second, until a new deployed version or a shift is
# visible everywhere.
SETTLE_SECONDS = 10.0
GONE_SECONDS = 2.0


def probe(
    delivery: Delivery,
    release: Release,
    deployed: str = "",
    previous: int = 0,
    alive: Callable[[], None] = lambda: None,
) -> Probed:
    """Check that a deployed version, or what is live, is ``release`` and works.

    Args:
        delivery: the environment.
        release: what should answer.
        deployed: the deployed version to check; empty means what is live.
        previous: the release that was live before, which may still answer for a while.
        alive: called before each request but the first; a request can take as long as the service's timeout.

    Raises:
        Refused: it raised an exception, timed out, answered with a status other than 200, or is not ``release``.
    """
    place = f"version {deployed}" if deployed else "live"
    asked: list[Asked] = []
    for path in ("/version", *delivery.environment.probe.paths):
        if asked:
            alive()
        answer = _ask(delivery, path, deployed, previous)
        logs = f"invoke logs --branch {delivery.environment.branch}{delivery.where}"
        if answer.fault:
            raise Refused(f"{place} does not answer {path}: {answer.fault}", next=logs)
        if answer.status != 200:
            raise Refused(f"{place} answers {path} with {answer.status}: {answer.body[:300]}", next=logs)
        if path == "/version":
            _same(place, answer.body, release, delivery)
        asked.append(Asked(path, answer.status, answer.seconds))
    return Probed(tuple(asked))


def document(body: str) -> dict[str, object]:
    """The document that /version answers with; empty when it is not a JSON object."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _ask(delivery: Delivery, path: str, deployed: str, previous: int) -> Answer:
    """The answer to a request, once what was just created or shifted is visible."""
    began = time.monotonic()
    while True:
        answer = delivery.deployer.call(path, deployed)
        passed = time.monotonic() - began
        late = (answer.gone and passed < GONE_SECONDS) or (answer.waking and passed < delivery.deployer.wakes_within)
        late = late or (bool(previous) and passed < SETTLE_SECONDS and document(answer.body).get("release") == previous)
        if not late:
            return answer
        time.sleep(0.1)


def _same(place: str, body: str, release: Release, delivery: Delivery) -> None:
    """Check that ``body``, the answer to /version, names exactly this release."""
    found = document(body)
    if not found:
        raise Refused(f"{place} answers /version with {body[:100]!r}, which is not a JSON object")
    branch = f"--branch {delivery.environment.branch}"
    where = f"{branch}{delivery.where}"
    wanted = {
        "release": release.number,
        "commit": release.artifact.commit,
        "model": release.artifact.model,
        "content": release.artifact.content,
    }
    for name, value in wanted.items():
        if value and name not in found:
            answer = 'what release.json contains, and "release": int(os.environ["RELEASE_NUMBER"])'
            raise Refused(f"{place} answers /version without {name!r}", next=f"let /version answer with {answer}")
        if found.get(name) != value and (value or found.get(name)):  # a service without a model may omit it
            raise Refused(
                f"{place} is another release: /version has {name} {found.get(name)!r}, release {release.number} has {value!r}",
                next=f"invoke build {branch} && invoke push {where} && invoke deploy {where}",
            )
