"""The address: a Function URL of the alias that serves, or an HTTP API or load balancer in front of it; and who may call it.

Since October 2025 a call needs both ``lambda:InvokeFunctionUrl`` and, by way of the URL, ``lambda:InvokeFunction``.
https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ml_delivery.targets.lambda_function import http_api, load_balancer, settings
from ml_delivery.targets.lambda_function.alias import ALIAS

if TYPE_CHECKING:
    from ml_delivery.cloud import Cloud
    from ml_delivery.cloudformation import Tree
    from ml_delivery.keys import Environment, Http

__all__ = ["address", "problems", "template"]

# What a page may send besides the headers that browsers always allow: JSON, and what a signed request has.
HEADERS = ["authorization", "content-type", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token"]
PARAMETERS = {name: {"Type": "String"} for name in ("Name", "Environment")}


def problems(environment: Environment) -> list[str]:
    """What is wrong with ``[http]`` for the front that it names."""
    http, seconds = environment.http, settings.of(environment).timeout
    if http.front == "http-api":
        return http_api.problems(http, seconds)
    if http.front == "load-balancer":
        return load_balancer.problems(http)
    return [
        f'http.{name}: only another front has one; write front = "http-api" or "load-balancer"' for name in http.named()
    ]


def template(environment: Environment, service: str) -> Tree:
    """The stack of the address, of an environment of ``service``; empty for none."""
    http, alias = environment.http, {"Fn::Sub": f"${{Name}}-${{Environment}}:{ALIAS}"}
    if http.front == "none":
        return {}
    if http.front == "load-balancer":
        name = f"{service}-{environment.name}"
        resources, outputs = load_balancer.template(http, name, alias, HEADERS, settings.of(environment).timeout)
    else:
        # https://docs.aws.amazon.com/lambda/latest/api/API_Cors.html; an HTTP API takes the same.
        cors: Tree = {}
        if http.origins:
            cors = {"AllowOrigins": [*http.origins], "AllowMethods": ["*"], "AllowHeaders": HEADERS, "MaxAge": 300}
        make = http_api.template if http.front == "http-api" else _function_url
        resources, outputs = make(http, alias, cors)
    if http.zone:
        zone = (load_balancer if http.front == "load-balancer" else http_api).ZONE
        record: Tree = {
            "HostedZoneId": http.zone,
            "Name": http.domain,
            "Type": "A",
            "AliasTarget": {"DNSName": outputs["Alias"]["Value"], "HostedZoneId": zone},
        }
        resources["Record"] = {"Type": "AWS::Route53::RecordSet", "Properties": record}
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "The address of one environment of a service, and who may call it.",
        "Parameters": PARAMETERS,
        "Resources": resources,
        "Outputs": outputs,
    }


def _function_url(http: Http, alias: dict[str, str], cors: Tree) -> tuple[Tree, Tree]:
    kind = {"open": "NONE", "iam": "AWS_IAM"}[http.access]
    properties: Tree = {
        "TargetFunctionArn": {"Fn::Sub": "${Name}-${Environment}"},
        "Qualifier": ALIAS,
        "AuthType": kind,
        **({"Cors": cors} if cors else {}),
    }
    resources: Tree = {"Url": {"Type": "AWS::Lambda::Url", "Properties": properties}}
    for number, caller in enumerate(["*"] if http.access == "open" else http.callers, 1):
        to = {"FunctionName": alias, "Principal": caller}
        url = {**to, "Action": "lambda:InvokeFunctionUrl", "FunctionUrlAuthType": kind}
        function = {**to, "Action": "lambda:InvokeFunction", "InvokedViaFunctionUrl": True}
        resources[f"Url{number}"] = {"Type": "AWS::Lambda::Permission", "Properties": url}
        resources[f"Function{number}"] = {"Type": "AWS::Lambda::Permission", "Properties": function}
    return resources, {"Address": {"Value": {"Fn::GetAtt": ["Url", "FunctionUrl"]}}}


def address(cloud: Cloud, outputs: dict[str, str]) -> str:
    """The URL as this machine reaches it: the emulator serves it on loopback, below a path that names it.

    Args:
        cloud: the environment's.
        outputs: those of the address's stack; empty for none.
    """
    if not outputs or not cloud.endpoint:
        return outputs.get("Address", "")
    if api := outputs.get("Api"):
        return f"{cloud.endpoint}/_aws/execute-api/{_label(api)}/$default/"
    if balancer := outputs.get("Alias"):
        return f"{cloud.endpoint}/_alb/{balancer.partition('.')[0]}/"
    return f"{cloud.endpoint}/_aws/lambda-url/{_label(outputs['Address'])}/"


def _label(url: str) -> str:
    return urlsplit(url).netloc.partition(".")[0]
