"""A stack's load balancer, listener and target group have what the template says, or are refused as by their operations.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-elasticloadbalancingv2-targetgroup.html
ministack's stacks leave out ``Targets``, and a new listener's ``ListenerAttributes``; and refuse nothing.
"""

from __future__ import annotations

from typing import Any

from embedded_aws.load_balancers.network import few_zones, not_permitted

NAME = "AWS::ElasticLoadBalancingV2::"


def patch() -> None:
    """Complete the three types."""
    from ministack.services import alb
    from ministack.services.cloudformation import provisioners

    kinds = provisioners._RESOURCE_HANDLERS
    balancer, group, listener = (kinds[NAME + kind] for kind in ("LoadBalancer", "TargetGroup", "Listener"))
    place, move = balancer["create"], balancer["update"]
    make, change, remove = group["create"], group["update"], group["delete"]
    listen = listener["create"]

    def placed(logical_id: str, properties: Any, stack: str) -> Any:
        _checked(properties)
        return place(logical_id, properties, stack)

    def moved(physical_id: str, old: Any, new: Any, *rest: Any) -> Any:
        _checked(new)
        return move(physical_id, old, new, *rest)

    def made(logical_id: str, properties: Any, stack: str) -> Any:
        found = make(logical_id, properties, stack)
        try:
            _register(alb, found[0], properties)
        except ValueError:
            remove(found[0], properties)
            raise
        return found

    def changed(physical_id: str, old: Any, new: Any, *rest: Any) -> Any:
        found = change(physical_id, old, new, *rest)
        _register(alb, found[0], new)
        return found

    def listening(logical_id: str, properties: Any, stack: str) -> Any:
        found = listen(logical_id, properties, stack)
        kept = alb._listener_attrs.setdefault(found[0], [])
        provisioners._elbv2_merge_attributes(kept, properties.get("ListenerAttributes"))
        return found

    kinds[NAME + "LoadBalancer"] = {**balancer, "create": placed, "update": moved}
    kinds[NAME + "TargetGroup"] = {**group, "create": made, "update": changed}
    kinds[NAME + "Listener"] = {**listener, "create": listening}


def _checked(properties: Any) -> None:
    subnets = properties.get("Subnets") or [one["SubnetId"] for one in properties.get("SubnetMappings") or []]
    if isinstance(subnets, str):  # as a parameter's list arrives
        subnets = subnets.split(",")
    if properties.get("Type", "application") == "application" and (wrong := few_zones(subnets)):
        raise ValueError(f"{wrong} (Service: ElasticLoadBalancingV2, Status Code: 400)")


def _register(alb: Any, group: str, properties: Any) -> None:
    """Replace the target group's targets by those of the template, if it names some."""
    if (targets := properties.get("Targets")) is None:
        return
    if wrong := not_permitted(group, [one["Id"] for one in targets]):
        raise ValueError(f"{wrong} (Service: ElasticLoadBalancingV2, Status Code: 403)")
    alb._targets[group] = [dict(one) for one in targets]
