"""The address: a Function URL of the alias that serves, and who may call it.

Since October 2025 a call needs both ``lambda:InvokeFunctionUrl`` and, by way of the URL, ``lambda:InvokeFunction``.
https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ml_delivery.targets.lambda_function.alias import ALIAS

if TYPE_CHECKING:
    from ml_delivery.cloud import Cloud
    from ml_delivery.cloudformation import Tree
    from ml_delivery.keys import Http

__all__ = ["address", "template"]

# What a page may send besides the headers that browsers always allow: JSON, and what a signed request has.
HEADERS = ["authorization", "content-type", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token"]
PARAMETERS = {name: {"Type": "String"} for name in ("Name", "Environment")}


def template(http: Http) -> Tree:
    """The stack of the address; empty for none."""
    if http.front == "none":
        return {}
    kind = {"open": "NONE", "iam": "AWS_IAM"}[http.access]
    properties: Tree = {
        "TargetFunctionArn": {"Fn::Sub": "${Name}-${Environment}"},
        "Qualifier": ALIAS,
        "AuthType": kind,
    }
    if http.origins:
        # https://docs.aws.amazon.com/lambda/latest/api/API_Cors.html
        properties["Cors"] = {
            "AllowOrigins": [*http.origins],
            "AllowMethods": ["*"],
            "AllowHeaders": HEADERS,
            "MaxAge": 300,
        }
    resources: Tree = {"Url": {"Type": "AWS::Lambda::Url", "Properties": properties}}
    for number, caller in enumerate(["*"] if http.access == "open" else http.callers, 1):
        to = {"FunctionName": {"Fn::Sub": f"${{Name}}-${{Environment}}:{ALIAS}"}, "Principal": caller}
        url = {**to, "Action": "lambda:InvokeFunctionUrl", "FunctionUrlAuthType": kind}
        function = {**to, "Action": "lambda:InvokeFunction", "InvokedViaFunctionUrl": True}
        resources[f"Url{number}"] = {"Type": "AWS::Lambda::Permission", "Properties": url}
        resources[f"Function{number}"] = {"Type": "AWS::Lambda::Permission", "Properties": function}
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "The address of one environment of a service, and who may call it.",
        "Parameters": PARAMETERS,
        "Resources": resources,
        "Outputs": {"Address": {"Value": {"Fn::GetAtt": ["Url", "FunctionUrl"]}}},
    }


def address(cloud: Cloud, made: str) -> str:
    """The URL as this machine reaches it: the emulator serves it on loopback, below a path that names it."""
    if not made or not cloud.endpoint:
        return made
    name = urlsplit(made).netloc.partition(".")[0]
    return f"{cloud.endpoint}/_aws/lambda-url/{name}/"
