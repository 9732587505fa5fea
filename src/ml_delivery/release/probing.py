"""The health check: whether what answers is the expected release, and works."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from ml_delivery.errors import Refused
from ml_delivery.keys import Request
from ml_delivery.release import foreign
from ml_delivery.release.results import Asked, Probed

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml_delivery.records import Answer, Release
    from ml_delivery.release.delivery import Delivery

__all__ = ["differences", "document", "probe", "send"]

# AWS is eventually consistent: it can take a moment, usually less than a second, until a new deployed version or a shift is
# visible everywhere.
SETTLE_SECONDS = 10.0
GONE_SECONDS = 2.0
MOST_DIFFERENCES = 5


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
        Refused: it raised an exception, timed out, answered with another status or body than expected, or is not ``release``.
    """
    asked: list[Asked] = []
    for path in ("/version", *delivery.environment.probe.paths):
        if asked:
            alive()
        answer = _answer(delivery, Request(path), deployed, previous)
        if path == "/version":
            _same(delivery, _place(deployed), answer.body, release)
        asked.append(Asked(path, answer.status, answer.seconds))
    return Probed(tuple(asked))


def send(delivery: Delivery, deployed: str, alive: Callable[[], None]) -> tuple[Asked, ...]:
    """Send the requests of ``[probe]`` to a deployed version, and compare the answers.

    They are not sent to what is live: just after a shift, the previous version could still answer one of them.

    Raises:
        Refused: an answer differs from what was expected; says how.
    """
    asked = []
    for request in delivery.environment.probe.requests:
        alive()
        answer = _answer(delivery, request, deployed)
        if request.expect is not None and (found := differences(request.expect, _parsed(answer.body))):
            said = foreign.shown(delivery, "; ".join(found[:MOST_DIFFERENCES]))
            raise Refused(
                f"{_place(deployed)} answers {request.method} {request.path} with {said}",
                next=_logs(delivery),
            )
        asked.append(Asked(request.path, answer.status, answer.seconds, request.method))
    return tuple(asked)


def differences(expected: Any, found: Any, place: str = "") -> list[str]:
    """How ``found`` differs from ``expected``, both as JSON values: a line for each member.

    Members that only ``found`` has don't count; lists must have the same length.
    """
    if isinstance(expected, dict) and isinstance(found, dict):
        return [
            line
            for name, value in expected.items()
            for line in (
                differences(value, found[name], f"{place}.{name}".lstrip("."))
                if name in found
                else [f"no {place}.{name}".replace(" .", " ")]
            )
        ]
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        pairs = enumerate(zip(expected, found, strict=True))
        return [line for i, (one, other) in pairs for line in differences(one, other, f"{place}[{i}]")]
    if expected == found and isinstance(expected, bool) == isinstance(found, bool):
        return []
    shown = [text if len(text) <= 100 else f"{text[:100]}…" for text in map(json.dumps, (found, expected))]
    return [f"{place or 'a body'} = {shown[0]}, not {shown[1]}"]


def _answer(delivery: Delivery, request: Request, deployed: str, previous: int = 0) -> Answer:
    """The answer to a request.

    Raises:
        Refused: it has another status than expected, or is none.
    """
    place, what = _place(deployed), request.path if request.method == "GET" else f"{request.method} {request.path}"
    answer = _ask(delivery, request, deployed, previous)
    if answer.fault:
        raise Refused(f"{place} does not answer {what}: {foreign.shown(delivery, answer.fault)}", next=_logs(delivery))
    if answer.status != request.status:
        raise Refused(
            f"{place} answers {what} with {answer.status}: {foreign.shown(delivery, answer.body)}", next=_logs(delivery)
        )
    return answer


def _place(deployed: str) -> str:
    return f"deployed version {deployed}" if deployed else "live"


def _logs(delivery: Delivery) -> str:
    return f"invoke logs --branch {delivery.environment.branch}{delivery.where}"


def _parsed(body: str) -> Any:
    """The JSON value in ``body``; ``body`` itself if it is not JSON."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return body


def document(body: str) -> dict[str, object]:
    """The document that /version answers with; empty when it is not a JSON object."""
    found = _parsed(body)
    return found if isinstance(found, dict) else {}


def _ask(delivery: Delivery, request: Request, deployed: str, previous: int) -> Answer:
    """What is answered, once what was just created or shifted is visible."""
    began, body = time.monotonic(), request.content(delivery.config.root)
    while True:
        answer = delivery.deployer.call(request.path, deployed, method=request.method, body=body.encode())
        passed = time.monotonic() - began
        late = (answer.gone and passed < GONE_SECONDS) or (answer.waking and passed < delivery.deployer.wakes_within)
        late = late or (bool(previous) and passed < SETTLE_SECONDS and document(answer.body).get("release") == previous)
        if not late:
            return answer
        time.sleep(0.1)


def _same(delivery: Delivery, place: str, body: str, release: Release) -> None:
    """Check that ``body``, the answer to /version, names exactly this release."""
    found = document(body)
    if not found:
        said = foreign.shown(delivery, body, 100)
        raise Refused(f"{place} answers /version with {said!r}, which is not a JSON object")
    wanted = {
        "release": release.number,
        "commit": release.artifact.commit,
        "model": release.artifact.model,
        "content": release.artifact.content,
    }
    fix = 'let /version answer with what release.json contains, and "release": int(os.environ["RELEASE_NUMBER"])'
    for name, value in wanted.items():
        if value and name not in found:
            raise Refused(f"{place} answers /version without {name!r}", next=fix)
        if found.get(name) != value and (value or found.get(name)):  # a service without a model may omit it
            said = foreign.named(delivery, found.get(name))
            raise Refused(
                f"{place} is another release: /version has {name} {said}, release {release.number} has {value!r}",
                next=fix,
            )
