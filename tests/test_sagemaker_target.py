"""The target sagemaker on the embedded AWS: built, pushed, deployed, called, refused, split, rolled back, pruned, removed."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import endpointed
import pytest
from tiny import Tiny

from ml_delivery import emulator
from ml_delivery.containers import engines
from ml_delivery.errors import Moved, PipelineError, Refused
from ml_delivery.records import Traffic
from ml_delivery.release import deploy
from ml_delivery.targets.sagemaker.deployer import SagemakerDeployer


@pytest.fixture(scope="module")
def based(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A container engine with a base image, and a place of its own for images where it needs no daemon."""
    folder = tmp_path_factory.mktemp("engine")
    (folder / "storage.conf").write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{folder}/graph"\nrunroot = "{folder}/run"\n'
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("CONTAINERS_STORAGE_CONF", str(folder / "storage.conf"))
        try:
            found = engines.find()
        except PipelineError as error:
            (pytest.fail if os.environ.get("CI") else pytest.skip)(f"an engine builds the image: {error}")
        endpointed.base(found, folder)
        yield


@pytest.fixture
def service(based: None, tiny: Tiny) -> Iterator[Tiny]:
    """A tiny service whose target is an endpoint; what it left running is ended."""
    endpointed.endpoint(tiny)
    yield tiny
    sagemaker(tiny).endpoint.delete()


def sagemaker(service: Tiny) -> SagemakerDeployer:
    found = service.open().deployer
    assert isinstance(found, SagemakerDeployer)
    return found


def ask(service: Tiny, path: str, deployed: str = "") -> Any:
    answer = sagemaker(service).call(path, deployed)
    assert (answer.status, answer.fault) == (200, ""), answer
    return json.loads(answer.body)


def variants(service: Tiny) -> dict[str, float]:
    """The endpoint's variants with their weights."""
    state = sagemaker(service).endpoint.read()
    return {one.name: one.weight for one in state.variants.values()} if state else {}


def canary(service: Tiny, *more: str) -> None:
    rules = ['strategy = "canary"', "pause = 3", "period = 1", "keep = 1", "keep_days = 0", *more]
    service.replace("pipeline.toml", "[promote]", "[deploy]\n" + "\n".join(rules) + "\n\n[promote]")


def test_from_build_to_removal(service: Tiny) -> None:
    """Every stage works as for a function: verified by digest, refused with the container's reason, split, rolled back."""
    service.invoke("build")
    assert service.invoke("push").startswith("pushed sha256:")
    assert "release 1 is verified: deployed version r1 serves production on embedded" in service.invoke("deploy")
    assert json.loads(service.invoke("call", "/version"))["note"] == "first"
    assert "starting" in service.invoke("logs")
    assert service.invoke("plan") == "production: nothing to do\n"
    assert "ml.t2.medium" in service.invoke("config")
    assert "✓" in service.invoke("verify")
    for broken in ("exits", "is another release"):
        says = endpointed.fault(service, broken)
        with pytest.raises(Refused) as refusal:
            service.deploy()
        assert says in str(refusal.value)
        assert "release 1 serves as before" in str(refusal.value)
        assert variants(service) == {"r1": 100.0}
        endpointed.repair(service, broken)
    canary(service)
    service.replace("pipeline.toml", 'LOG_LEVEL = "INFO"', 'LOG_LEVEL = "DEBUG"')
    service.commit("Canary")
    with users(service) as failed:
        outcome = service.deploy()
    assert not failed
    assert [step.name for step in outcome.steps if step.name.startswith("shift")] == ["shift 10 %", "shift"]
    assert outcome.release
    assert outcome.release.watched[-1].requests > 0
    assert ask(service, "/variables")["LOG_LEVEL"] == "DEBUG"
    assert variants(service) == {"r4": 100.0}  # what is not live costs nothing
    assert "release 1 is verified" in service.invoke("rollback")
    assert ask(service, "/variables")["LOG_LEVEL"] == "INFO"
    assert variants(service) == {"r1": 100.0}
    deployer = sagemaker(service)
    assert set(deployer.deployed()) == {"r1"}  # what was rolled back from is not kept
    listed = deployer.client.list_endpoint_configs(NameContains=deployer.names.endpoint)["EndpointConfigs"]
    assert len(listed) == 1
    printed = subprocess.run(
        service.command("bootstrap", "--destroy"),
        cwd=service.root,
        env=service.environment,
        input=f"{service.name}\n",
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert f"the endpoint {service.name}-production" in printed
    assert deployer.endpoint.read() is None
    assert not deployer.models.all()
    assert not deployer.client.list_endpoint_configs(NameContains=deployer.names.endpoint)["EndpointConfigs"]


@contextlib.contextmanager
def users(service: Tiny) -> Iterator[list[str]]:
    """Users call what is live all the time; what failed."""
    failed: list[str] = []
    done, deployer = threading.Event(), sagemaker(service)
    runtime = deployer.context.cloud.client("sagemaker-runtime")

    def call() -> None:
        while not done.wait(0.02):
            try:
                runtime.invoke_endpoint(
                    EndpointName=deployer.names.endpoint, Body=b"{}", CustomAttributes="GET /version"
                )
            except Exception as error:
                failed.append(str(error))

    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield failed
    finally:
        done.set()
        for thread in threads:
            thread.join()


def test_first_release_that_is_broken_leaves_nothing_running(service: Tiny) -> None:
    """It gets the container's last lines; the endpoint is removed, and the next release is deployed as if it were the first."""
    says = endpointed.fault(service, "exits")
    with pytest.raises(Refused) as refusal:
        service.deploy()
    assert says in str(refusal.value)
    assert sagemaker(service).endpoint.read() is None
    endpointed.repair(service, "second")
    says = endpointed.fault(service, "is another release")
    with pytest.raises(Refused) as refusal:
        service.deploy()
    assert says in str(refusal.value)
    assert sagemaker(service).endpoint.read() is None
    assert not sagemaker(service).deployed()
    endpointed.repair(service, "third")
    service.deploy()
    assert service.live() == 3


def test_container_that_is_never_healthy_is_refused(service: Tiny) -> None:
    """It has ``function.start`` seconds; then the endpoint is as before, and the reason is SageMaker's."""
    service.deploy()
    says = endpointed.fault(service, "is never healthy")
    with pytest.raises(Refused) as refusal:
        service.deploy()
    assert says in str(refusal.value)
    assert "within 60 seconds" in str(refusal.value)
    assert ask(service, "/version")["release"] == 1


def test_requests_reach_the_application_as_they_are_meant(service: Tiny) -> None:
    """Method, path, query, body and media type arrive; a status that is no 2xx is that status again."""
    service.deploy()
    deployer = sagemaker(service)
    sent = deployer.call(
        "/echo?a=ü&b=%20", method="PUT", body=b"<x/>", headers={"content-type": "application/xml", "accept": "*/*"}
    )
    found = json.loads(sent.body)
    assert found == {
        "REQUEST_METHOD": "PUT",
        "QUERY_STRING": "a=%C3%BC&b=%20",
        "CONTENT_TYPE": "application/xml",
        "body": "<x/>",
    }
    assert json.loads(deployer.call("/echo").body)["body"] == ""
    broken = deployer.call("/broken")
    assert (broken.status, broken.fault) == (500, "")
    with pytest.raises(PipelineError, match="SageMaker passes 1024 on"):
        deployer.call("/" + "x" * 1024)
    since = time.time() - 60
    numbers = deployer.numbers("r1", since)
    assert (numbers.failures, numbers.errors) == (1, 0)


def test_what_was_changed_by_hand_is_noticed(service: Tiny) -> None:
    """A split that this pipeline did not make stops a deploy; a stale or busy endpoint stops a shift; settings are drift."""
    service.deploy()
    deployer = sagemaker(service)
    seen = deployer.traffic()
    state = deployer.endpoint.read()
    assert seen is not None
    assert state is not None
    with pytest.raises(Moved, match="changed in the meantime"):
        deployer.shift(Traffic("r1"), Traffic("r1", {}, "stale"), "late")
    with pytest.raises(Moved, match="changed in the meantime"):
        deployer.shift(Traffic("r1"), None, "late")
    with pytest.raises(Moved, match="has no such variant"):
        deployer.shift(Traffic("r9"), seen, "late")
    foreign = {**deployer.endpoint.described(state.config)["r1"], "VariantName": "by-hand", "InitialVariantWeight": 0}
    config = deployer.endpoint.begin(state, ["r1"], [foreign])
    with pytest.raises(Moved):
        deployer.shift(Traffic("r1"), seen, "late")
    after = deployer.endpoint.settle()
    assert after is not None
    assert after.config == config
    endpointed.repair(service, "second")
    service.deploy()
    assert set(variants(service)) == {"r2", "by-hand"}  # what this pipeline did not stage it leaves alone
    deployer.endpoint.reweigh({"r2": 70, "by-hand": 30})
    deployer.endpoint.settle()
    endpointed.repair(service, "third")
    with pytest.raises(Refused, match="traffic is split, which this pipeline did not do"):
        service.deploy()


def test_endpoint_of_others_is_not_touched(service: Tiny) -> None:
    """One that bears the name, but was not deployed by this pipeline, stops the first deploy and stays."""
    service.deploy()
    deployer = sagemaker(service)
    state = deployer.endpoint.read()
    assert state is not None
    keys = list(state.tags)
    deployer.client.delete_tags(ResourceArn=state.arn, TagKeys=keys)
    endpointed.repair(service, "second")
    with pytest.raises(Refused, match="that was not deployed by this pipeline"):
        service.deploy()
    assert variants(service) == {"r1": 100.0}


def test_role_and_image_are_refused_with_their_reason(service: Tiny) -> None:
    """A role that SageMaker can't assume, one that may not pull, and an image that is gone stop a deploy before an endpoint is made."""
    service.push()
    opened = service.open()
    iam, name = opened.cloud.client("iam"), f"{service.name}-production"
    trust = iam.get_role(RoleName=f"{name}-service")["Role"]["AssumeRolePolicyDocument"]
    other = json.dumps(trust).replace("sagemaker.amazonaws.com", "lambda.amazonaws.com")
    iam.update_assume_role_policy(RoleName=f"{name}-service", PolicyDocument=other)
    with pytest.raises(Refused, match="Could not assume role"):
        service.deploy()
    iam.update_assume_role_policy(RoleName=f"{name}-service", PolicyDocument=json.dumps(trust))
    policy = iam.get_role_policy(RoleName=f"{name}-service", PolicyName="container")["PolicyDocument"]
    less = json.dumps(policy).replace("ecr:BatchGetImage", "ecr:DescribeImages")
    iam.put_role_policy(RoleName=f"{name}-service", PolicyName="container", PolicyDocument=less)
    with pytest.raises(Refused, match="does not have ecr:BatchGetImage"):
        service.deploy()
    iam.put_role_policy(RoleName=f"{name}-service", PolicyName="container", PolicyDocument=json.dumps(policy))
    assert sagemaker(service).endpoint.read() is None
    lost = [{"imageTag": service.git("rev-parse", "HEAD")}]
    opened.cloud.client("ecr").batch_delete_image(repositoryName=name, imageIds=lost)
    with pytest.raises(Refused, match="is missing, what was pushed"):
        deploy.deploy(service.open(), report=lambda step: None)
    service.deploy()
    assert service.live() > 0


def test_model_of_the_same_name_is_not_used(service: Tiny) -> None:
    """A model that bears a release's name with another content stops the deploy, and stays."""
    service.push()
    deployer = sagemaker(service)
    name = f"{service.name}-production"
    deployer.client.create_model(
        ModelName=f"{name}-r1",
        ExecutionRoleArn=deployer.context.output("ServiceRole"),
        PrimaryContainer={"Image": service.open().artifact().location, "Environment": {"RELEASE_NUMBER": "1"}},
    )
    with pytest.raises(Refused, match=f"there is a model {name}-r1 already"):
        service.deploy()
    assert deployer.endpoint.read() is None
    assert deployer.deployed() == {"r1": 1}
    assert deployer.models.read(f"{name}-r1") is not None


def test_standby_is_rolled_back_to_without_an_update(service: Tiny) -> None:
    """The previous release keeps its variant; the rollback only shifts weights, and older ones are dropped."""
    service.replace("pipeline.toml", "start = 60", "start = 60\nstandby = true")
    service.commit("Standby")
    service.deploy()
    endpointed.repair(service, "second")
    service.deploy()
    endpointed.repair(service, "third")
    service.deploy()
    assert variants(service) == {"r2": 0.0, "r3": 100.0}
    before = sagemaker(service).endpoint.read()
    assert before is not None
    names: list[str] = []
    opened = service.open()
    opened.cloud.client("sagemaker").meta.events.register(
        "before-call.sagemaker", lambda model, **_: names.append(model.name)
    )
    deploy.rollback(opened, 0, report=lambda step: None)
    shifted = names.index("UpdateEndpointWeightsAndCapacities")
    assert "UpdateEndpoint" not in names[:shifted]
    assert service.live() == 2


@pytest.fixture(autouse=True)
def _emulated(tiny: Tiny) -> None:
    """The emulator without an engine needs root."""
    if os.geteuid() != 0 and not os.environ.get("DOCKER_HOST"):
        pytest.skip("only root runs a container without an engine")
    emulator.up(tiny.root)


def test_folder_names_no_other_target() -> None:
    """A target is one folder: this one says nothing of Lambda or a cluster."""
    for path in (Path(__file__).parent.parent / "src/ml_delivery/targets/sagemaker").rglob("*"):
        if path.suffix in (".py", ".yaml"):
            text = path.read_text().lower().replace("lambda:", "").replace("lambda name", "")
            assert "lambda" not in text, path
            assert "kubernetes" not in text, path
