"""What the bucket's policy must deny, so that nothing in it can be replaced: compared with what the real bucket's policy denies.

A service's own ``infra/foundation.yaml`` may lack the statements, and a policy can be changed by hand.
"""

from __future__ import annotations

import json
from collections import defaultdict
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from ml_delivery import cloudformation
from ml_delivery.account import policies, stacks
from ml_delivery.cloud import code_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ml_delivery.account.policies import Statement
    from ml_delivery.cloudformation import Tree
    from ml_delivery.records import Context

__all__ = ["add", "lacking", "owned", "remedy", "says"]


def lacking(context: Context) -> tuple[str, ...]:
    """The Sids of the package's statements of which the policy of the environment's bucket denies less.

    Raises:
        CloudError: S3 refused.
    """
    wanted = policies.of_document("", "", _wanted(context))
    denied = [one for one in policies.of_document("", "", _there(context)) if one.effect == "Deny"]
    return tuple(one.sid for one in wanted if not any(_covers(other, one) for other in denied))


def add(context: Context, lacks: tuple[str, ...]) -> None:
    """Add the package's statements with these Sids to the bucket's policy: CloudFormation does not detect that it was changed.

    Raises:
        CloudError: S3 refused.
    """
    kept = [one for one in _there(context)["Statement"] if one.get("Sid") not in lacks]
    added = [one for one in _wanted(context)["Statement"] if one["Sid"] in lacks]
    policy = json.dumps({"Version": "2012-10-17", "Statement": [*kept, *added]})
    with context.cloud.faults():
        context.cloud.client("s3").put_bucket_policy(Bucket=context.foundation.bucket, Policy=policy)


def owned(context: Context) -> bool:
    """Whether the service has its own template of the bucket and its policy."""
    return (context.config.root / "infra/foundation.yaml").is_file()


def says(lacks: tuple[str, ...]) -> str:
    """What is wrong with a policy that lacks those statements."""
    return f"its policy denies less than the statements {', '.join(lacks)}, so artifacts or records could be replaced"


def remedy(context: Context) -> str:
    """How the statements come into the bucket's policy."""
    bootstrap = f"invoke bootstrap --branch {context.environment.branch}{context.where}"
    if owned(context):
        return f"copy them from {stacks.INFRA / 'foundation.yaml'} to infra/foundation.yaml, then {bootstrap}"
    return bootstrap


def _wanted(context: Context) -> Tree:
    """The policy of the package's own template, for the environment's bucket."""
    cloud = context.cloud
    known = {"AWS::AccountId": cloud.account, "AWS::Region": cloud.region, "AWS::Partition": "aws"}
    known |= {"Bucket": context.foundation.bucket, "Bucket.Arn": f"arn:aws:s3:::{context.foundation.bucket}"}
    names = {"Name": context.config.service.name, "Environment": context.environment.name}
    template = cloudformation.read(stacks.INFRA / "foundation.yaml")
    document: Tree = policies.resolved(template, names, known, "BucketPolicy")["PolicyDocument"]
    return document


def _there(context: Context) -> Tree:
    """The policy that the bucket has."""
    with context.cloud.faults():
        try:
            found = context.cloud.client("s3").get_bucket_policy(Bucket=context.foundation.bucket)["Policy"]
        except Exception as error:
            if code_of(error) != "NoSuchBucketPolicy":
                raise
            return {"Statement": []}
    document: Tree = json.loads(found)
    listed = document["Statement"]
    return {**document, "Statement": listed if isinstance(listed, list) else [listed]}


def _covers(there: Statement, wanted: Statement) -> bool:
    """Whether a statement denies all that ``wanted`` does: each action and resource, under no more conditions."""
    has, needs = _elements(there), _elements(wanted)
    if set(has) - {"Effect", "Principal", "Action", "Resource", "Condition"} or not has["Principal"] & {"*", "AWS *"}:
        return False
    for element in ("Action", "Resource"):
        same = str.lower if element == "Action" else str
        if not all(any(fnmatchcase(same(one), same(pattern)) for pattern in has[element]) for one in needs[element]):
            return False
    conditions = _by_key(needs["Condition"])
    return all(conditions.get(key) == values for key, values in _by_key(has["Condition"]).items())


def _elements(statement: Statement) -> Mapping[str, set[str]]:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for part in statement.parts:
        found[part.element].add(part.value)
    return found


def _by_key(conditions: set[str]) -> dict[str, set[str]]:
    """The values of each operator and key."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for condition in conditions:
        operator, key, value = condition.split(" ", 2)
        found[f"{operator} {key}"].add(value)
    return found
