"""The embedded AWS measures, computes, watches and searches as CloudWatch does; one contract test per gap of ministack."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError
from emulated import Function, client, code_of

from ml_delivery import emulator
from ml_delivery.waiting import wait

EMF = {
    "_aws": {
        "Timestamp": 0,
        "CloudWatchMetrics": [
            {
                "Namespace": "contract",
                "Dimensions": [["Function"], ["Function", "Model"]],
                "Metrics": [{"Name": "Latency", "Unit": "Milliseconds"}, {"Name": "Absent"}],
            }
        ],
    },
    "Function": "f",
    "Model": "m",
    "Latency": [1, 3],
}


def when(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)


def read(
    running: emulator.Running, *queries: dict[str, Any], seconds: int = 600, **options: Any
) -> dict[str, list[Any]]:
    answer = client(running, "cloudwatch").get_metric_data(
        MetricDataQueries=list(queries),
        StartTime=when(time.time() - seconds),
        EndTime=when(time.time() + 60),
        **options,
    )
    return {f"{found['Id']} {found['Label']}": found["Values"] for found in answer["MetricDataResults"]}


def metric(name: str, namespace: str, metric: str, statistic: str = "Sum", **dimensions: str) -> dict[str, Any]:
    listed = [{"Name": k, "Value": v} for k, v in dimensions.items()]
    what = {"Namespace": namespace, "MetricName": metric, "Dimensions": listed}
    return {"Id": name, "Label": name, "MetricStat": {"Metric": what, "Period": 3600, "Stat": statistic}}


def put(running: emulator.Running, namespace: str, metric: str, *values: float, ago: float = 0, **dims: str) -> None:
    data = {
        "MetricName": metric,
        "Dimensions": [{"Name": k, "Value": v} for k, v in dims.items()],
        "Timestamp": when(time.time() - ago),
        "Values": list(values),
    }
    client(running, "cloudwatch").put_metric_data(Namespace=namespace, MetricData=[data])


def emf(**changes: Any) -> str:
    event = {**EMF, "_aws": {**EMF["_aws"], "Timestamp": int(time.time() * 1000)}}  # type: ignore[dict-item]
    return json.dumps({**event, **changes})


def test_embedded_metrics_of_a_function(running: emulator.Running) -> None:
    """What a function prints in the embedded format is measured once per set of dimensions; the line stays in the log."""
    line = emf(Function="printed")
    Function(running, "printed", f"def handler(event, context):\n    print({line!r})\n").call()
    found = read(
        running,
        metric("a", "contract", "Latency", Function="printed"),
        metric("b", "contract", "Latency", "SampleCount", Function="printed", Model="m"),
        metric("c", "contract", "Absent", Function="printed"),
    )
    assert found == {"a a": [4.0], "b b": [2.0], "c c": []}
    events = client(running, "logs").filter_log_events(logGroupName="/aws/lambda/printed")["events"]
    assert line in [event["message"] for event in events]


@pytest.mark.parametrize(
    "line",
    [
        emf(Function=7),
        emf(Function="broken", Latency="fast"),
        emf(Function="broken", Latency=[1.0] * 101),
        emf(Function="broken")[:-1],
        emf(Function="broken").replace('"Namespace"', '"Space"'),
    ],
    ids=["dimension is no text", "value is no number", "over 100 values", "no JSON", "no namespace"],
)
def test_malformed_embedded_metrics_make_none(running: emulator.Running, line: str) -> None:
    """A line that breaks the format makes no metric, and no fault."""
    logs = client(running, "logs")
    group = f"/contract/{abs(hash(line))}"
    logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName="s")
    event = {"timestamp": int(time.time() * 1000), "message": line}
    logs.put_log_events(logGroupName=group, logStreamName="s", logEvents=[event])
    assert read(running, metric("a", "contract", "Latency", Function="broken")) == {"a a": []}


def test_metrics_with_other_dimensions_are_others(running: emulator.Running) -> None:
    """A query without dimensions means the metric that has none."""
    put(running, "dims", "Requests", 5, Function="f")
    assert read(running, metric("a", "dims", "Requests")) == {"a a": []}
    assert read(running, metric("a", "dims", "Requests", Function="f")) == {"a a": [5.0]}


def test_metrics_insights_add_up_what_matches(running: emulator.Running) -> None:
    """A query is one series of all metrics with its dimensions and values, whichever there are; what isn't emulated is refused."""
    for variant, endpoint in (("r1", "shop"), ("r2", "shop"), ("r1", "other")):
        put(running, "insights", "Calls", 2, 3, Endpoint=endpoint, Variant=variant)
    put(running, "insights", "Calls", 100, Endpoint="shop")
    begin = "SELECT SUM(Calls) FROM SCHEMA(\"insights\", Endpoint, Variant) WHERE Endpoint = 'shop'"

    def found(expression: str, **more: Any) -> list[float]:
        return next(iter(read(running, {"Id": "q", "Expression": expression, **more}).values()))

    assert sum(found(begin, Period=3600)) == 10
    assert sum(found(f"{begin} AND Variant != 'r1'", Period=3600)) == 5
    assert found(begin.replace("SUM", "MAX"), Period=86_400) == [3]
    assert found(begin.replace("shop", "none"), Period=3600) == []
    with pytest.raises(ClientError, match="not emulated, as a query of Metrics Insights"):
        found(f"{begin} GROUP BY Variant", Period=60)
    with pytest.raises(ClientError, match="needs a Period"):
        found(begin)


def test_expressions_are_computed(running: emulator.Running) -> None:
    """Arithmetic, FILL, IF, SUM and percentile ranks give what CloudWatch's documents say."""
    put(running, "math", "Requests", 1, 1, 1, 1)
    put(running, "math", "Errors", 1)
    put(running, "math", "Rank", 0.1, 0.2, 0.3, 0.9)
    requests, errors = metric("r", "math", "Requests"), metric("e", "math", "Errors")
    none = metric("n", "math", "Nothing")
    hidden = [{**query, "ReturnData": False} for query in (requests, errors, none)]
    found = read(
        running,
        *hidden,
        {"Id": "rate", "Expression": "100 * e / r"},
        {"Id": "filled", "Expression": "100 * FILL(n, 0) / r"},
        {"Id": "gone", "Expression": "n / r"},
        {"Id": "chosen", "Expression": "IF(r >= 4 && e < 1, 1, LOG(r))"},
        {"Id": "total", "Expression": "SUM([r, e, n])"},
        metric("low", "math", "Rank", "PR(:0.2)"),
        metric("high", "math", "Rank", "PR(0.2:)"),
        seconds=3600,
    )
    values = {name.split()[0]: values[:1] for name, values in found.items()}
    assert values["rate"] == [25.0]
    assert values["filled"] == [0.0]
    assert values["gone"] == []
    assert values["chosen"] == [pytest.approx(1.3863, abs=1e-4)]
    assert values["total"] == [5.0]
    assert (values["low"], values["high"]) == ([50.0], [50.0])


def test_search_finds_metrics_by_their_dimensions(running: emulator.Running) -> None:
    """A search gives one series for each metric with exactly the dimensions of its schema, newest value first."""
    for version, count in (("1", 7), ("2", 3)):
        put(running, "found", "Calls", count, Function="f", Version=version)
        put(running, "found", "Calls", 1, ago=300, Function="f", Version=version)
    put(running, "found", "Calls", 10, Function="f")
    search = "SEARCH('{found,Function,Version} Function=\"f\" MetricName=\"Calls\"', 'Sum', 60)"
    assert read(running, {"Id": "s", "Expression": search}) == {"s 1": [7.0, 1.0], "s 2": [3.0, 1.0]}
    oldest = read(running, {"Id": "s", "Expression": search}, ScanBy="TimestampAscending")
    assert oldest["s 1"] == [1.0, 7.0]


def test_wrong_expression_is_refused(running: emulator.Running) -> None:
    """An expression that makes no sense is a ValidationError, not an empty answer."""
    assert code_of(lambda: read(running, {"Id": "x", "Expression": "nothing * 2"})) == "ValidationError"


def alarm(running: emulator.Running, name: str, **changes: Any) -> Any:
    """Put an alarm on the sum of ``watched/Errors``; gives a function that tells its state."""
    settings = {
        "Namespace": "watched",
        "MetricName": "Errors",
        "Dimensions": [{"Name": "Function", "Value": name}],
        "Statistic": "Sum",
        "Period": 10,
        "EvaluationPeriods": 1,
        "Threshold": 2,
        "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": "notBreaching",
    }
    cloudwatch = client(running, "cloudwatch")
    cloudwatch.put_metric_alarm(AlarmName=name, **{**settings, **changes})
    return lambda: cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"][0]["StateValue"]


def test_alarm_watches_its_own_dimensions_and_clears_by_the_clock(running: emulator.Running) -> None:
    """Another function's errors don't fire it; its own do; it clears when they have grown old, without a call."""
    state = alarm(running, "own-dimensions")
    put(running, "watched", "Errors", 9, Function="another")
    assert state() == "OK"
    put(running, "watched", "Errors", 9, ago=5, Function="own-dimensions")
    assert state() == "ALARM"
    wait(lambda: state() == "OK" or None, what="the alarm to clear", seconds=40)


@pytest.mark.parametrize(
    ("treatment", "wanted"), [("breaching", "ALARM"), ("notBreaching", "OK"), ("missing", "INSUFFICIENT_DATA")]
)
def test_alarm_without_data(running: emulator.Running, treatment: str, wanted: str) -> None:
    """Periods without data count as TreatMissingData says."""
    assert alarm(running, f"missing-{treatment}", TreatMissingData=treatment)() == wanted


def test_alarm_needs_m_of_n_periods(running: emulator.Running) -> None:
    """One breaching period of three is not enough where two are needed."""
    state = alarm(running, "two-of-three", Period=60, EvaluationPeriods=3, DatapointsToAlarm=2)
    put(running, "watched", "Errors", 9, ago=30, Function="two-of-three")
    assert state() == "OK"
    put(running, "watched", "Errors", 9, ago=90, Function="two-of-three")
    assert state() == "ALARM"


@pytest.mark.parametrize(("allowed", "notified"), [("notified-", True), ("other-", False), ("", False)])
def test_alarm_notifies_topics_that_allow_it(running: emulator.Running, allowed: str, notified: bool) -> None:
    """A topic with a policy is notified only of alarms for which CloudWatch may publish to it."""
    name, sqs, sns = f"notified-{allowed or 'none'}", client(running, "sqs"), client(running, "sns")
    topic, queue = sns.create_topic(Name=name)["TopicArn"], sqs.create_queue(QueueName=name)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    may = {"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": arn}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [may]})
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy})
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "cloudwatch.amazonaws.com" if allowed else "s3.amazonaws.com"},
        "Action": "sns:Publish",
        "Resource": topic,
        "Condition": {"ArnLike": {"aws:SourceArn": f"arn:aws:cloudwatch:eu-west-1:123456789012:alarm:{allowed}*"}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    sns.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=policy)
    state = alarm(running, name, AlarmActions=[topic])
    put(running, "watched", "Errors", 9, ago=5, Function=name)
    assert state() == "ALARM"
    received = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=2).get("Messages", [])
    assert bool(received) == notified


LINES = [
    json.dumps({"level": "info", "path": "/a", "milliseconds": 5, "model": {"role": "primary"}}),
    json.dumps({"level": "info", "path": "/a", "milliseconds": 50, "model": {"role": "backup"}}),
    json.dumps({"level": "error", "path": "/b", "milliseconds": 500.5, "status": 500}),
    "REPORT RequestId: 1-2\tDuration: 12.5 ms\tBilled Duration: 13 ms\tInit Duration: 250.1 ms",
    "no JSON at all",
]


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("fields path, milliseconds | filter milliseconds > 10 | sort milliseconds desc | limit 1", [["/b", "500.5"]]),
        ("# why\nfields path\n| filter level = 'error' or model.role = \"backup\" | sort path asc", [["/a"], ["/b"]]),
        ("filter not ispresent(level) and @message like /(?i)json/ | fields @message", [["no JSON at all"]]),
        ("stats count(*) as n, max(milliseconds) by path | sort n desc | limit 1", [["/a", "2", "50"]]),
        ("filter ispresent(path) | stats pct(milliseconds, 50) as p50, avg(milliseconds)", [["50", "185.1667"]]),
        ('filter @type = "REPORT" | fields @requestId, @duration, @initDuration', [["1-2", "12.5", "250.1"]]),
        ("filter status in [404, 500] | fields status", [["500"]]),
    ],
)
def test_insights_queries(running: emulator.Running, query: str, wanted: list[list[str]]) -> None:
    """The members of JSON lines are fields; filters, statistics, orders and limits do what they say."""
    logs = client(running, "logs")
    group = f"/insights/{abs(hash(query))}"
    logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName="s")
    now = int(time.time() * 1000)
    events = [{"timestamp": now + i, "message": line} for i, line in enumerate(LINES)]
    logs.put_log_events(logGroupName=group, logStreamName="s", logEvents=events)
    started = logs.start_query(
        logGroupName=group, startTime=now // 1000 - 60, endTime=now // 1000 + 60, queryString=query
    )
    answer = logs.get_query_results(queryId=started["queryId"])
    assert [[cell["value"] for cell in row] for row in answer["results"]] == wanted


def test_malformed_insights_query_is_refused(running: emulator.Running) -> None:
    """A query that isn't one is refused when it is started."""
    logs = client(running, "logs")
    logs.create_log_group(logGroupName="/insights/malformed")
    with pytest.raises(ClientError, match="MalformedQueryException"):
        logs.start_query(logGroupName="/insights/malformed", startTime=0, endTime=1, queryString="fetch everything")


def test_events_are_filtered_by_streams_page_after_page(running: emulator.Running) -> None:
    """Of the streams whose name begins so, each event once and in order, also where a page ends within a millisecond."""
    logs, group, now = client(running, "logs"), "/contract/pages", int(time.time() * 1000)
    logs.create_log_group(logGroupName=group)
    for stream, ago in (("r1/a", 30), ("r1/b", 30), ("r10/a", 30), ("r2/a", 20)):
        logs.create_log_stream(logGroupName=group, logStreamName=stream)
        events = [{"timestamp": now - ago + i // 4, "message": f"{stream} {i}"} for i in range(12)]
        logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)

    def read(**options: Any) -> list[dict[str, Any]]:
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group, **options)
        return [event for page in pages for event in page["events"]]

    found = read(logStreamNamePrefix="r1/", PaginationConfig={"PageSize": 5})
    assert [event["timestamp"] for event in found] == sorted(event["timestamp"] for event in found)
    assert sorted(event["message"] for event in found) == sorted(f"r1/{x} {i}" for x in "ab" for i in range(12))
    assert len({event["eventId"] for event in found}) == 24
    assert len(read(PaginationConfig={"PageSize": 7})) == 48
    assert [event["message"] for event in read(logStreamNames=["r2/a"], filterPattern="11")] == ["r2/a 11"]
    assert len(read(startTime=now - 29, endTime=now - 28, PaginationConfig={"PageSize": 3})) == 3 * 2 * 4
    assert read(logStreamNamePrefix="r3") == []
    for wrong in ({"logStreamNames": ["r2/a"], "logStreamNamePrefix": "r"}, {"nextToken": "x"}):
        with pytest.raises(ClientError, match="InvalidParameterException"):
            logs.filter_log_events(logGroupName=group, **wrong)
