"""An Application Load Balancer in front of the alias that serves: HTTPS alone, at a domain, in a VPC that exists.

https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ml_delivery.cloudformation import Tree
    from ml_delivery.keys import Http

__all__ = ["ZONE", "problems", "template"]

# TLS 1.2 and 1.3; the default also has 1.0.
# https://docs.aws.amazon.com/elasticloadbalancing/latest/application/describe-ssl-policies.html
TLS = "ELBSecurityPolicy-TLS13-1-2-2021-06"
METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
IDLE = 60  # seconds without a byte on a connection, unless the function may take longer
GROUP = 32  # characters of a target group's name
ZONE = {"Fn::GetAtt": ["Balancer", "CanonicalHostedZoneID"]}  # of the name that the domain leads to


def problems(http: Http) -> list[str]:
    """What is wrong with ``[http]`` for a load balancer."""
    found = []
    if http.access == "iam":
        found.append(
            "http.access: a load balancer checks no signatures; "
            'write access = "open", which answers everyone who reaches it, or front = "http-api"'
        )
    if http.callers:
        found.append("http.callers: a load balancer knows no accounts or roles; remove them")
    if not (http.domain and http.certificate):
        found.append(
            "http.domain, http.certificate: a load balancer has no certificate for its own name, and is not made for plain "
            "HTTP; write both"
        )
    if not http.vpc:
        found.append("http.vpc: a load balancer is in a VPC; write the id of that of its subnets")
    if len(set(http.subnets)) < 2 or len(set(http.subnets)) < len(http.subnets):
        found.append("http.subnets: AWS wants at least two, each in another zone; write them, none twice")
    if len(http.origins) > 1:
        found.append(
            'http.origins: a load balancer allows one, or all; write one, or ["*"], or let the service answer pages itself'
        )
    return found


def template(http: Http, name: str, alias: dict[str, str], headers: list[str], seconds: int) -> tuple[Tree, Tree]:
    """The resources, and the outputs ``Address``, at which it is called, and ``Alias``, what a DNS server has to name.

    Args:
        http: the settings.
        name: of the service and its environment.
        alias: the function with its alias, as CloudFormation substitutes it.
        headers: what pages may send.
        seconds: the function's timeout.
    """
    group = name if len(name) <= GROUP else f"{name[: GROUP - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    here = "${AWS::Region}:${AWS::AccountId}"
    function = {"Fn::Sub": f"arn:${{AWS::Partition}}:lambda:{here}:function:{alias['Fn::Sub']}"}
    # By its name, since the group that is to call the function can't be made before this: AWS refuses to register the target.
    source = {"Fn::Sub": f"arn:${{AWS::Partition}}:elasticloadbalancing:{here}:targetgroup/{group}/*"}
    balancer = _resource(
        "LoadBalancer",
        Type="application",
        Scheme=http.scheme,
        Subnets=[*http.subnets],
        SecurityGroups=[{"Fn::GetAtt": ["Firewall", "GroupId"]}],
        LoadBalancerAttributes=_pairs(
            {
                "idle_timeout.timeout_seconds": str(max(IDLE, seconds + 15)),  # 15: until a cold function has started
                "routing.http.drop_invalid_header_fields.enabled": "true",
            }
        ),
    )
    listener = _resource(
        "Listener",
        LoadBalancerArn={"Ref": "Balancer"},
        Port=443,
        Protocol="HTTPS",
        SslPolicy=TLS,
        Certificates=[{"CertificateArn": http.certificate}],
        DefaultActions=[{"Type": "forward", "TargetGroupArn": {"Ref": "Group"}}],
        ListenerAttributes=_pairs(_cors(http.origins, headers)),
    )
    resources: Tree = {
        "Firewall": {"Type": "AWS::EC2::SecurityGroup", "Properties": _firewall(http)},
        "Balancer": balancer,
        "Permission": {
            "Type": "AWS::Lambda::Permission",
            "Properties": {
                "FunctionName": alias,
                "Action": "lambda:InvokeFunction",
                "Principal": "elasticloadbalancing.amazonaws.com",
                "SourceArn": source,
            },
        },
        "Group": {
            **_resource(
                "TargetGroup",
                Name=group,
                TargetType="lambda",
                Targets=[{"Id": function}],
                # Otherwise of several cookies, or values of one query parameter, only the last one arrives.
                TargetGroupAttributes=_pairs({"lambda.multi_value_headers.enabled": "true"}),
            ),
            "DependsOn": ["Permission"],
        },
        "Listener": listener,
    }
    if http.origins:
        resources["Preflight"] = _resource(
            "ListenerRule",
            ListenerArn={"Ref": "Listener"},
            Priority=1,
            Conditions=[
                {"Field": "http-request-method", "HttpRequestMethodConfig": {"Values": ["OPTIONS"]}},
                {
                    "Field": "http-header",
                    "HttpHeaderConfig": {"HttpHeaderName": "Access-Control-Request-Method", "Values": ["*"]},
                },
            ],
            Actions=[{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "204"}}],
        )
    target = {"Fn::GetAtt": ["Balancer", "DNSName"]}
    return resources, {"Address": {"Value": f"https://{http.domain}/"}, "Alias": {"Value": target}}


def _firewall(http: Http) -> Tree:
    """HTTPS from everywhere that reaches it, and nothing outwards: the function is not called over its network."""
    return {
        "GroupDescription": {"Fn::Sub": "HTTPS to the load balancer of ${Name}-${Environment}"},
        "VpcId": http.vpc,
        "SecurityGroupIngress": [{"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "CidrIp": "0.0.0.0/0"}],
        # A rule that reaches nothing, in place of the one that AWS adds where there is none:
        # https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-ec2-securitygroup.html
        "SecurityGroupEgress": [{"IpProtocol": "-1", "CidrIp": "127.0.0.1/32"}],
    }


def _cors(origins: tuple[str, ...], headers: list[str]) -> dict[str, str]:
    """The attributes that let pages of these origins call it; empty values remove them.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/header-modification.html
    """
    values = {
        "origin": "".join(origins),
        "methods": METHODS if origins else "",
        "headers": ", ".join(headers) if origins else "",
    }
    found = {f"access_control_allow_{name}": value for name, value in values.items()}
    found["access_control_max_age"] = "300" if origins else ""
    return {f"routing.http.response.{name}.header_value": value for name, value in found.items()}


def _pairs(attributes: dict[str, str]) -> list[Tree]:
    return [{"Key": name, "Value": value} for name, value in attributes.items()]


def _resource(kind: str, **properties: Any) -> Tree:
    return {"Type": f"AWS::ElasticLoadBalancingV2::{kind}", "Properties": properties}
