"""What SageMaker keeps: a table of records for each kind of resource, by account and region.

A record holds what the resource's Describe operation answers, and members of this emulator's own, which begin with ``_``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from ministack.core.responses import AccountRegionScopedDict, get_account_id, get_region, request_scope

from embedded_aws.sagemaker import shapes
from embedded_aws.sagemaker.refusal import Refusal

KINDS = (
    "models",
    "configs",
    "endpoints",
    "training",
    "processing",
    "tuning",
    "transform",
    "pipelines",
    "executions",
    "groups",
    "packages",
    "tags",
)
# Records are changed by requests and by the threads of jobs and endpoints; hold it to read and then change one.
lock = threading.RLock()
_tables: dict[str, Any] = {kind: AccountRegionScopedDict() for kind in KINDS}

Record = dict[str, Any]


def table(kind: str) -> Any:
    """The records of one kind, by name, of the request's account and region."""
    return _tables[kind]


def arn(resource: str, name: str) -> str:
    """The ARN of a resource; SageMaker's ARNs are in lower case."""
    return f"arn:aws:sagemaker:{get_region()}:{get_account_id()}:{resource}/{name.lower()}"


def everywhere(kind: str) -> Iterator[tuple[str, str, Record]]:
    """All records of a kind, with their account and region."""
    for (account, region, _), record in list(_tables[kind]._data.items()):
        yield account, region, record


def state() -> dict[str, Any]:
    """All that is kept, for ministack to save."""
    return dict(_tables)


def restore(saved: dict[str, Any]) -> None:
    """Take back what was saved."""
    for kind in KINDS:
        if kind in saved:
            _tables[kind]._data.update(saved[kind]._data)


def now() -> float:
    """Seconds since 1970, to the millisecond, as SageMaker reports times."""
    return round(time.time(), 3)


def listed(
    operation: str, member: str, records: list[Record], request: Record, *, name: str, status: str = ""
) -> dict[str, Any]:
    """A page of summaries: filtered, sorted and cut as the request asks.

    Args:
        operation: whose answer it is, in the list ``member``.
        name: the member of a record that holds its name.
        status: the member that holds its status, if it has one.
    """
    kept: list[Record] = [r for r in records if request.get("NameContains", "").lower() in str(r.get(name, "")).lower()]
    if status and (wanted := request.get("StatusEquals")):
        kept = [r for r in kept if r[status] == wanted]
    for bound, field, holds in BOUNDS:
        if (limit := request.get(bound)) is not None:
            kept = [r for r in kept if holds(float(r.get(field, 0)), float(limit))]
    by_name = request.get("SortBy") == "Name"
    kept.sort(key=lambda r: str(r.get(name)) if by_name else r["CreationTime"])
    if request.get("SortOrder", "Descending") == "Descending":
        kept.reverse()
    return page(operation, member, kept, request)


def page(operation: str, member: str, records: list[Record], request: Record, most: int = 10) -> dict[str, Any]:
    """The page of summaries that the request asks for, in the order of ``records``; ``most`` if it names no number.

    Raises:
        Refusal: no answer has given that token.
    """
    size = int(request.get("MaxResults") or most)
    try:
        start = int(request.get("NextToken") or 0)
    except ValueError:
        raise Refusal("Invalid pagination token") from None
    answer: dict[str, Any] = {member: [shapes.summary(operation, member, r) for r in records[start : start + size]]}
    return answer | ({"NextToken": str(start + size)} if len(records) > start + size else {})


def abandon(kind: str, status: str, running: tuple[str, ...], *times: str) -> None:
    """Fail what ran when the emulator ended: what is ``running`` by the member ``status``; its ``times`` are now."""
    for _, _, record in everywhere(kind):
        if record[status] in running:
            reason = "InternalServerError: the embedded AWS ended while it ran"
            record |= {status: "Failed", "FailureReason": reason, **dict.fromkeys(times, now())}
            if "SecondaryStatus" in record:  # of a training
                record["SecondaryStatus"] = "Failed"


BOUNDS: tuple[tuple[str, str, Callable[[float, float], bool]], ...] = (
    ("CreationTimeAfter", "CreationTime", lambda at, limit: at > limit),
    ("CreationTimeBefore", "CreationTime", lambda at, limit: at < limit),
    ("LastModifiedTimeAfter", "LastModifiedTime", lambda at, limit: at > limit),
    ("LastModifiedTimeBefore", "LastModifiedTime", lambda at, limit: at < limit),
)

__all__ = [
    "KINDS",
    "Record",
    "arn",
    "everywhere",
    "listed",
    "lock",
    "now",
    "request_scope",
    "restore",
    "state",
    "table",
]
