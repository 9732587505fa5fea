"""Contracts of what manages: IAM, STS, CloudWatch and its logs, CodeBuild, SNS, API Gateway."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from contract import Account, Function, contract, refused

ERROR = "ValidationError"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


def role(at: Account, **words: Any) -> str:
    iam, name = at.client("iam"), words.pop("RoleName", at.name())
    iam.create_role(RoleName=name, **{"AssumeRolePolicyDocument": json.dumps(TRUST), **words})
    at.undo.append(lambda: iam.delete_role(RoleName=name))
    return str(name)


def policy(characters: int) -> str:
    """A policy with as many characters without white space, which IAM does not count."""
    statement = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": ["arn:aws:s3:::contract/"]}
    document: dict[str, Any] = {"Version": "2012-10-17", "Statement": [statement]}
    statement["Resource"][0] += "x" * (characters - len(json.dumps(document, separators=(",", ":"))))  # type: ignore[index]
    return json.dumps(document, indent=4)


@contract("iam.role-name")
def role_name(at: Account) -> None:
    """64 letters, digits and +=,.@-_."""
    role(at, RoleName=at.name().ljust(64, "x"))
    for wrong in ("x" * 65, "contract role", "contract/role", "contract:role"):
        refused(lambda wrong=wrong: role(at, RoleName=wrong), ERROR)  # type: ignore[misc]


@contract("iam.role-inline")
def role_inline(at: Account) -> None:
    """10,240 characters of all inline policies of a role together, without white space."""
    iam, name = at.client("iam"), role(at)

    def put(policy_name: str, characters: int) -> None:
        iam.put_role_policy(RoleName=name, PolicyName=policy_name, PolicyDocument=policy(characters))

    at.undo.append(lambda: [iam.delete_role_policy(RoleName=name, PolicyName=p) for p in ("a", "b")])
    put("a", 10_000)
    put("a", 10_100)  # in its place
    put("b", 140)
    refused(lambda: put("b", 141), "LimitExceeded")


@contract("iam.policy-size")
def policy_size(at: Account) -> None:
    """6,144 characters of a managed policy, without white space."""
    iam, name = at.client("iam"), at.name()
    made = iam.create_policy(PolicyName=name, PolicyDocument=policy(6144))["Policy"]["Arn"]
    at.undo.append(lambda: iam.delete_policy(PolicyArn=made))
    refused(lambda: iam.create_policy(PolicyName=at.name(), PolicyDocument=policy(6145)), "LimitExceeded")


@contract("iam.policy-versions")
def policy_versions(at: Account) -> None:
    """Five versions of a managed policy."""
    iam = at.client("iam")
    made = iam.create_policy(PolicyName=at.name(), PolicyDocument=policy(200))["Policy"]["Arn"]
    at.undo.append(lambda: iam.delete_policy(PolicyArn=made))
    at.undo += [lambda v=v: iam.delete_policy_version(PolicyArn=made, VersionId=f"v{v}") for v in (2, 3, 4, 5)]  # type: ignore[misc]
    for size in range(201, 205):
        iam.create_policy_version(PolicyArn=made, PolicyDocument=policy(size))
    refused(lambda: iam.create_policy_version(PolicyArn=made, PolicyDocument=policy(210)), "LimitExceeded")


@contract("iam.role-attached")
def role_attached(at: Account) -> None:
    """Ten managed policies of a role."""
    iam, name = at.client("iam"), role(at)
    arns = [iam.create_policy(PolicyName=at.name(), PolicyDocument=policy(200))["Policy"]["Arn"] for _ in range(11)]
    at.undo += [lambda arn=arn: iam.delete_policy(PolicyArn=arn) for arn in arns]  # type: ignore[misc]
    at.undo += [lambda arn=arn: iam.detach_role_policy(RoleName=name, PolicyArn=arn) for arn in arns[:10]]  # type: ignore[misc]
    for arn in arns[:10]:
        iam.attach_role_policy(RoleName=name, PolicyArn=arn)
    refused(lambda: iam.attach_role_policy(RoleName=name, PolicyArn=arns[10]), "LimitExceeded")


@contract("iam.trust-size")
def trust_size(at: Account) -> None:
    """2,048 characters of a role's trust policy, without white space."""
    subjects = [f"repo:contract/{i:05}:ref:refs/heads/main" for i in range(60)]
    condition = {"StringLike": {"aws:PrincipalTag/contract": subjects}}
    document = {**TRUST, "Statement": [{**TRUST["Statement"][0], "Condition": condition}]}  # type: ignore[index,dict-item]
    refused(lambda: role(at, AssumeRolePolicyDocument=json.dumps(document)), "LimitExceeded")


@contract("iam.role-description")
def role_description(at: Account) -> None:
    """1,000 characters."""
    refused(lambda: role(at, Description="x" * 1001), ERROR)


@contract("iam.role-session")
def role_session(at: Account) -> None:
    """Sessions of one to twelve hours."""
    for seconds in (3599, 43201):
        refused(lambda seconds=seconds: role(at, MaxSessionDuration=seconds), ERROR)  # type: ignore[misc]


@contract("iam.role-tags")
def role_tags(at: Account) -> None:
    """50 tags."""
    tags = [{"Key": f"k{i}", "Value": "v"} for i in range(51)]
    refused(lambda: role(at, Tags=tags), ERROR, "LimitExceeded", "InvalidInput")


@contract("iam.policy-document")
def policy_document(at: Account) -> None:
    """A policy is a JSON document of the policy language."""
    iam, name = at.client("iam"), role(at)
    for wrong in ("{", '{"Version": "2012-10-17", "Statement": [{"Effect": "Maybe", "Action": "*", "Resource": "*"}]}'):
        words = {"RoleName": name, "PolicyName": "a", "PolicyDocument": wrong}
        refused(lambda words=words: iam.put_role_policy(**words), "MalformedPolicyDocument")  # type: ignore[misc]


@contract("sts.session")
def session(at: Account) -> None:
    """Sessions of 15 minutes at least, with a name of 2 to 64 characters."""
    assume, arn = at.client("sts").assume_role, at.role
    refused(lambda: assume(RoleArn=arn, RoleSessionName="contract", DurationSeconds=899), ERROR)
    refused(lambda: assume(RoleArn=arn, RoleSessionName="x"), ERROR)
    refused(lambda: assume(RoleArn=arn, RoleSessionName="x" * 65), ERROR)
    refused(lambda: assume(RoleArn=arn, RoleSessionName="a b"), ERROR)


# -- logs, metrics, alarms


def group(at: Account) -> str:
    logs, name = at.client("logs"), f"/contract/{at.name()}"
    logs.create_log_group(logGroupName=name)
    at.undo.append(lambda: logs.delete_log_group(logGroupName=name))
    logs.create_log_stream(logGroupName=name, logStreamName="s")
    return name


@contract("logs.event-size")
def event_size(at: Account) -> None:
    """1 MB of an event, and of a request with 26 bytes more for each of its events; no empty event."""
    logs, name = at.client("logs"), group(at)

    def put(*messages: str) -> None:
        events = [{"timestamp": int(time.time() * 1000), "message": text} for text in messages]
        logs.put_log_events(logGroupName=name, logStreamName="s", logEvents=events)

    put("x" * (2**20 - 26))
    codes = ("InvalidParameterException", "ValidationException")
    refused(lambda: put("x" * (2**20 - 25)), *codes)
    refused(lambda: put(*["x" * 2**18] * 4), *codes)
    refused(lambda: put(""), *codes)
    refused(lambda: put(*["x"] * 10_001), *codes)


@contract("logs.retention")
def retention(at: Account) -> None:
    """Logs are kept for one of the numbers of days that the API lists."""
    logs, name = at.client("logs"), group(at)
    logs.put_retention_policy(logGroupName=name, retentionInDays=30)
    refused(lambda: logs.put_retention_policy(logGroupName=name, retentionInDays=31), "InvalidParameterException")


@contract("logs.group-name")
def group_name(at: Account) -> None:
    """512 letters, digits and _-/.#."""
    logs = at.client("logs")
    for wrong in ("x" * 513, "contract group", "contract:group"):
        refused(lambda wrong=wrong: logs.create_log_group(logGroupName=wrong), "InvalidParameterException")  # type: ignore[misc]


@contract("cloudwatch.metric")
def metric(at: Account) -> None:
    """30 dimensions, 1,000 metrics in a request, names of 255 characters, no namespace that begins with AWS/."""
    put = at.client("cloudwatch").put_metric_data
    codes = (ERROR, "InvalidParameterValue", "InvalidParameterCombination")
    one = {"MetricName": "contract", "Value": 1.0}
    many = [{"Name": f"d{i}", "Value": "x"} for i in range(31)]
    refused(lambda: put(Namespace="contract", MetricData=[{**one, "Dimensions": many}]), *codes)
    refused(lambda: put(Namespace="contract", MetricData=[{**one, "MetricName": "x" * 256}]), *codes)
    refused(lambda: put(Namespace="contract", MetricData=[one] * 1001), *codes)
    refused(lambda: put(Namespace="AWS/contract", MetricData=[one]), *codes)


@contract("cloudwatch.alarm")
def alarm(at: Account) -> None:
    """A name of 255 characters, and periods that are 10, 20, 30 or a multiple of 60 seconds."""
    put = at.client("cloudwatch").put_metric_alarm
    words: dict[str, Any] = {
        "ComparisonOperator": "GreaterThanThreshold",
        "EvaluationPeriods": 1,
        "MetricName": "contract",
        "Namespace": "contract",
        "Statistic": "Sum",
        "Threshold": 1.0,
    }
    codes = (ERROR, "InvalidParameterValue", "InvalidParameterCombination")
    refused(lambda: put(AlarmName="x" * 256, Period=60, **words), *codes)
    refused(lambda: put(AlarmName=at.name(), Period=45, **words), *codes)
    refused(lambda: put(AlarmName=at.name(), Period=3600, **{**words, "EvaluationPeriods": 200}), *codes)
    refused(lambda: put(AlarmName=at.name(), Period=60, **{**words, "ComparisonOperator": "Above"}), *codes)


@contract("cloudwatch.dashboard-name")
def dashboard_name(at: Account) -> None:
    """255 letters, digits, dashes and underscores."""
    put = at.client("cloudwatch").put_dashboard
    for wrong in ("x" * 256, "contract board", "contract.board"):
        words = {"DashboardName": wrong, "DashboardBody": '{"widgets": []}'}
        refused(lambda words=words: put(**words), "InvalidParameterInput", "InvalidParameterValue", ERROR)  # type: ignore[misc]


# -- others


@contract("sns.message")
def message(at: Account) -> None:
    """256 KB of a message, 100 characters of a subject."""
    sns = at.client("sns")
    topic = sns.create_topic(Name=at.name())["TopicArn"]
    at.undo.append(lambda: sns.delete_topic(TopicArn=topic))
    sns.publish(TopicArn=topic, Message="x" * 262_144, Subject="x" * 99)
    refused(lambda: sns.publish(TopicArn=topic, Message="x" * 262_145), "InvalidParameter")
    refused(lambda: sns.publish(TopicArn=topic, Message="x", Subject="x" * 101), "InvalidParameter")


@contract("codebuild.project")
def project(at: Account) -> None:
    """2 to 150 letters, digits, dashes and underscores; builds of 5 to 2,160 minutes."""
    create_project = at.client("codebuild").create_project
    words: dict[str, Any] = {
        "source": {"type": "NO_SOURCE", "buildspec": "version: 0.2"},
        "artifacts": {"type": "NO_ARTIFACTS"},
        "environment": {
            "type": "LINUX_CONTAINER",
            "image": "aws/codebuild/standard:7.0",
            "computeType": "BUILD_GENERAL1_SMALL",
        },
        "serviceRole": at.role,
    }
    for wrong in ("x", "contract project", "_contract", "x" * 256):
        refused(lambda wrong=wrong: create_project(name=wrong, **words), "InvalidInputException")  # type: ignore[misc]
    for minutes in (4, 2161):
        refused(  # type: ignore[misc]
            lambda minutes=minutes: create_project(name=at.name(), timeoutInMinutes=minutes, **words),
            "InvalidInputException",
        )


def behind_api(at: Account) -> tuple[Function, Callable[[str], str]]:
    """A function that answers its path, behind the stages ``contract`` and ``$default`` of an API that may not call it yet."""
    made = Function(at, "def handler(event, context): return event['rawPath']")
    api = at.client("apigatewayv2")
    arn = made.aws.get_function_configuration(FunctionName=made.name)["FunctionArn"]
    found = api.create_api(Name=at.name(), ProtocolType="HTTP")
    at.undo.append(lambda: api.delete_api(ApiId=found["ApiId"]))
    words = {"IntegrationType": "AWS_PROXY", "IntegrationUri": arn, "PayloadFormatVersion": "2.0"}
    integration = api.create_integration(ApiId=found["ApiId"], **words)["IntegrationId"]
    api.create_route(ApiId=found["ApiId"], RouteKey="ANY /v1/{proxy+}", Target=f"integrations/{integration}")
    for one in ("contract", "$default"):
        api.create_stage(ApiId=found["ApiId"], StageName=one, AutoDeploy=True)
    host = f"{found['ApiId']}.execute-api.{'localhost' if at.endpoint else f'{at.region}.amazonaws.com'}"
    time.sleep(0 if at.endpoint else 5)

    def ask(path: str) -> str:
        request = urllib.request.Request(f"{at.endpoint or f'https://{host}'}{path}", headers={"Host": host})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return str(answer.read().decode().strip('"'))

    return made, ask


def permit(made: Function) -> None:
    """Let API Gateway call it."""
    words = {"Action": "lambda:InvokeFunction", "Principal": "apigateway.amazonaws.com"}
    made.aws.add_permission(FunctionName=made.name, StatementId="contract", **words)


@contract("apigateway.stage", runs=True)
def stage(at: Account) -> None:
    """A named stage is part of the path that a function sees; the default stage is not."""
    made, ask = behind_api(at)
    permit(made)
    for path in ("/contract/v1/answer", "/v1/answer"):
        assert ask(path) == path


@contract("apigateway.permission", runs=True)
def permission(at: Account) -> None:
    """Until the function's policy lets API Gateway call it, the API answers with 500."""
    made, ask = behind_api(at)
    with pytest.raises(urllib.error.HTTPError, match="500"):
        ask("/v1/answer")
    permit(made)
    assert ask("/v1/answer") == "/v1/answer"
