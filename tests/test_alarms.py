"""Every alarm fires when the service is broken in its way, notifies through the topic, and clears when that is fixed."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from watched import Listener, Watched, quick, repeat

from ml_delivery.errors import CloudError
from ml_delivery.monitoring.definition import observed
from ml_delivery.observed import Place
from ml_delivery.release import watch


@pytest.fixture
def listener() -> Iterator[Listener]:
    found = Listener()
    yield found
    found.close()


def test_every_alarm_fires_once_and_clears(tmp_path: Path, shared: Path, listener: Listener) -> None:
    """Broken in six ways, an alarm for each is read at an HTTP endpoint, with what to type; fixed, each clears."""
    service = Watched(tmp_path / "service", shared, "alarmed")
    delivery = service.stand(quick)
    call, function = delivery.deployer.call, "alarmed-production"
    alarms = observed(Place(delivery.config, delivery.environment, delivery.cloud.account)).alarms
    listener.subscribe(delivery, f"arn:aws:sns:eu-west-1:{delivery.cloud.account}:{function}")
    cloudwatch, aws = delivery.cloud.client("cloudwatch"), delivery.cloud.client("lambda")
    wanted = {f"{function}-{alarm.id}" for alarm in alarms}

    def firing() -> set[str]:
        found = cloudwatch.describe_alarms(AlarmNamePrefix=f"{function}-")["MetricAlarms"]
        assert {alarm["AlarmName"] for alarm in found} == wanted
        return {alarm["AlarmName"].removeprefix(f"{function}-") for alarm in found if alarm["StateValue"] == "ALARM"}

    def good() -> None:
        for path in ["/healthz", "/v1/predict"] * 5:
            call(path)
        time.sleep(0.5)

    def bad() -> None:
        for path in ("/raises", "/fails", "/slow", "/slow", "/v1/backup", "/v1/drifted"):
            call(path)

    assert repeat(good, lambda: not firing(), 60), firing()
    listener.messages.clear()
    broken = {"errors", "slow", "backup", "drift"}
    assert repeat(bad, lambda: firing() >= broken, 120), firing()
    rules = dataclasses.replace(
        delivery.environment.deploy, alarms=("alarmed-{environment}-errors", "alarmed-{environment}-quiet")
    )
    watching = dataclasses.replace(delivery, environment=dataclasses.replace(delivery.environment, deploy=rules))
    seen = watch.look(watching, "1", 10, time.time() + 60)  # since then nothing was seen but the alarm
    assert (seen.alarms, seen.breach) == (
        ("alarmed-production-errors",),
        "the alarm alarmed-production-errors is in alarm",
    )
    aws.put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=0)
    with pytest.raises(CloudError, match="TooManyRequests"):
        call("/healthz")
    aws.delete_function_concurrency(FunctionName=function)
    broken.add("throttled")
    assert repeat(bad, lambda: firing() >= broken, 30), firing()
    assert repeat(lambda: time.sleep(0.5), lambda: "quiet" in firing(), 60), firing()
    assert repeat(good, lambda: not firing(), 120), firing()
    for alarm in alarms:
        name = f"{function}-{alarm.id}"

        def states(name: str = name) -> list[str]:
            return [
                m["NewStateValue"] for m in listener.messages if m["AlarmName"] == name and m["NewStateValue"] != "?"
            ]

        assert repeat(lambda: time.sleep(0.1), lambda: states()[-1:] == ["OK"], 20), (name, states())
        assert states() == ["ALARM", "OK"], name
        (message,) = [m for m in listener.messages if m["AlarmName"] == name and m["NewStateValue"] == "ALARM"]
        assert message["subject"].startswith(f'ALARM: "{name}" in eu-west-1')
        assert f"{alarm.means} Next: invoke " in message["AlarmDescription"]
        assert "--branch main" in message["AlarmDescription"]
