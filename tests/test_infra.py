"""What an environment stands on: planned, shown, applied, refused, and applied again when its template changes."""

from __future__ import annotations

import pytest
from tiny import TEMPLATE, Tiny

from pipeline import infra
from pipeline.cloud import Cloud
from pipeline.errors import CloudError, Refused

SERVICE = (TEMPLATE / "infra/service.yaml").read_text()


@pytest.fixture
def own(tiny: Tiny) -> Tiny:
    """A tiny service with an infra folder of its own, to be changed."""
    (tiny.root / "infra").unlink()
    tiny.write("infra/service.yaml", SERVICE)
    tiny.commit()
    return tiny


def opened(tiny: Tiny) -> Cloud:
    return Cloud.open(tiny.config, tiny.config.environment("main"), "embedded")


def planned(tiny: Tiny) -> infra.InfraPlan:
    return infra.plan(tiny.config, tiny.config.environment("main"), opened(tiny))


def test_plan_names_each_resource_and_changes_nothing(own: Tiny) -> None:
    """A change set is shown before it is carried out; discarded, it leaves no stack behind."""
    plan = planned(own)
    assert {(c.action, c.type) for c in plan.changes} == {
        ("Add", "AWS::S3::Bucket"),
        ("Add", "AWS::S3::BucketPolicy"),
        ("Add", "AWS::Logs::LogGroup"),
        ("Add", "AWS::IAM::Role"),
    }
    infra.discard(opened(own), plan)
    assert infra.foundation(own.config, own.config.environment("main"), opened(own)) is None


def test_applied_twice_changes_nothing(own: Tiny) -> None:
    """What stands is found, is current, and a second plan is empty."""
    infra.apply(opened(own), planned(own))
    found = infra.foundation(own.config, own.config.environment("main"), opened(own))
    assert found is not None
    assert found.current
    assert found.bucket == f"{own.name}-production-123456789012"
    again = planned(own)
    assert (again.change_set, again.changes) == ("", ())


def test_bucket_is_private_versioned_and_encrypted(own: Tiny) -> None:
    """The artifact bucket is closed to the public, keeps versions and encrypts."""
    infra.apply(opened(own), planned(own))
    s3, bucket = opened(own).client("s3"), f"{own.name}-production-123456789012"
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    assert set(s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values()) == {True}
    rule = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    assert '"aws:SecureTransport"' in s3.get_bucket_policy(Bucket=bucket)["Policy"]


def test_changed_template_is_seen_shown_and_applied(own: Tiny) -> None:
    """A change of the template is in the deploy's plan; a deploy on the embedded cloud applies it by itself."""
    own.deploy()
    own.write("infra/service.yaml", SERVICE.replace("Default: 30", "Default: 60"))
    own.commit()
    assert not own.open(prepare=False).foundation.current
    own.push()  # the embedded cloud brings it up to date
    assert own.open(prepare=False).foundation.current
    logs = opened(own).client("logs")
    group = logs.describe_log_groups(logGroupNamePrefix=f"/aws/lambda/{own.name}-production")["logGroups"][0]
    assert group["retentionInDays"] == 60


def test_deploy_on_an_old_foundation_is_refused(own: Tiny) -> None:
    """Where nothing is brought up to date by itself, a deploy says what to run."""
    from pipeline import deploy

    own.deploy()
    own.write("infra/service.yaml", SERVICE.replace("Default: 30", "Default: 60"))
    own.commit()
    with pytest.raises(Refused, match=r"differs from infra/service\.yaml") as refusal:
        deploy.deploy(own.open(prepare=False), tell=lambda step: None)
    assert refusal.value.next.startswith("invoke bootstrap --branch main")


def test_template_that_does_not_stand_is_refused_with_the_reason(own: Tiny) -> None:
    """CloudFormation's own reason reaches the user, and nothing is half there."""
    own.write("infra/service.yaml", SERVICE.replace("AWS::Logs::LogGroup", "AWS::Logs::LogGroops"))
    with pytest.raises(CloudError) as fault:
        infra.apply(opened(own), planned(own))
    assert "AWS::Logs::LogGroops" in fault.value.message
    assert infra.foundation(own.config, own.config.environment("main"), opened(own)) is None
