"""What was pushed stays as it was pushed, and what the ledger recorded as it was recorded: under each right that a role has."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from emulated import code_of
from roles import Roles
from tiny import Tiny

from ml_delivery.artifact import store
from ml_delivery.cloud import Cloud
from ml_delivery.release import deploy

ALL = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}


@pytest.fixture(scope="module")
def roles(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Roles:
    made = Roles(Tiny(tmp_path_factory.mktemp("once") / "service", shared, "once"))
    deploy.deploy(made.tiny.open(), report=lambda step: None)
    return made


@contextmanager
def s3_of(roles: Roles, role: str) -> Iterator[Any]:
    """S3 as ``role`` uses it."""
    with roles.acting(role):
        yield Cloud.open(roles.tiny.config, roles.environment, "aws").client("s3")


def bucket_of(roles: Roles) -> str:
    return roles.tiny.open().foundation.bucket


def in_parts(s3: Any, where: dict[str, str], **options: str) -> Any:
    upload = s3.create_multipart_upload(**where)["UploadId"]
    tag = s3.upload_part(**where, UploadId=upload, PartNumber=1, Body=b"other")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": tag}]}
    return s3.complete_multipart_upload(**where, UploadId=upload, MultipartUpload=parts, **options)


def by_copy(s3: Any, where: dict[str, str], **options: str) -> Any:
    source = {"Bucket": where["Bucket"], "Key": where["Key"]}
    return s3.copy_object(**where, CopySource=source, MetadataDirective="REPLACE", **options)


ATTACKS: dict[str, tuple[Callable[[Any, dict[str, str]], Any], str]] = {
    "an upload": (lambda s3, where: s3.put_object(**where, Body=b"other"), "AccessDenied"),
    "an upload unless it exists": (
        lambda s3, where: s3.put_object(**where, Body=b"other", IfNoneMatch="*"),
        "PreconditionFailed",
    ),
    "an upload of what is there": (
        lambda s3, where: s3.put_object(**where, Body=b"other", IfMatch=s3.get_object(**where)["ETag"]),
        "AccessDenied",
    ),
    "an upload unless it is something else": (
        lambda s3, where: s3.put_object(**where, Body=b"other", IfNoneMatch='"0"'),
        "NotImplemented",
    ),
    "an upload in parts": (in_parts, "AccessDenied"),
    "an upload in parts unless it exists": (
        lambda s3, where: in_parts(s3, where, IfNoneMatch="*"),
        "PreconditionFailed",
    ),
    "a copy": (by_copy, "AccessDenied"),
    "a copy unless it exists": (lambda s3, where: by_copy(s3, where, IfNoneMatch="*"), "NotImplemented"),
    "its end": (lambda s3, where: s3.delete_object(**where), "AccessDenied"),
}


@pytest.mark.parametrize("how", ATTACKS)
def test_what_was_pushed_can_not_be_exchanged(roles: Roles, how: str) -> None:
    """With the rights that push it, neither record, bytes nor documents of an artifact are replaced; pushing it again works."""
    attack, code = ATTACKS[how]
    bucket, before = bucket_of(roles), roles.push("embedded")
    admin = roles.admin.client("s3")
    keys = [
        entry["Key"]
        for entry in admin.list_objects_v2(Bucket=bucket, Prefix=f"artifacts/{before.artifact.version}/")["Contents"]
    ]
    assert len(keys) >= 3
    content = {key: admin.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}
    with s3_of(roles, "codebuild") as s3:
        for key in keys:
            assert code_of(lambda key=key: attack(s3, {"Bucket": bucket, "Key": key})) == code, key  # type: ignore[misc]
    with roles.acting("codebuild"):
        again = roles.push()
    assert (again.artifact, again.uploaded) == (before.artifact, False)
    assert content == {key: admin.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}


def test_new_object_can_be_written_in_any_way(roles: Roles) -> None:
    """What does not exist is written with the condition, at once or in parts."""
    with s3_of(roles, "codebuild") as s3:
        s3.put_object(Bucket=bucket_of(roles), Key="artifacts/new/one", Body=b"1", IfNoneMatch="*")
        in_parts(s3, {"Bucket": bucket_of(roles), "Key": "artifacts/new/parts"}, IfNoneMatch="*")


def test_event_is_written_once_and_head_replaced(roles: Roles) -> None:
    """The role that writes the ledger can't change what it recorded; only the head is replaced."""
    bucket = bucket_of(roles)
    listed = roles.admin.client("s3").list_objects_v2(Bucket=bucket, Prefix="releases/production/")["Contents"]
    events = [entry["Key"] for entry in listed if not entry["Key"].endswith("/head.json")]
    assert events
    with s3_of(roles, "deploy") as s3:
        for key in events:
            assert code_of(lambda key=key: s3.put_object(Bucket=bucket, Key=key, Body=b"{}")) == "AccessDenied"  # type: ignore[misc]
        head = {"Bucket": bucket, "Key": "releases/production/head.json"}
        found = s3.get_object(**head)
        s3.put_object(**head, Body=found["Body"].read(), IfMatch=found["ETag"])


# A statement of the bucket's policy, the role that it holds back, and what that role could do without it.
STATEMENTS: dict[str, tuple[str, Callable[[Any, str, str, str], Any]]] = {
    "WriteOnce": ("codebuild", lambda s3, b, record, _: s3.put_object(Bucket=b, Key=record, Body=b"{}")),
    "OnlyRetentionDeletes": ("codebuild", lambda s3, b, record, _: s3.delete_object(Bucket=b, Key=record)),
    "LedgerStays": (
        "deploy",
        lambda s3, b, *_: s3.delete_object(Bucket=b, Key="releases/production/00000001/00000002-staged.json"),
    ),
    "VersionsStay": (
        "deploy",
        lambda s3, b, record, version: s3.delete_object(Bucket=b, Key=record, VersionId=version),
    ),
}


@pytest.mark.parametrize("sid", STATEMENTS)
def test_each_statement_is_needed(roles: Roles, sid: str) -> None:
    """Even a role that was given all of S3 is held back by the bucket's own policy, and by this statement of it."""
    role, harm = STATEMENTS[sid]
    admin, iam, bucket = roles.admin.client("s3"), roles.admin.client("iam"), bucket_of(roles)
    record = f"artifacts/{roles.push('embedded').artifact.version}/artifact.json"
    good = admin.get_object(Bucket=bucket, Key=record)
    policy = json.loads(admin.get_bucket_policy(Bucket=bucket)["Policy"])
    assert {one["Sid"] for one in policy["Statement"]} == {"TLSOnly", *STATEMENTS}
    without = copy.deepcopy(policy)
    without["Statement"] = [one for one in policy["Statement"] if one["Sid"] != sid]
    iam.put_role_policy(RoleName=f"once-production-{role}", PolicyName="all", PolicyDocument=json.dumps(ALL))
    try:
        with s3_of(roles, role) as s3:
            assert code_of(lambda: harm(s3, bucket, record, good["VersionId"])) == "AccessDenied"
            admin.put_bucket_policy(Bucket=bucket, Policy=json.dumps(without))
            harm(s3, bucket, record, good["VersionId"])
    finally:
        iam.delete_role_policy(RoleName=f"once-production-{role}", PolicyName="all")
        admin.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
        admin.delete_object(Bucket=bucket, Key=record)
        admin.put_object(Bucket=bucket, Key=record, Body=good["Body"].read(), IfNoneMatch="*")
    assert store.known(roles.admin, bucket, record.split("/")[1])
