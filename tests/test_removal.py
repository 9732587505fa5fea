"""The removal of an environment: what the target leaves outside the stacks goes with it, and an interrupted one is run again."""

from __future__ import annotations

import pytest
from tiny import Tiny

from ml_delivery.account import change_sets, removal, stacks
from ml_delivery.cloud import Cloud
from ml_delivery.errors import CloudError


def opened(tiny: Tiny) -> Cloud:
    return Cloud.open(tiny.config, tiny.config.environment("main"), "embedded")


def remove(tiny: Tiny) -> list[str]:
    """Remove production; the names of what was removed, in that order."""
    removed: list[str] = []
    removal.remove(tiny.config, tiny.config.environment("main"), opened(tiny), removed.append)
    return removed


def test_images_and_their_parameter_are_removed(tiny: Tiny) -> None:
    """Of a target of images, its repository, which its stack retains, and the parameter that a push leaves."""
    tiny.replace("pipeline.toml", 'target = "lambda-zip"', 'target = "lambda-image"')
    cloud, name, parameter = opened(tiny), f"{tiny.name}-production", f"/{tiny.name}/production/image"
    change_sets.ensure(stacks.service(tiny.config, tiny.config.environment("main")), cloud)
    cloud.client("ssm").put_parameter(Name=parameter, Value="an image", Type="String")
    removed = remove(tiny)
    assert {f"the images {name}", f"the parameter {parameter}", f"the bucket {name}-123456789012"} <= set(removed)
    repositories = cloud.client("ecr").describe_repositories()["repositories"]
    assert name not in {repository["repositoryName"] for repository in repositories}
    assert cloud.client("ssm").get_parameters(Names=[parameter])["Parameters"] == []
    assert f"the images {name}" not in remove(tiny)


def test_interrupted_removal_is_run_again(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped after the function and before the stacks, it removes the rest, and says nothing of what went before."""
    tiny.deploy()
    name = f"{tiny.name}-production"
    with monkeypatch.context() as patched:

        def fails(stack: str, *_: object) -> bool:
            if stack.endswith("-front"):  # before what it is made of
                return False
            raise CloudError("the network is down")

        patched.setattr(change_sets, "delete", fails)
        with pytest.raises(CloudError, match="the network is down"):
            remove(tiny)
    assert change_sets.foundation(tiny.config, tiny.config.environment("main"), opened(tiny)) is not None
    removed = remove(tiny)
    assert removed[-2:] == [f"the stack {name}", f"the bucket {name}-123456789012"]
    assert f"the function {name}" not in removed
    assert change_sets.foundation(tiny.config, tiny.config.environment("main"), opened(tiny)) is None
    assert remove(tiny) == []


def test_refusal_of_aws_stops_the_removal(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what does not exist is skipped: any other answer is a fault, in AWS's words."""
    from botocore.exceptions import ClientError

    def refused(*_: object) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "not allowed"}}, "DeleteBucket")

    tiny.deploy()
    monkeypatch.setattr(removal, "_bucket", refused)
    with pytest.raises(CloudError, match="DeleteBucket: AccessDenied: not allowed"):
        remove(tiny)
