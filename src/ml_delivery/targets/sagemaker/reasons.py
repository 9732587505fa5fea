"""Why a variant does not start: SageMaker's reason, and what its containers logged last."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ml_delivery import waiting
from ml_delivery.cloud import code_of
from ml_delivery.errors import Unsettled
from ml_delivery.release import foreign

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ml_delivery.cloud import Cloud
    from ml_delivery.records import Context
    from ml_delivery.targets.sagemaker.names import Names

__all__ = ["LINES", "events", "explained"]

LINES, MOST = 10, 1000  # lines, and characters, of a variant's containers in the refusal
ARRIVE = 5  # seconds that a line may take until CloudWatch Logs shows it


def explained(context: Context, names: Names, variant: str, reason: str, since: float) -> str:
    """SageMaker's ``reason``, with the last lines of the variant's containers since ``since`` (seconds since 1970).

    Lines are waited for, some seconds, where the reason is that one should look into CloudWatch's logs.
    Of a traceback its last line is shown, and no line if the service's secrets can't be read, to be masked.
    """
    kept: list[str] = []
    with suppress(Unsettled):
        kept = waiting.wait(
            lambda: _lines(context.cloud, names.log_group, since, f"{variant}/") or None,
            what="the container's log",
            seconds=ARRIVE if "CloudWatch" in reason else 0,
        )
    found = f"; its last lines: {foreign.shown(context, ' | '.join(kept), MOST)}" if kept else ""
    return f"{reason or 'no reason given'}{found}"


def _lines(cloud: Cloud, group: str, since: float, streams: str) -> list[str]:
    try:
        return foreign.last((one["message"] for one in events(cloud, group, since, streams)), LINES)
    except Exception as error:  # botocore makes the classes of a client's errors when it makes the client
        if code_of(error) != "ResourceNotFoundException":
            raise
        return []


def events(cloud: Cloud, group: str, since: float, streams: str = "") -> Iterator[dict[str, Any]]:
    """The events of a log group since ``since`` (seconds since 1970), of streams whose name begins with ``streams``."""
    options = {"logStreamNamePrefix": streams} if streams else {}
    pages = cloud.client("logs").get_paginator("filter_log_events")
    for page in pages.paginate(logGroupName=group, startTime=int(since * 1000), **options):
        yield from page["events"]
