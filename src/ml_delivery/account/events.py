"""What happens to a stack's resources, as CloudFormation reports it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ml_delivery.cloud import code_of

__all__ = ["Event", "Events"]


@dataclass(frozen=True)
class Event:
    """What happened to one resource of a stack, as reported by CloudFormation; ``reason`` is usually empty."""

    resource: str
    status: str
    reason: str


class Events:
    """The events of ``stack`` from now on.

    Attributes:
        all: those that ``news`` returned, oldest first.
    """

    def __init__(self, client: Any, stack: str) -> None:
        self._client, self._stack = client, stack
        self._seen: set[str] = set()
        self.all: list[Event] = []
        self.news()
        self.all.clear()

    def first_failure(self) -> Event | None:
        """The first resource that failed; before any was touched, the first thing that CloudFormation's validation refused."""
        failed = [event for event in self.all if event.status.endswith("_FAILED")]
        if resources := [event for event in failed if event.resource != self._stack]:
            return resources[0]
        # https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/validate-stack-deployments.html
        listed = self._client.describe_events(StackName=self._stack, Filters={"FailedEvents": True})["OperationEvents"]
        for event in listed:
            if event.get("ValidationStatus") == "FAILED":
                return Event(event.get("LogicalResourceId", self._stack), "FAILED", event["ValidationStatusReason"])
        return failed[0] if failed else None

    def news(self) -> list[Event]:
        """The events since the last call, oldest first."""
        try:
            listed = self._client.describe_stack_events(StackName=self._stack)["StackEvents"]
        except Exception as error:
            if code_of(error) != "ValidationError":
                raise
            return []  # a deleted stack has none
        fresh = [e for e in reversed(listed) if e["EventId"] not in self._seen]
        self._seen.update(e["EventId"] for e in fresh)
        news = [Event(e["LogicalResourceId"], e["ResourceStatus"], e.get("ResourceStatusReason", "")) for e in fresh]
        self.all += news
        return news
