"""Whether a version is the release that it should be, and works."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from ml_delivery.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml_delivery.release.delivery import Delivery
    from ml_delivery.release.head import Release
    from ml_delivery.release.targets import Answer

__all__ = ["probe", "said"]

# A new version, or a shift, may be there and yet not everywhere: AWS's copies follow each other. Usually within a second.
SETTLE_SECONDS = 10.0
GONE_SECONDS = 2.0
# What Lambda has put to sleep was seen to take 40 to 106 s.
WAKING_SECONDS = 180.0


def probe(
    delivery: Delivery, release: Release, version: str = "", former: int = 0, alive: Callable[[], None] = lambda: None
) -> list[str]:
    """Ask ``version``, or what is live, whether it is ``release`` and works; what it answered, in words.

    Args:
        delivery: the environment.
        release: what should answer.
        version: whom to ask; empty means what is live.
        former: the release that was live before, which may answer a while longer.
        alive: called before each question but the first, which may take as long as the function's timeout.

    Raises:
        Refused: it raised, timed out, answered another status than 200, or is something else than ``release``.
    """
    place = f"version {version}" if version else "live"
    answers: list[str] = []
    for path in ("/version", *delivery.config.probe.paths):
        if answers:
            alive()
        answer = _ask(delivery, path, version, former)
        if answer.fault:
            raise Refused(f"{place} does not answer {path}: {answer.fault}", next=_logs(delivery))
        if answer.status != 200:
            raise Refused(f"{place} answers {path} with {answer.status}: {answer.body[:300]}", next=_logs(delivery))
        if path == "/version":
            _same(place, answer.body, release)
        answers.append(f"{path} {answer.status} in {answer.seconds * 1000:.0f} ms")
    return answers


def _ask(delivery: Delivery, path: str, version: str, former: int) -> Answer:
    """The answer, once what was just made or moved is to be seen."""
    began = time.monotonic()
    while True:
        answer = delivery.target.call(path, version)
        passed = time.monotonic() - began
        late = (answer.gone and passed < GONE_SECONDS) or (answer.waking and passed < WAKING_SECONDS)
        late = late or (bool(former) and passed < SETTLE_SECONDS and said(answer.body).get("release") == former)
        if not late:
            return answer
        time.sleep(0.1)


def _same(place: str, body: str, release: Release) -> None:
    """Whether ``body``, the answer to /version, names this very release."""
    told = said(body)
    if not told:
        raise Refused(f"{place} answers /version with {body[:100]!r}, which is no JSON object")
    wanted = {
        "release": release.number,
        "commit": release.artifact["commit"],
        "model": release.artifact["model"],
        "content": release.artifact["content"],
    }
    for name, value in wanted.items():
        if told.get(name) != value:
            raise Refused(
                f"{place} is another release: /version says {name} {told.get(name)!r}, "
                f"release {release.number} has {value!r}",
                next="invoke build && invoke push, then invoke deploy",
            )


def said(body: str) -> dict[str, object]:
    """What /version says; empty when that is no JSON object."""
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _logs(delivery: Delivery) -> str:
    return f"invoke logs --branch {delivery.environment.branch}"
