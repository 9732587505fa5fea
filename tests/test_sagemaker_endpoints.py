"""SageMaker's endpoints on the embedded AWS: serving containers, traffic by weight, updates that fail, and what is refused."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import Counter

import pytest
from botocore.exceptions import ClientError
from emulated import client, code_of
from sagemaker_serving import Place, archive, message_of

from ml_delivery import emulator
from ml_delivery.waiting import wait


@pytest.fixture(scope="module")
def place(running: emulator.Running) -> Place:
    return Place(running)


@pytest.fixture(scope="module")
def shared_endpoint(place: Place) -> str:
    """An endpoint with two variants at 3:1, the first with data from S3."""
    client(place.running, "s3").put_object(Bucket=place.bucket, Key="models/a.tar.gz", Body=archive(data="of a"))
    place.model("a", ModelDataUrl=f"s3://{place.bucket}/models/a.tar.gz")
    place.model("b")
    found = place.endpoint("shop", a=3, b=1)
    assert found["EndpointStatus"] == "InService", found.get("FailureReason")
    return "shop"


def test_container_serves_with_its_models_data(place: Place, shared_endpoint: str) -> None:
    """The answer is the container's own, which has the model's variables and the data from S3; attributes pass both ways."""
    found = place.ask(shared_endpoint, TargetVariant="a", CustomAttributes="GET /version")
    assert (found["name"], found["data"], found["variant"]) == ("a", "of a", "a")
    assert found["attributes"] == "GET /version"
    assert found["whole"]["CustomAttributes"] == "answered GET /version"
    assert found["whole"]["ContentType"] == "application/json"


@pytest.mark.skipif(bool(os.environ.get("DOCKER_HOST")), reason="an engine's container doesn't reach loopback")
def test_serving_container_reaches_the_emulator_and_its_own_port_only(place: Place, shared_endpoint: str) -> None:
    """Each container serves on port 8080 of a network of its own, from which it reaches the emulator at its address."""
    assert place.ask(shared_endpoint, "health", TargetVariant="b")["data"] == "200"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", 8080), 1)


def test_weights_split_the_traffic(place: Place, shared_endpoint: str) -> None:
    """Without a target, a variant's share is its weight of all weights: here three quarters."""
    found = Counter(place.ask(shared_endpoint)["name"] for _ in range(400))
    assert 255 <= found["a"] <= 345
    assert found["a"] + found["b"] == 400


def test_failed_container_is_a_model_error_with_the_original_status(place: Place, shared_endpoint: str) -> None:
    """A container's 4xx and 5xx become HTTP 424, which names the original status and its text."""
    for status in (400, 503):
        with pytest.raises(ClientError) as fault:
            place.ask(shared_endpoint, str(status), TargetVariant="a")
        answer = fault.value.response
        assert answer["Error"]["Code"] == "ModelError"
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 424
        assert answer["OriginalStatusCode"] == status
        assert '"name": "a"' in answer["OriginalMessage"]


def test_calls_are_measured_by_variant(place: Place, shared_endpoint: str) -> None:
    """Calls, errors and latency in microseconds are counted under the endpoint's and the variant's name."""
    place.ask(shared_endpoint, TargetVariant="b")
    code_of(lambda: place.ask(shared_endpoint, "500", TargetVariant="b"))

    def total(metric: str, statistic: str) -> float:
        points = client(place.running, "cloudwatch").get_metric_statistics(
            Namespace="AWS/SageMaker",
            MetricName=metric,
            Dimensions=[{"Name": "EndpointName", "Value": "shop"}, {"Name": "VariantName", "Value": "b"}],
            StartTime=time.time() - 3600,
            EndTime=time.time() + 60,
            Period=86400,
            Statistics=[statistic],
        )["Datapoints"]
        return max(point[statistic] for point in points)

    assert total("Invocations", "Sum") >= 2
    assert total("Invocation5XXErrors", "Sum") == total("InvocationModelErrors", "Sum") == 1
    assert 100 < total("ModelLatency", "Maximum") < 60e6


def test_request_that_is_too_large_or_names_another_variant_is_refused(place: Place, shared_endpoint: str) -> None:
    """6 MB are the limit of a request; a variant or an endpoint that doesn't exist is a ValidationError."""
    too_large = "x" * (6 * 1024 * 1024 + 1)
    for call in (
        lambda: place.ask(shared_endpoint, too_large),
        lambda: place.ask(shared_endpoint, TargetVariant="nothing"),
        lambda: place.ask("nowhere"),
        lambda: place.ask(shared_endpoint, CustomAttributes="x" * 1025),
    ):
        assert code_of(call) in ("ValidationError", "ParamValidationError")


def test_update_replaces_the_fleet_and_refuses_others_meanwhile(place: Place) -> None:
    """The old fleet answers until the new one is healthy; until then a second update, a shift and a deletion are refused."""
    place.model("old")
    place.model("new")
    place.endpoint("updated", old=1)
    place.config("updated-2", old=1, new=0)
    place.aws.update_endpoint(EndpointName="updated", EndpointConfigName="updated-2")
    refused = [
        lambda: place.aws.update_endpoint(EndpointName="updated", EndpointConfigName="updated-1"),
        lambda: place.aws.update_endpoint_weights_and_capacities(
            EndpointName="updated", DesiredWeightsAndCapacities=[{"VariantName": "old", "DesiredWeight": 2}]
        ),
        lambda: place.aws.delete_endpoint(EndpointName="updated"),
    ]
    assert place.aws.describe_endpoint(EndpointName="updated")["EndpointStatus"] == "Updating"
    assert place.ask("updated")["name"] == "old"
    for call in refused:
        assert "in-progress" in message_of(call)
    found = place.settled("updated")
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", "updated-2")
    assert {v["VariantName"]: v["CurrentWeight"] for v in found["ProductionVariants"]} == {"old": 1.0, "new": 0.0}
    assert place.ask("updated", TargetVariant="new")["name"] == "new"  # of weight 0
    assert {place.ask("updated")["name"] for _ in range(20)} == {"old"}
    weights = [{"VariantName": "old", "DesiredWeight": 0}, {"VariantName": "new", "DesiredWeight": 1}]
    place.aws.update_endpoint_weights_and_capacities(EndpointName="updated", DesiredWeightsAndCapacities=weights)
    place.settled("updated")
    assert {place.ask("updated")["name"] for _ in range(20)} == {"new"}
    for retained, weight in ((True, 0.0), (False, 1.0)):
        place.config(f"updated-{retained}", old=1, new=1)
        place.aws.update_endpoint(
            EndpointName="updated", EndpointConfigName=f"updated-{retained}", RetainAllVariantProperties=retained
        )
        found = place.settled("updated")
        assert {v["VariantName"]: v["CurrentWeight"] for v in found["ProductionVariants"]}["old"] == weight
    place.aws.delete_endpoint(EndpointName="updated")
    wait(lambda: "updated" not in str(place.aws.list_endpoints()["Endpoints"]) or None, what="the deletion")
    assert code_of(lambda: place.ask("updated")) == "ValidationError"


def test_update_to_a_fleet_that_is_not_healthy_ends_on_the_old_one(place: Place) -> None:
    """The endpoint is InService on its old configuration, says why, and no request fails meanwhile."""
    place.model("sound")
    place.model("broken", Environment={"NAME": "broken", "BROKEN": "exits"})
    place.endpoint("guarded", sound=1)
    place.config("guarded-2", sound=1, broken=0)
    place.aws.update_endpoint(EndpointName="guarded", EndpointConfigName="guarded-2")
    while place.aws.describe_endpoint(EndpointName="guarded")["EndpointStatus"] == "Updating":
        assert place.ask("guarded")["name"] == "sound"
    found = place.settled("guarded")
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", "guarded-1")
    assert "broken did not pass the ping health check" in found["FailureReason"]
    assert place.ask("guarded")["name"] == "sound"
    place.aws.delete_endpoint(EndpointName="guarded")


def test_container_that_never_answers_its_ping_fails_the_endpoint(place: Place) -> None:
    """A container has as long as its variant says, at least a minute, until GET /ping answers 200."""
    place.model("sick", Environment={"BROKEN": "unhealthy"})
    variant = {"VariantName": "sick", "ModelName": "sick", "InitialInstanceCount": 1, "InstanceType": "ml.t2.medium"}
    variant["ContainerStartupHealthCheckTimeoutInSeconds"] = 60
    place.aws.create_endpoint_config(EndpointConfigName="sick", ProductionVariants=[variant])
    place.aws.create_endpoint(EndpointName="sick", EndpointConfigName="sick")
    assert place.aws.describe_endpoint(EndpointName="sick")["EndpointStatus"] == "Creating"
    found = place.settled("sick")
    assert found["EndpointStatus"] == "Failed"
    assert "within 60 seconds" in found["FailureReason"]
    assert code_of(lambda: place.ask("sick")) == "ValidationError"


def test_instance_that_ends_is_started_again(place: Place, shared_endpoint: str) -> None:
    """A container that exits during a request fails that request only; a new one takes its place."""
    before = place.ask(shared_endpoint, TargetVariant="b")["pid"]
    assert before
    assert code_of(lambda: place.ask(shared_endpoint, "exit", TargetVariant="b")) == "ModelError"

    def again() -> bool | None:
        try:
            return place.ask(shared_endpoint, TargetVariant="b")["name"] == "b" or None
        except ClientError:
            return None

    wait(again, what="the instance", seconds=40)


def test_no_request_fails_while_fleets_are_replaced(place: Place) -> None:
    """Clients that ask all the time get an answer to each request, through two updates and a shift; old containers finish."""
    place.model("steady")
    place.endpoint("busy", steady=1)
    place.config("busy-2", steady=1)
    failed, asked, done = [], Counter[str](), threading.Event()

    def ask() -> None:
        while not done.is_set():
            try:
                asked[place.ask("busy", "wait")["name"]] += 1
            except ClientError as error:
                failed.append(error)

    def answered() -> None:
        """Wait for eight more answers: on a slow machine a fleet may be replaced between two of them."""
        before = asked.total()
        wait(lambda: asked.total() >= before + 8 or failed or None, what="answers")

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for each in clients:
        each.start()
    for config in ("busy-2", "busy-1"):
        answered()
        place.aws.update_endpoint(EndpointName="busy", EndpointConfigName=config)
        assert place.settled("busy")["EndpointConfigName"] == config
    answered()
    done.set()
    for each in clients:
        each.join()
    assert not failed
    assert asked["steady"] > 20
    place.aws.delete_endpoint(EndpointName="busy")
