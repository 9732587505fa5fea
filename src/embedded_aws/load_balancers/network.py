"""What AWS refuses when a load balancer or its target is made: subnets in one zone, and a function that may not be called.

https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateLoadBalancer.html and
https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_RegisterTargets.html
ministack accepts both. A subnet that does not exist here is of the account on AWS, which a rehearsal does not see.
"""

from __future__ import annotations

from typing import Any

from embedded_aws.aws_lambda.grants import granted
from embedded_aws.load_balancers.calls import SERVICE

NOT_PERMITTED = "elasticloadbalancing principal does not have permission to invoke {} from target group {}"


def patch() -> None:
    """Check both in the API's operations."""
    from ministack.services import alb

    create, subnets, register = alb._create_lb, alb._set_subnets, alb._register_targets

    def created(parameters: Any) -> Any:
        given = alb._parse_member_list(parameters, "Subnets")
        mapped = "SubnetMappings.member.{}.SubnetId"
        while one := alb._p(parameters, mapped.format(len(given) + 1)):
            given.append(one)
        wrong = few_zones(given) if alb._p(parameters, "Type", "application") == "application" else ""
        return alb._error("ValidationError", wrong) if wrong else create(parameters)

    def moved(parameters: Any) -> Any:
        wrong = few_zones(alb._parse_member_list(parameters, "Subnets"))
        return alb._error("ValidationError", wrong) if wrong else subnets(parameters)

    def registered(parameters: Any) -> Any:
        group = alb._p(parameters, "TargetGroupArn")
        wrong = not_permitted(group, [one["Id"] for one in alb._parse_targets_param(parameters)])
        return alb._error("AccessDenied", wrong, 403) if wrong else register(parameters)

    alb._ACTION_MAP |= {"CreateLoadBalancer": created, "SetSubnets": moved, "RegisterTargets": registered}


def few_zones(subnets: list[str]) -> str:
    """Why an Application Load Balancer can't be in these subnets; empty if it can."""
    from ministack.services import ec2

    ec2._ensure_defaults_initialized()
    zones = [ec2._subnets[one]["AvailabilityZone"] if one in ec2._subnets else one for one in subnets]
    if len(set(zones)) < 2:
        return "At least two subnets in two different Availability Zones must be specified"
    if len(set(zones)) < len(zones):
        return "A load balancer cannot be attached to multiple subnets in the same Availability Zone"
    return ""


def not_permitted(group: str, functions: list[str]) -> str:
    """Why a function can't be a target of the target group; empty if all can, or it has other targets."""
    from ministack.services import alb

    if alb._tgs.get(group, {}).get("TargetType") != "lambda":
        return ""
    return next((NOT_PERMITTED.format(one, group) for one in functions if not granted(one, SERVICE, group)), "")
