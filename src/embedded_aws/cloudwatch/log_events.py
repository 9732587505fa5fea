"""FilterLogEvents: streams by the beginning of their name, page after page.

https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html
ministack takes every stream where only a prefix is given, answers one page, and gives events no id.
"""

from __future__ import annotations

import heapq
import zlib
from bisect import bisect_left, bisect_right
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST = 10_000  # events of a page


def patch() -> None:
    """Answer FilterLogEvents here."""
    from ministack.services import cloudwatch_logs as logs

    def refuse(kind: str, message: str) -> Any:
        return logs.error_response_json(kind, message, 400)

    def filter_log_events(data: dict[str, Any]) -> Any:
        group = logs._resolve_log_group_name(data)
        names, prefix = data.get("logStreamNames"), data.get("logStreamNamePrefix", "")
        if group not in logs._log_groups:
            return refuse("ResourceNotFoundException", f"The specified log group does not exist: {group}")
        if names and prefix:
            return refuse("InvalidParameterException", "logStreamNames and logStreamNamePrefix can't be used together")
        streams = logs._log_groups[group]["streams"]
        # Where a page begins: a millisecond, and how many events of it earlier pages had.
        token = data.get("nextToken", f"{data.get('startTime', 0)}:0").split(":")
        if len(token) != 2 or not all(part.isdecimal() for part in token):
            return refuse("InvalidParameterException", "The specified nextToken is invalid.")
        begin, passed = (int(part) for part in token)
        with logs._log_events_lock:
            ranges = [
                list(_between(name, stream["events"], begin, data.get("endTime")))
                for name, stream in streams.items()
                if (not names or name in names) and name.startswith(prefix)
            ]
        wanted, limit = logs._compile_filter_pattern(data.get("filterPattern", "")), min(data.get("limit", MOST), MOST)
        events: list[dict[str, Any]] = []
        at, same = begin, passed
        for moment, _, name, index, event in islice(heapq.merge(*ranges, key=itemgetter(0, 1, 2, 3)), passed, None):
            if len(events) == limit:
                return logs.json_response({"events": events, "searchedLogStreams": [], "nextToken": f"{at}:{same}"})
            at, same = moment, same + 1 if moment == at else 1
            if wanted(event.get("message", "")):
                known = f"{moment:020d}{zlib.crc32(name.encode()):018d}{index:018d}"
                events.append({**event, "logStreamName": name, "eventId": known})
        return logs.json_response({"events": events, "searchedLogStreams": []})

    logs._filter_log_events = filter_log_events


def _between(name: str, events: list[dict[str, Any]], begin: int, end: int | None) -> Iterator[tuple[Any, ...]]:
    """The events of a stream from ``begin`` to ``end``, each after what it is ordered by."""
    by = itemgetter("timestamp")
    last = len(events) if end is None else bisect_right(events, end, key=by)
    for index in range(bisect_left(events, begin, key=by), last):
        event = events[index]
        yield event["timestamp"], event.get("ingestionTime", 0), name, index, event
