"""A function behind a load balancer of the embedded AWS, and requests to it exactly as they are written."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

from emulated import Function, client

from ml_delivery import emulator

SERVICE = "elasticloadbalancing.amazonaws.com"
ECHO = """
import json
def handler(event, context):
    return {"statusCode": 200, "multiValueHeaders": {"Content-Type": ["application/json"]}, "body": json.dumps(event)}
"""
SUBNETS = ["subnet-00000001", "subnet-00000002"]


class Balanced:
    """A load balancer whose only target is a function with this ``code``; ``many``: with multi-value headers."""

    def __init__(self, running: emulator.Running, name: str, code: str = ECHO, *, many: bool = True) -> None:
        self.name, self.function = name, Function(running, name, code)
        self.aws = client(running, "elbv2")
        self.arn = self.function.settle()["FunctionArn"]
        words = {"SecurityGroups": ["sg-00000001"], "Scheme": "internal"}
        made = self.aws.create_load_balancer(Name=name, Subnets=SUBNETS, **words)["LoadBalancers"][0]
        self.balancer, label = made["LoadBalancerArn"], made["DNSName"].partition(".")[0]
        self.group = self.aws.create_target_group(Name=name, TargetType="lambda")["TargetGroups"][0]["TargetGroupArn"]
        self.permit()
        self.register()
        self.attribute("lambda.multi_value_headers.enabled", "true" if many else "false")
        action = {"Type": "forward", "TargetGroupArn": self.group}
        words = {
            "Protocol": "HTTPS",
            "Port": 443,
            "Certificates": [{"CertificateArn": "arn:aws:acm:x:1:certificate/y"}],
        }
        self.aws.create_listener(LoadBalancerArn=self.balancer, DefaultActions=[action], **words)
        self.host, self.prefix = urlsplit(running.endpoint).netloc, f"/_alb/{label}"

    def permit(self) -> None:
        words = {"Action": "lambda:InvokeFunction", "Principal": SERVICE, "SourceArn": self.group}
        self.function.aws.add_permission(FunctionName=self.function.name, StatementId="balancer", **words)

    def forbid(self) -> None:
        self.function.aws.remove_permission(FunctionName=self.function.name, StatementId="balancer")

    def register(self) -> None:
        self.aws.register_targets(TargetGroupArn=self.group, Targets=[{"Id": self.arn}])

    def attribute(self, name: str, value: str) -> None:
        self.aws.modify_target_group_attributes(TargetGroupArn=self.group, Attributes=[{"Key": name, "Value": value}])

    def ask(
        self, path: str = "/", method: str = "GET", body: bytes = b"", headers: tuple[tuple[str, str], ...] = ()
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """The status, the headers and the body of what is answered."""
        connection = http.client.HTTPConnection(self.host, timeout=30)
        try:
            connection.putrequest(method, f"{self.prefix}{path}", skip_accept_encoding=True)
            for name, value in (*headers, *([("Content-Length", str(len(body)))] if body else [])):
                connection.putheader(name, value)
            connection.endheaders(body or None)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def event(self, *words: Any, **named: Any) -> dict[str, Any]:
        """The event of a request, of a function that answers with it."""
        status, _, body = self.ask(*words, **named)
        assert status == 200, body
        found: dict[str, Any] = json.loads(body)
        return found
