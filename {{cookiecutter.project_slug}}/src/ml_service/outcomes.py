"""What came of a request, reported to the service and written to its log, where ``invoke ab`` reads it.

Each answer names the release that gave it, in the header ``X-Release``. Who learns what came of it, such as a purchase, sends it
to ``POST /v1/outcomes``: ``{"request": "…", "release": 12, "revenue": 19.9}``, or a list of such objects. Nothing here stores more
than the log does. Whoever may send requests to the service may report outcomes, so they are only as true as its callers.
"""

from __future__ import annotations

import json
import re
from typing import Any

from ml_service import problems, telemetry

__all__ = ["HEADER", "LARGEST", "MOST", "PATH", "record"]

PATH = "/v1/outcomes"
HEADER = "X-Release"
MOST = 100  # outcomes of one request
LARGEST = 1e9  # a value above this is a mistake, and one alone would outweigh all others
LATEST = 1e11  # seconds since 1970; above that they are milliseconds
IDENTIFIER = re.compile(r"[\x21-\x7e]{1,200}")
METRIC = re.compile(r"[a-z][a-z0-9_]{0,63}")


def record(body: bytes | str, *names: str) -> tuple[dict[str, Any], int]:
    """Write the outcomes in ``body`` to the log, a line for each; all of them, or none if one can't be used.

    An outcome has ``request`` or ``user`` (or both), the ``release`` that answered, and one number at least by its name, such as
    ``revenue``: the net value so far, from 0 on. A later report of the same request replaces it. ``at``, in seconds since 1970, is
    when the request was answered; it may be missing.

    Args:
        body: the request's, JSON.
        names: the numbers that an outcome may have, the first of which it must have; without any, all names will do.

    Returns:
        The document to answer with, and its status: 202, or 400 with a problem document.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return _refused("the body must be JSON")
    outcomes = found if isinstance(found, list) else [found]
    if not 1 <= len(outcomes) <= MOST:
        return _refused(f"there must be 1 to {MOST} outcomes")
    for number, outcome in enumerate(outcomes):
        if problem := _problem(outcome, names):
            return _refused(f"outcome {number}: {problem}")
    for outcome in outcomes:
        print(telemetry.line("info", outcome=outcome), flush=True)
    return {"recorded": len(outcomes)}, 202


def _problem(outcome: Any, metrics: tuple[str, ...]) -> str:
    """What is wrong with an outcome; empty if nothing is."""
    if not isinstance(outcome, dict):
        return "it must be an object"
    rest = dict(outcome)
    names = [rest.pop(name) for name in ("request", "user") if name in rest]
    if not names or not all(isinstance(name, str) and IDENTIFIER.fullmatch(name) for name in names):
        return "request or user must be a string of 1 to 200 printable characters"
    release = rest.pop("release", None)
    if not isinstance(release, int | float) or isinstance(release, bool) or not 1 <= release == release // 1:
        return f"release must be the number in {HEADER}"
    if not _number(rest.pop("at", 0), LATEST):
        return "at must be seconds since 1970"
    if metrics and (metrics[0] not in rest or not set(rest) <= set(metrics)):
        return f"it must have {metrics[0]}, and of other numbers only {', '.join(metrics[1:]) or 'none'}"
    if not rest or len(rest) > 10:
        return "it must have 1 to 10 numbers, such as revenue"
    for name, value in rest.items():
        if not METRIC.fullmatch(name) or not _number(value):
            return f"{name[:64]} must be a number from 0 to {LARGEST:.0f}, with a name of lower-case letters"
    return ""


def _number(value: Any, most: float = LARGEST) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most


def _refused(detail: str) -> tuple[dict[str, Any], int]:
    return problems.document(400, detail), 400
