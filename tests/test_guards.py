"""The real bucket's policy denies what would let an artifact be replaced; whoever owns the template, what it lacks is named."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from tiny import INFRA, Tiny

from ml_delivery.account import guards
from ml_delivery.release.delivery import Delivery

Policy = dict[str, Any]
ALL = ("TLSOnly", "WriteOnce", "OnlyRetentionDeletes", "LedgerStays", "VersionsStay")


@pytest.fixture
def opened(tiny: Tiny) -> Delivery:
    return tiny.open()


def policy_of(opened: Delivery) -> Policy:
    found: Policy = json.loads(opened.cloud.client("s3").get_bucket_policy(Bucket=opened.foundation.bucket)["Policy"])
    return found


def put(opened: Delivery, policy: Policy) -> None:
    opened.cloud.client("s3").put_bucket_policy(Bucket=opened.foundation.bucket, Policy=json.dumps(policy))


def changed(opened: Delivery, change: Callable[[dict[str, Any]], object], sid: str = "WriteOnce") -> tuple[str, ...]:
    """What the policy lacks when one of its statements was changed; then it is as it was."""
    honest = policy_of(opened)
    policy = copy.deepcopy(honest)
    change(next(one for one in policy["Statement"] if one["Sid"] == sid))
    put(opened, policy)
    found = guards.lacking(opened)
    put(opened, honest)
    return found


WEAKER: dict[str, Callable[[dict[str, Any]], object]] = {
    "it allows": lambda one: one.update(Effect="Allow", Principal={"AWS": "arn:aws:iam::123456789012:root"}),
    "only one role": lambda one: one.update(Principal={"AWS": "arn:aws:iam::123456789012:role/x"}),
    "another action": lambda one: one.update(Action="s3:PutObjectAcl"),
    "all actions but one": lambda one: one.update(NotAction=one.pop("Action")),
    "a part of the artifacts": lambda one: one.update(Resource=[f"{one['Resource'][0]}.zip", one["Resource"][1]]),
    "another bucket": lambda one: one.update(Resource="arn:aws:s3:::another/*"),
    "only from outside": lambda one: one["Condition"].update(NotIpAddress={"aws:SourceIp": "10.0.0.0/8"}),
    "the contrary": lambda one: one["Condition"].update(Null={"s3:if-none-match": "false"}),
}
STRICTER: dict[str, Callable[[dict[str, Any]], object]] = {
    "under no condition": lambda one: one.pop("Condition"),
    "another name": lambda one: one.update(Sid="NeverTwice"),
    "no name": lambda one: one.pop("Sid"),
    "more actions": lambda one: one.update(Action=["s3:put*", "s3:Restore*"]),
    "all accounts": lambda one: one.update(Principal={"AWS": "*"}),
    "everything": lambda one: one.update(Resource="*"),
}


def test_weaker_policy_is_found_and_a_stricter_is_enough(opened: Delivery) -> None:
    """Statements are compared by what they deny, not by name or text."""
    assert guards.lacking(opened) == ()
    for what, change in WEAKER.items():
        assert changed(opened, change) == ("WriteOnce",), what
    for what, change in STRICTER.items():
        assert changed(opened, change) == (), what
    for sid in ALL:
        assert changed(opened, lambda one: one.update(Action="s3:ListBucket"), sid) == (sid,)
    opened.cloud.client("s3").delete_bucket_policy(Bucket=opened.foundation.bucket)
    assert guards.lacking(opened) == ALL


def test_own_template_without_them_is_named_everywhere(tiny: Tiny) -> None:
    """bootstrap, doctor and plan name the statements, the file and the command; with them, nothing is found."""
    shipped = (INFRA / "foundation.yaml").read_text()
    start, end = (
        shipped.index("          # Artifacts and the ledger's events"),
        shipped.index("          # What is deleted could"),
    )
    tiny.write("infra/foundation.yaml", shipped[:start] + shipped[end:])
    tiny.commit("Own the foundation")
    cure = "to infra/foundation.yaml, then invoke bootstrap --branch main"
    printed = tiny.invoke("bootstrap")
    assert "its policy denies less than the statements WriteOnce, so artifacts or records could be replaced" in printed
    assert cure in printed
    tiny.deploy()
    printed = tiny.invoke("plan", code=2)
    assert f"drift bucket {tiny.name}-production-123456789012" in printed
    assert "statements WriteOnce" in printed
    assert cure in printed
    printed = tiny.invoke("doctor", code=1)
    assert "✗ bucket" in printed
    assert "statements WriteOnce" in printed
    assert cure in printed
    tiny.write("infra/foundation.yaml", shipped)
    assert "WriteOnce, so" not in tiny.invoke("bootstrap")
    assert "✓ bucket" in tiny.invoke("doctor", code=1)  # a tiny service has no lock


def test_policy_that_was_changed_by_hand_is_made_whole(opened: Delivery, tiny: Tiny) -> None:
    """CloudFormation sees no change, so bootstrap adds what is missing, and keeps what else the policy has."""
    more = {"Sid": "Mine", "Effect": "Deny", "Principal": "*", "Action": "s3:PutObjectAcl", "Resource": "*"}
    put(opened, {"Version": "2012-10-17", "Statement": [more]})
    assert "they were added" in tiny.invoke("bootstrap")
    assert guards.lacking(opened) == ()
    assert [one["Sid"] for one in policy_of(opened)["Statement"]] == ["Mine", *ALL]
    opened.cloud.client("s3").delete_bucket_policy(Bucket=opened.foundation.bucket)
    assert "WriteOnce, OnlyRetentionDeletes" in tiny.invoke("bootstrap")
    assert guards.lacking(opened) == ()
