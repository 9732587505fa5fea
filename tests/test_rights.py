"""Each stage runs under its own role and passes; nothing in a role goes unused; nothing else is allowed.

The roles are those of ``infra/delivery.yaml`` with the target's statements, made by CloudFormation on the embedded AWS, which
enforces them, and taken with tokens shaped like GitHub's.
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from emulated import Function, client
from issuer import Issuer
from roles import ACCOUNT, JOBS, REPOSITORY, SUBJECTS, Roles
from tiny import Tiny

from ml_delivery import emulator
from ml_delivery.cloud import Cloud
from ml_delivery.release import delivery

STAGES = ("build", "codebuild", "plan", "deploy")


@pytest.fixture(scope="module")
def roles(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Roles:
    made = Roles(Tiny(tmp_path_factory.mktemp("rights") / "service", shared, "rights"))
    where = {"LocationConstraint": "eu-west-1"}
    made.admin.client("s3").create_bucket(Bucket=f"another-production-{ACCOUNT}", CreateBucketConfiguration=where)
    return made


@pytest.mark.parametrize("role", STAGES)
def test_stage_passes_under_its_role_and_uses_all_of_it(roles: Roles, role: str) -> None:
    """The stage works with the role's rights; without any one action or resource of them it stops, and names it."""
    roles.prove(role, roles.rights())


OUTSIDE: dict[str, tuple[str, str, dict[str, Any]]] = {
    "another service's function": ("lambda", "invoke", {"FunctionName": "another-production"}),
    "another service's code": (
        "lambda",
        "update_function_code",
        {"FunctionName": "another-production", "S3Bucket": "b-x", "S3Key": "k"},
    ),
    "another service's alias": ("lambda", "get_alias", {"FunctionName": "another-production", "Name": "live"}),
    "another environment's function": ("lambda", "invoke", {"FunctionName": "rights-staging"}),
    "all functions": ("lambda", "list_functions", {}),
    "a function's end": ("lambda", "delete_function", {"FunctionName": "rights-production"}),
    "a function for everybody": (
        "lambda",
        "add_permission",
        {"FunctionName": "rights-production", "StatementId": "s", "Action": "lambda:InvokeFunction", "Principal": "*"},
    ),
    "another bucket": ("s3", "list_objects_v2", {"Bucket": f"another-production-{ACCOUNT}"}),
    "another bucket's object": ("s3", "get_object", {"Bucket": f"another-production-{ACCOUNT}", "Key": "k"}),
    "all buckets": ("s3", "list_buckets", {}),
    "the bucket's end": ("s3", "delete_bucket", {"Bucket": f"rights-production-{ACCOUNT}"}),
    "the bucket's policy": ("s3", "delete_bucket_policy", {"Bucket": f"rights-production-{ACCOUNT}"}),
    "an artifact's end": (
        "s3",
        "delete_object",
        {"Bucket": f"rights-production-{ACCOUNT}", "Key": "artifacts/x/y.zip"},
    ),
    "the ledger's end": ("s3", "delete_object", {"Bucket": f"rights-production-{ACCOUNT}", "Key": "releases/x"}),
    "a parameter": ("ssm", "get_parameter", {"Name": "/another/production/image"}),
    "another parameter": ("ssm", "put_parameter", {"Name": "/another/x", "Value": "x", "Type": "String"}),
    "another repository": (
        "ecr",
        "batch_get_image",
        {"repositoryName": "another-production", "imageIds": [{"imageTag": "x"}]},
    ),
    "a repository's end": ("ecr", "delete_repository", {"repositoryName": "rights-production"}),
    "roles": ("iam", "list_roles", {}),
    "more rights": (
        "iam",
        "attach_role_policy",
        {"RoleName": "rights-production-deploy", "PolicyArn": "arn:aws:iam::aws:policy/AdministratorAccess"},
    ),
    "other trust": (
        "iam",
        "update_assume_role_policy",
        {"RoleName": "rights-production-deploy", "PolicyDocument": "{}"},
    ),
    "a user": ("iam", "create_user", {"UserName": "intruder"}),
    "another role": ("sts", "assume_role", {"RoleArn": f"arn:aws:iam::{ACCOUNT}:role/web", "RoleSessionName": "tests"}),
    "the infrastructure": ("cloudformation", "delete_stack", {"StackName": "rights-production"}),
    "another service's infrastructure": ("cloudformation", "describe_stacks", {"StackName": "another-production"}),
    "another project": ("codebuild", "start_build", {"projectName": "another-production"}),
    "another topic": (
        "sns",
        "publish",
        {"TopicArn": f"arn:aws:sns:eu-west-1:{ACCOUNT}:another-production", "Message": "x"},
    ),
    "secrets": ("secretsmanager", "list_secrets", {}),
    "logs of another": (
        "logs",
        "get_log_events",
        {"logGroupName": "/aws/lambda/another-production", "logStreamName": "s"},
    ),
}


@pytest.mark.parametrize("role", ["codebuild", *SUBJECTS])
def test_nothing_outside_is_allowed(roles: Roles, role: str) -> None:
    """No role reads, changes or ends what is another service's, another environment's or the account's."""
    with roles.acting(role):
        cloud = Cloud.open(roles.tiny.config, roles.environment, "aws")
        for what, (service, operation, words) in OUTSIDE.items():
            if (role, what) == ("deploy", "an artifact's end"):
                continue  # retention is the deploy's
            with pytest.raises(ClientError) as fault:
                getattr(cloud.client(service), operation)(**words)
            code = fault.value.response["Error"]["Code"]
            assert code.startswith(("AccessDenied", "AuthorizationError")), (
                role,
                what,
                fault.value,
            )  # SNS has the latter


def test_function_gets_its_own_role_only(roles: Roles) -> None:
    """A deploy can't give the function a role with more rights than its own."""
    with roles.acting("deploy"):
        opened = delivery.open_delivery(roles.tiny.config, "main", "aws")
        with pytest.raises(ClientError, match=r"not authorized to perform: iam:PassRole") as fault:
            opened.cloud.client("lambda").create_function(
                FunctionName="rights-production",
                Role=f"arn:aws:iam::{ACCOUNT}:role/rights-production-deploy",
                Code={"S3Bucket": opened.foundation.bucket, "S3Key": opened.artifact().location},
            )
        assert fault.value.response["Error"]["Code"] == "AccessDeniedException"


NOT_OURS = {
    "another branch": f"{REPOSITORY}:ref:refs/heads/feature",
    "a branch that begins like it": f"{REPOSITORY}:ref:refs/heads/main2",
    "a tag of that name": f"{REPOSITORY}:ref:refs/tags/main",
    "a pull request": f"{REPOSITORY}:pull_request",
    "another environment": f"{REPOSITORY}:environment:staging",
    "an environment that begins like it": f"{REPOSITORY}:environment:production2",
    "another repository": "repo:an-owner/another:ref:refs/heads/main",
    "a repository that begins like it": "repo:an-owner/a-repository2:ref:refs/heads/main",
    "another owner": "repo:someone/a-repository:environment:production",
    "an owner that ends like it": "repo:not-an-owner/a-repository:environment:production",
    "the other form": "repo:an-owner@1/a-repository@2:environment:production",
    "other letters": f"{REPOSITORY}:ref:refs/heads/Main",
    "a wildcard": "repo:*",
}


PATH = "an-owner/a-repository/.github/workflows"
OTHER_JOBS = {
    "another workflow's": f"{PATH}/other.yml@refs/heads/main",
    "the build's workflow's": f"{PATH}/build_test.yml@refs/heads/main",
    "the deploy's workflow's": f"{PATH}/deploy.yml@refs/heads/main",
    "the workflow's on another branch": f"{PATH}/deploy.yml@refs/heads/feature",
    "the workflow's of a tag": f"{PATH}/deploy.yml@refs/tags/main",
    "a reusable workflow's of another repository": "an-owner/b/.github/workflows/deploy.yml@refs/heads/main",
    "a workflow's that GitHub does not name": None,
}


@pytest.mark.parametrize("role", SUBJECTS)
def test_role_is_for_its_own_subject_only(roles: Roles, role: str) -> None:
    """Another branch's, environment's, repository's or pull request's token is refused, as are a forged and an expired one."""
    subjects = {**NOT_OURS, **{f"{other}'s": s for other, s in SUBJECTS.items() if s != SUBJECTS[role]}}
    good = SUBJECTS[role]
    tokens = {name: roles.token(role, subject) for name, subject in subjects.items()}
    tokens |= {
        "forged": Issuer().token(good, job_workflow_ref=JOBS[role]),
        "expired": roles.token(role, exp=int(time.time()) - 1),
        "for another audience": roles.token(role, aud="https://github.com/an-owner"),
        **{name: roles.token(role, job_workflow_ref=job) for name, job in OTHER_JOBS.items() if job != JOBS[role]},
    }
    for name, token in tokens.items():
        with pytest.raises(ClientError) as fault:
            roles.assume(role, token)
        code = fault.value.response["Error"]["Code"]
        assert code in ("AccessDenied", "InvalidIdentityToken", "ExpiredTokenException"), (role, name)
    roles.assume(role, roles.token(role))


def test_immutable_subjects_are_supported(roles: Roles) -> None:
    """With GitHub's numbers in pipeline.toml, the roles trust the immutable form, and no longer the name's."""
    from ml_delivery.account import change_sets, stacks

    ids = '[github]\nowner_id = "12"\nrepository_id = "345"\n'
    try:
        roles.tiny.replace("pipeline.toml", "[github]\n", ids)
        change_sets.ensure(stacks.delivering(roles.tiny.config, roles.environment), roles.admin)
        numbered = "repo:an-owner@12/a-repository@345:environment:production"
        roles.assume("deploy", roles.token("deploy", numbered, repository_id="345"))
        for subject in (SUBJECTS["deploy"], numbered.replace("@12", "@13"), numbered.replace("@345", "@346")):
            with pytest.raises(ClientError, match="AccessDenied"):
                roles.assume("deploy", roles.token("deploy", subject, repository_id="345"))
        # A repository whose tokens have names alone: another one that takes its name has another number.
        roles.tiny.replace("pipeline.toml", ids, f'{ids}subject = "names"\n')
        change_sets.ensure(stacks.delivering(roles.tiny.config, roles.environment), roles.admin)
        roles.assume("deploy", roles.token("deploy", repository_id="345"))
        for number in ("346", None):
            with pytest.raises(ClientError, match="AccessDenied"):
                roles.assume("deploy", roles.token("deploy", repository_id=number))
    finally:
        roles.tiny.git("checkout", "--quiet", "--", "pipeline.toml")
        change_sets.ensure(stacks.delivering(roles.tiny.config, roles.environment), roles.admin)


def test_session_is_short(roles: Roles) -> None:
    """No role allows a session of more than an hour."""
    for role in SUBJECTS:
        with pytest.raises(ClientError, match="exceeds the MaxSessionDuration"):
            roles.assume(role, roles.token(role), seconds=3601)


def test_dependent_rights_are_asked_for(running: emulator.Running) -> None:
    """On the embedded AWS a function's maker needs the right to give it its role, to tag it, and to read its code."""
    Function(running, "dependent", "def handler(event, context):\n    return event\n")
    iam, key = client(running, "iam"), {}
    iam.create_user(UserName="maker")
    key = iam.create_access_key(UserName="maker")["AccessKey"]
    aws = client(running, "lambda", key["AccessKeyId"], key["SecretAccessKey"])
    allowed: list[str] = []
    for action in ("lambda:CreateFunction", "iam:PassRole", "lambda:TagResource", "s3:GetObject"):
        with pytest.raises(ClientError, match=f"is not authorized to perform: {action}"):
            aws.create_function(
                FunctionName="made",
                Role=f"arn:aws:iam::{ACCOUNT}:role/dependent",
                Code={"S3Bucket": "some-bucket", "S3Key": "k"},
                Tags={"a": "b"},
            )
        allowed.append(action)
        policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": allowed, "Resource": "*"}]}
        iam.put_user_policy(UserName="maker", PolicyName="all", PolicyDocument=json.dumps(policy))


# What AWS asks about, per call: https://docs.aws.amazon.com/service-authorization/latest/reference/
ASKED = {
    "a version": ("lambda", "invoke", {"FunctionName": "f", "Qualifier": "7"}, "lambda:InvokeFunction", "function:f:7"),
    "an alias": ("lambda", "get_alias", {"FunctionName": "f", "Name": "live"}, "lambda:GetAlias", "function:f"),
    "versions": (
        "lambda",
        "list_versions_by_function",
        {"FunctionName": "f"},
        "lambda:ListVersionsByFunction",
        "function:f",
    ),
    "a build": ("codebuild", "batch_get_builds", {"ids": ["p:1"]}, "codebuild:BatchGetBuilds", "project/p"),
    "a log stream": (
        "logs",
        "get_log_events",
        {"logGroupName": "/g", "logStreamName": "s"},
        "logs:GetLogEvents",
        "log-group:/g:log-stream:s",
    ),
    "a log group": ("logs", "filter_log_events", {"logGroupName": "/g"}, "logs:FilterLogEvents", "log-group:/g:*"),
}


@pytest.mark.parametrize("what", ASKED)
def test_rights_are_asked_by_name(running: emulator.Running, what: str) -> None:
    """A call needs its own action, on the resource that AWS asks about; both are enough."""
    service, operation, words, action, resource = ASKED[what]
    iam, user = client(running, "iam"), re.sub("[^a-z]", "-", what)
    iam.create_user(UserName=user)
    key = iam.create_access_key(UserName=user)["AccessKey"]
    aws = client(running, service, key["AccessKeyId"], key["SecretAccessKey"])
    with pytest.raises(ClientError, match=f"is not authorized to perform: {action}"):
        getattr(aws, operation)(**words)
    arn = f"arn:aws:{service}:eu-west-1:{ACCOUNT}:{resource}"
    statement = {"Effect": "Allow", "Action": action, "Resource": arn}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName=user, PolicyName="one", PolicyDocument=policy)
    code = ""
    try:
        getattr(aws, operation)(**words)
    except ClientError as missing:  # AWS may answer that there is no such thing
        code = missing.response["Error"]["Code"]
    assert "AccessDenied" not in code


def test_missing_object_is_said_to_be_so_to_who_may_list(running: emulator.Running) -> None:
    """Without the right to list the bucket, an object that is not there is denied, as on AWS."""
    iam, s3 = client(running, "iam"), client(running, "s3")
    s3.create_bucket(Bucket="listed", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    iam.create_user(UserName="reader")
    key = iam.create_access_key(UserName="reader")["AccessKey"]
    reader = client(running, "s3", key["AccessKeyId"], key["SecretAccessKey"])
    for action, resource, code in (
        ("s3:GetObject", "arn:aws:s3:::listed/*", "AccessDenied"),
        ("s3:ListBucket", "arn:aws:s3:::listed", "NoSuchKey"),
    ):
        statement = {"Effect": "Allow", "Action": action, "Resource": resource}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.put_user_policy(UserName="reader", PolicyName=action.partition(":")[2], PolicyDocument=policy)
        with pytest.raises(ClientError) as fault:
            reader.get_object(Bucket="listed", Key="k")
        assert fault.value.response["Error"]["Code"] == code
