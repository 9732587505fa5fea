"""The target sagemaker on the embedded AWS: built, pushed, deployed, called, refused, split, rolled back, pruned, removed."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import endpointed
import pytest
from endpointing import ask, based, root, sagemaker, service, users, variants
from tiny import Tiny

from ml_delivery.errors import Moved, PipelineError, Refused
from ml_delivery.observed import Place
from ml_delivery.records import Traffic
from ml_delivery.release import deploy
from ml_delivery.targets.sagemaker import observing
from ml_delivery.targets.sagemaker.endpoint import Busy

__all__ = ["based", "root", "service"]  # fixtures


def test_from_build_to_removal(service: Tiny) -> None:
    """Every stage works as for a function: verified by digest, refused with its reason, split, rolled back, pruned, removed."""
    _broken_first_release_leaves_nothing(service)
    endpointed.repair(service, "first")
    service.invoke("build")
    assert service.invoke("push").startswith("pushed sha256:")
    assert "release 2 is verified: deployed version r2 serves production on embedded" in service.invoke("deploy")
    assert json.loads(service.invoke("call", "/version"))["note"] == "first"
    assert "starting" in [line.text for line in sagemaker(service).logs(0)]
    assert service.invoke("plan") == "production: nothing to do\n"
    assert "about 40.32 USD a month" in service.invoke("plan", "--requests-per-second", "1")
    assert "✓" in service.invoke("verify")
    _requests_arrive_as_they_are_meant(service)
    _role_and_image_are_refused(service)
    says = endpointed.fault(service, "is another release")
    with pytest.raises(Refused) as refusal:
        service.deploy()
    assert says in str(refusal.value)
    assert "release 2 serves as before" in str(refusal.value)
    assert variants(service) == {"r2": 100.0}
    _canary(service)
    assert "release 2 is verified" in service.invoke("rollback")
    assert ask(service, "/variables")["LOG_LEVEL"] == "INFO"
    assert variants(service) == {"r2": 100.0}
    deployer = sagemaker(service)
    assert set(deployer.deployed()) == {"r2"}  # what was rolled back from is not kept
    _lost_tags_are_named(service)
    listed = deployer.client.list_endpoint_configs(NameContains=deployer.names.endpoint)["EndpointConfigs"]
    assert len(listed) == 1
    _changes_by_hand_are_noticed(service)
    _removed(service)


def _broken_first_release_leaves_nothing(service: Tiny) -> None:
    """It gets the container's last lines; there is no endpoint then, nor a model."""
    says = endpointed.fault(service, "exits")
    with pytest.raises(Refused) as refusal:
        service.deploy()
    assert says in str(refusal.value)
    assert "nothing serves" in str(refusal.value)
    assert sagemaker(service).endpoint.read() is None
    assert not sagemaker(service).deployed()


def _requests_arrive_as_they_are_meant(service: Tiny) -> None:
    """Method, path, query, body and media type; a status that is no 2xx is that status again, and is counted."""
    deployer = sagemaker(service)
    kind = {"content-type": "application/xml", "accept": "*/*"}
    sent = deployer.call("/echo?a=ü&b=%20", method="PUT", body=b"<x/>", headers=kind)
    assert json.loads(sent.body) == {
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
    numbers = deployer.numbers("r2", time.time() - 60)
    assert (numbers.failures, numbers.errors) == (1, 0)
    assert deployer.call("/version", "r9").gone
    assert _shown(service)["failures-by-version"] == {"r2": 1}
    assert 0 < _shown(service)["latency-by-version"]["r2"] < 60_000


def _shown(service: Tiny) -> dict[str, dict[str, float]]:
    """What the panels show of each variant."""
    opened, now = service.open(), time.time()
    found = observing.observe(Place(opened.config, opened.environment, opened.cloud.account))
    shown: dict[str, dict[str, float]] = {}
    for panel in found.panels:
        (query,) = panel.queries
        asked = {"Id": query.id, "Label": query.label, "Expression": query.expression.replace("{period}", "86400")}
        answer = opened.cloud.client("cloudwatch").get_metric_data(
            MetricDataQueries=[asked], StartTime=now - 3600, EndTime=now + 60
        )
        shown[panel.id] = {one["Label"]: max(one["Values"]) for one in answer["MetricDataResults"] if one["Values"]}
    return shown


def _role_and_image_are_refused(service: Tiny) -> None:
    """A role that can't be assumed, one that may not pull, an image that is gone, another model of the name: each is named."""
    endpointed.repair(service, "refused")
    service.push()
    opened = service.open()
    iam, name = opened.cloud.client("iam"), f"{service.name}-production"
    role = f"{name}-service"
    trust = iam.get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]
    whole = iam.get_role_policy(RoleName=role, PolicyName="container")["PolicyDocument"]
    other = json.dumps(trust).replace("sagemaker.amazonaws.com", "lambda.amazonaws.com")
    less = json.dumps(whole).replace("ecr:BatchGetImage", "ecr:DescribeImages")
    iam.update_assume_role_policy(RoleName=role, PolicyDocument=other)
    with pytest.raises(Refused, match="Could not assume role"):
        deploy.deploy(service.open(), report=lambda step: None)
    iam.update_assume_role_policy(RoleName=role, PolicyDocument=json.dumps(trust))
    iam.put_role_policy(RoleName=role, PolicyName="container", PolicyDocument=less)
    with pytest.raises(Refused, match="does not have ecr:BatchGetImage"):
        deploy.deploy(service.open(), report=lambda step: None)
    iam.put_role_policy(RoleName=role, PolicyName="container", PolicyDocument=json.dumps(whole))
    container = {"Image": opened.artifact().location, "Environment": {"RELEASE_NUMBER": "5"}}
    arn = opened.deployer.context.output("ServiceRole")  # type: ignore[attr-defined]
    aws = opened.cloud.client("sagemaker")
    aws.create_model(ModelName=f"{name}-r5", ExecutionRoleArn=arn, PrimaryContainer=container)
    with pytest.raises(Refused, match=f"there is a model {name}-r5 already"):
        deploy.deploy(service.open(), report=lambda step: None)
    assert "r5" in sagemaker(service).deployed()  # of another tool, and so not pruned
    aws.delete_model(ModelName=f"{name}-r5")
    lost = [{"imageTag": service.git("rev-parse", "HEAD")}]
    opened.cloud.client("ecr").batch_delete_image(repositoryName=name, imageIds=lost)
    with pytest.raises(Refused, match="is missing, what was pushed"):
        deploy.deploy(service.open(), report=lambda step: None)
    assert variants(service) == {"r2": 100.0}


def _canary(service: Tiny) -> None:
    """Users notice nothing while a release is staged, gets a part of the traffic, then all, and the previous one is removed."""
    endpointed.repair(service, "canary")
    rules = 'strategy = "canary"\npause = 3\nperiod = 1\nkeep = 1\nkeep_days = 0\n'
    service.replace("pipeline.toml", "[promote]", f"[deploy]\n{rules}\n[promote]")
    service.replace("pipeline.toml", 'LOG_LEVEL = "INFO"', 'LOG_LEVEL = "DEBUG"')
    service.commit("Canary")
    with users(service) as failed:
        outcome = service.deploy()
    assert not failed
    assert [step.weight for step in outcome.steps if step.name == "shift"] == [10, 100]
    assert outcome.release
    assert outcome.release.watched[-1].requests > 0
    assert ask(service, "/variables")["LOG_LEVEL"] == "DEBUG"
    assert variants(service) == {f"r{outcome.release.number}": 100.0}  # what is not live costs nothing


def _changes_by_hand_are_noticed(service: Tiny) -> None:
    """A stale, busy or missing split stops a shift, one that this pipeline did not make a deploy, and so does another owner."""
    deployer = sagemaker(service)
    seen, state = deployer.traffic(), deployer.endpoint.read()
    assert seen is not None
    assert state is not None
    with pytest.raises(Moved, match="changed in the meantime"):
        deployer.shift(Traffic("r2"), Traffic("r2", {}, "stale"), "late")
    with pytest.raises(Moved, match="changed in the meantime"):
        deployer.shift(Traffic("r2"), None, "late")
    with pytest.raises(Moved, match="has no such variant"):
        deployer.shift(Traffic("r9"), seen, "late")
    foreign = {**deployer.endpoint.described(state.config)["r2"], "VariantName": "by-hand", "InitialVariantWeight": 0}
    config = deployer.endpoint.begin(state, ["r2"], [foreign])
    with pytest.raises(Busy):
        deployer.endpoint.reweigh({"r2": 1})
    with pytest.raises(Moved):
        deployer.shift(Traffic("r2"), seen, "late")
    after = deployer.endpoint.settle()
    assert after is not None
    assert after.config == config
    deployer.variants.trim(after)
    assert set(variants(service)) == {"r2", "by-hand"}  # what this pipeline did not stage it leaves alone
    deployer.endpoint.reweigh({"r2": 70, "by-hand": 30})
    deployer.endpoint.settle()
    with pytest.raises(Refused, match="traffic is split, which this pipeline did not do"):
        service.deploy()
    deployer.endpoint.reweigh({"r2": 100, "by-hand": 0})
    deployer.endpoint.settle()
    deployer.client.delete_tags(ResourceArn=state.arn, TagKeys=list(state.tags))
    with pytest.raises(Refused, match="that was not deployed by this pipeline"):
        service.deploy()
    assert variants(service)["r2"] == 100.0


def _lost_tags_are_named(service: Tiny) -> None:
    """What clears tags leaves an endpoint that serves: that is said, and the next command makes it this pipeline's again."""
    deployer, before = sagemaker(service), variants(service)
    state = deployer.endpoint.read()
    assert state is not None
    deployer.client.delete_tags(ResourceArn=state.arn, TagKeys=list(state.tags))
    assert "release 2 serves as deployed version r2" in service.invoke("status")
    with pytest.raises(Refused, match=r"has lost the tags .*; release 2 serves as before") as refusal:
        service.deploy()
    _, _, given = refusal.value.next.partition(f"--resource-arn {state.arn} --tags ")
    tags = [dict(part.split("=") for part in tag.split(",")) for tag in given.split()]
    deployer.client.add_tags(ResourceArn=state.arn, Tags=tags)
    assert "✓" in service.invoke("verify")
    assert variants(service) == before


def _removed(service: Tiny) -> None:
    deployer = sagemaker(service)
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


def test_standby_is_rolled_back_to_without_an_update(service: Tiny) -> None:
    """The previous release keeps its variant, so a rollback only shifts weights; a release that is never healthy is refused."""
    service.replace("pipeline.toml", "start = 60", "start = 60\nstandby = true")
    service.commit("Standby")
    service.deploy()
    endpointed.repair(service, "second")
    service.deploy()
    assert variants(service) == {"r1": 0.0, "r2": 100.0}
    says = endpointed.fault(service, "is never healthy")
    with pytest.raises(Refused) as refusal:
        service.deploy()
    assert says in str(refusal.value)
    assert "r3 does not start: " in str(refusal.value)
    assert "within 60 seconds" in str(refusal.value)
    assert variants(service) == {"r1": 0.0, "r2": 100.0}
    names: list[str] = []
    opened = service.open()
    opened.cloud.client("sagemaker").meta.events.register(
        "before-call.sagemaker", lambda model, **_: names.append(model.name)
    )
    deploy.rollback(opened, 0, report=lambda step: None)
    shifted = names.index("UpdateEndpointWeightsAndCapacities")
    assert "UpdateEndpoint" not in names[:shifted]
    assert ask(service, "/version")["note"] == "first"


def test_folder_names_no_other_target() -> None:
    """A target is one folder: this one says nothing of Lambda or a cluster."""
    for path in (Path(__file__).parent.parent / "src/ml_delivery/targets/sagemaker").rglob("*"):
        if path.suffix in (".py", ".yaml"):
            text = path.read_text().lower().replace("lambda:", "").replace("lambda name", "")
            assert "lambda" not in text, path
            assert "kubernetes" not in text, path
