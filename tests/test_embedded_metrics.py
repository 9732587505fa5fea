"""What the embedded AWS counts of each call of a function, as AWS counts it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest
from emulated import Function, client, code_of, get_by_url

from ml_delivery import emulator

CODE = """
import time
def handler(event, context):
    if not isinstance(event, dict): raise ValueError(event)
    time.sleep(event.get("seconds", 0))
    return context.invoked_function_arn.split(":")[-1]
"""


def statistics(running: emulator.Running, metric: str, statistic: str, **dimensions: str) -> list[float]:
    """What GetMetricData answers for the last minutes."""
    asked = {
        "Id": "q",
        "MetricStat": {
            "Metric": {
                "Namespace": "AWS/Lambda",
                "MetricName": metric,
                "Dimensions": [{"Name": name, "Value": value} for name, value in dimensions.items()],
            },
            "Period": 3600,
            "Stat": statistic,
        },
    }
    now = time.time()
    begin, end = (datetime.fromtimestamp(at, UTC) for at in (now - 600, now + 60))
    answer = client(running, "cloudwatch").get_metric_data(MetricDataQueries=[asked], StartTime=begin, EndTime=end)
    values: list[float] = answer["MetricDataResults"][0]["Values"]
    return values


def published(running: emulator.Running, name: str, **settings: Any) -> Function:
    """A function with versions 1 and 2, and the alias ``live`` at version 1."""
    function = Function(running, name, CODE, **settings)
    function.aws.publish_version(FunctionName=name)
    function.aws.update_function_configuration(FunctionName=name, MemorySize=256)
    function.settle()
    function.aws.publish_version(FunctionName=name)
    function.aws.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    return function


def test_calls_are_counted_by_function_alias_and_version(running: emulator.Running) -> None:
    """A call counts under the function, under what was asked for, and by alias under the version that ran."""
    function = published(running, "counted")
    for event in ({}, {}, 1):
        function.call(event, Qualifier="live")
    function.call(2, Qualifier="2")
    function.call({})
    live = {"FunctionName": "counted", "Resource": "counted:live"}
    for dimensions, calls, errors in [
        ({"FunctionName": "counted"}, 5, 2),
        (live, 3, 1),
        ({**live, "ExecutedVersion": "1"}, 3, 1),
        ({"FunctionName": "counted", "Resource": "counted:2"}, 1, 1),
    ]:
        assert sum(statistics(running, "Invocations", "Sum", **dimensions)) == calls, dimensions
        assert sum(statistics(running, "Errors", "Sum", **dimensions)) == errors, dimensions
        assert sum(statistics(running, "Throttles", "Sum", **dimensions)) == 0, dimensions
    assert statistics(running, "Invocations", "Sum", **live, ExecutedVersion="2") == []


def test_durations_have_percentiles(running: emulator.Running) -> None:
    """Duration is in milliseconds, and its extended statistics tell the slow calls from the others."""
    function = published(running, "timed")
    for seconds in (0, 0, 0, 0.3):
        function.call({"seconds": seconds}, Qualifier="live")
    named = {"FunctionName": "timed", "Resource": "timed:live", "ExecutedVersion": "1"}
    assert max(statistics(running, "Duration", "p99", **named)) > 290
    assert max(statistics(running, "Duration", "p10", **named)) < 290
    begin = datetime.fromtimestamp(time.time() - 600, UTC)
    answer = client(running, "cloudwatch").get_metric_statistics(
        Namespace="AWS/Lambda",
        MetricName="Duration",
        Dimensions=[{"Name": name, "Value": value} for name, value in named.items()],
        StartTime=begin,
        EndTime=datetime.fromtimestamp(time.time() + 60, UTC),
        Period=3600,
        ExtendedStatistics=["p99"],
    )
    assert max(point["ExtendedStatistics"]["p99"] for point in answer["Datapoints"]) > 290


def test_calls_by_function_url_are_counted_and_see_the_alias(running: emulator.Running) -> None:
    """A call of a Function URL is a call like any other."""
    function = published(running, "byurl")
    made = function.aws.create_function_url_config(FunctionName="byurl", Qualifier="live", AuthType="AWS_IAM")
    assert get_by_url(running, made["FunctionUrl"]) == (200, b"live")
    named = {"FunctionName": "byurl", "Resource": "byurl:live", "ExecutedVersion": "1"}
    assert statistics(running, "Invocations", "Sum", **named) == [1]


def test_throttled_call_ran_no_version(running: emulator.Running) -> None:
    """A call beyond the reserved concurrency counts as throttled, not as a request."""
    function = published(running, "throttled")
    function.aws.put_function_concurrency(FunctionName="throttled", ReservedConcurrentExecutions=0)
    assert code_of(lambda: function.call({}, Qualifier="live")) == "TooManyRequestsException"
    named = {"FunctionName": "throttled", "Resource": "throttled:live"}
    assert statistics(running, "Throttles", "Sum", **named) == [1]
    assert statistics(running, "Invocations", "Sum", **named) == []


@pytest.mark.parametrize(
    "change", [{"FunctionVersion": "9"}, {"RoutingConfig": {"AdditionalVersionWeights": {"9": 0.1}}}]
)
def test_alias_of_a_version_that_is_not_there_is_refused(running: emulator.Running, change: dict[str, Any]) -> None:
    """An alias can't be moved to a version that was removed, whether with all or a part of the traffic."""
    name = f"missing-{len(change)}-{next(iter(change)).lower()}"
    function = published(running, name)
    assert code_of(lambda: function.aws.update_alias(FunctionName=name, Name="live", **change)) == (
        "ResourceNotFoundException"
    )
    assert function.aws.get_alias(FunctionName=name, Name="live")["FunctionVersion"] == "1"
