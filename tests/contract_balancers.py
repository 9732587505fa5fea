"""Contracts of load balancers in front of functions."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from contract import Account, Function, contract, refused

from ml_delivery.waiting import wait

SERVICE = "elasticloadbalancing.amazonaws.com"
ANSWER = """
def handler(event, context):
    size = int((event.get("queryStringParameters") or {}).get("size", 0))
    return {"statusCode": 200, "headers": {"Content-Type": "text/plain"}, "body": "x" * size or str(len(event["body"]))}
"""
MEGABYTE = 1024 * 1024


def subnets(at: Account) -> list[dict[str, Any]]:
    """Those of the default VPC, one in each zone."""
    only = [{"Name": "default-for-az", "Values": ["true"]}]
    found: list[dict[str, Any]] = at.client("ec2").describe_subnets(Filters=only)["Subnets"]
    return found


def balancer(at: Account, *within: str) -> dict[str, Any]:
    elb = at.client("elbv2")
    made: dict[str, Any] = elb.create_load_balancer(Name=at.name(), Subnets=[*within])["LoadBalancers"][0]
    at.undo.append(lambda: elb.delete_load_balancer(LoadBalancerArn=made["LoadBalancerArn"]))
    return made


def group_of(at: Account) -> str:
    elb = at.client("elbv2")
    arn: str = elb.create_target_group(Name=at.name(), TargetType="lambda")["TargetGroups"][0]["TargetGroupArn"]
    at.undo.append(lambda: elb.delete_target_group(TargetGroupArn=arn))
    return arn


def permit(made: Function, group: str) -> None:
    """Let the load balancer call it for this target group."""
    words = {"Action": "lambda:InvokeFunction", "Principal": SERVICE, "SourceArn": group}
    made.aws.add_permission(FunctionName=made.name, StatementId="contract", **words)


def behind(at: Account) -> tuple[Function, Callable[..., int]]:
    """A function behind a load balancer, and what asks that; it returns the status."""
    elb, made = at.client("elbv2"), Function(at, ANSWER)
    found, group = balancer(at, *(one["SubnetId"] for one in subnets(at)[:2])), group_of(at)
    permit(made, group)
    arn = made.aws.get_function_configuration(FunctionName=made.name)["FunctionArn"]
    elb.register_targets(TargetGroupArn=group, Targets=[{"Id": arn}])
    actions = [{"Type": "forward", "TargetGroupArn": group}]
    words = {"LoadBalancerArn": found["LoadBalancerArn"], "Protocol": "HTTP", "Port": 80}
    listener = elb.create_listener(DefaultActions=actions, **words)["Listeners"][0]["ListenerArn"]
    at.undo.append(lambda: elb.delete_listener(ListenerArn=listener))
    url = f"http://{found['DNSName']}/"
    if at.endpoint:
        url = f"{at.endpoint}/_alb/{found['DNSName'].partition('.')[0]}/"
    else:
        elb.get_waiter("load_balancer_available").wait(LoadBalancerArns=[found["LoadBalancerArn"]])

    def ask(path: str = "", body: bytes | None = None) -> int:
        request = urllib.request.Request(f"{url}{path}", body, {"Content-Type": "text/plain"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def known() -> int | None:
        try:
            return ask()
        except urllib.error.URLError:
            return None

    wait(known, what=f"{found['DNSName']} in DNS", seconds=300)
    return made, ask


@contract("elb.zones")
def zones(at: Account) -> None:
    """Two subnets in two zones; one alone is refused."""
    found = [one["SubnetId"] for one in subnets(at)]
    balancer(at, *found[:2])
    refused(lambda: balancer(at, found[0]), "ValidationError")


@contract("elb.permission", runs=True)
def permission(at: Account) -> None:
    """A function that the load balancer may not call can't be its target; once it may not any more, the answer is 502."""
    made, group = Function(at, ANSWER), group_of(at)
    target = [{"Id": made.aws.get_function_configuration(FunctionName=made.name)["FunctionArn"]}]
    refused(lambda: at.client("elbv2").register_targets(TargetGroupArn=group, Targets=target), "AccessDenied")
    permit(made, f"{group.rpartition('/')[0]}/*")  # by its name, as a stack must
    at.client("elbv2").register_targets(TargetGroupArn=group, Targets=target)
    other, ask = behind(at)
    assert ask() == 200
    other.aws.remove_permission(FunctionName=other.name, StatementId="contract")
    assert ask() == 502


@contract("elb.request", runs=True)
def request_size(at: Account) -> None:
    """1 MB of the body; more is refused with 413."""
    _, ask = behind(at)
    assert ask(body=b"x" * MEGABYTE) == 200
    assert ask(body=b"x" * (MEGABYTE + 1)) == 413


@contract("elb.answer", runs=True)
def answer_size(at: Account) -> None:
    """1 MB of the answer's JSON; more is a bad gateway."""
    _, ask = behind(at)
    assert ask(f"?size={MEGABYTE - 1024}") == 200
    assert ask(f"?size={MEGABYTE}") == 502
