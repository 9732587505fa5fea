"""What tests of SageMaker's endpoints share: a program that serves, its image, a role, a bucket."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError
from emulated import client
from made_images import Registry, pulls, role

from ml_delivery import emulator
from ml_delivery.waiting import wait

SERVE = """
import json, os, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
assert sys.argv[1:] == ["serve"], sys.argv
if os.environ.get("BROKEN") == "exits":
    sys.exit("no model")

class Handler(BaseHTTPRequestHandler):
    protocol_version, wbufsize = "HTTP/1.1", -1

    def do_GET(self):
        self.answer(503 if os.environ.get("BROKEN") == "unhealthy" else 200, {})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        print("asked", body)
        if body == "wait":
            time.sleep(0.2)
        if body == "exit":
            os._exit(3)
        attributes = self.headers.get("X-Amzn-SageMaker-Custom-Attributes")
        try:
            data = open("/opt/ml/model/data.txt").read()
        except OSError:
            data = ""
        if body == "health":
            import urllib.request
            data = str(urllib.request.urlopen(os.environ["AWS_ENDPOINT_URL"] + "/health", timeout=10).status)
        status = int(body) if body.isdigit() else 200
        found = {"name": os.environ.get("NAME"), "data": data, "attributes": attributes, "pid": os.getpid()}
        self.answer(status, found, attributes)

    def answer(self, status, document, attributes=None):
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if attributes:
            self.send_header("X-Amzn-SageMaker-Custom-Attributes", "answered " + attributes)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *words):
        pass

ThreadingHTTPServer(("0.0.0.0", 8080), Handler).serve_forever()
"""


class Place:
    """What endpoints need: an image, a role, clients; and short forms of the calls."""

    def __init__(self, running: emulator.Running, name: str = "serving") -> None:
        self.running = running
        self.aws, self.runtime = client(running, "sagemaker"), client(running, "sagemaker-runtime")
        registry = Registry(running, name)
        self.image = registry.push("1", SERVE)
        client(running, "s3").create_bucket(
            Bucket=f"{name}-data", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
        )
        self.bucket = f"{name}-data"
        reads = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{self.bucket}/models/*"}
        self.role = role(running, name, reads, *pulls(registry))

    def model(self, name: str, **container: Any) -> str:
        container = {"Image": self.image, "Environment": {"NAME": name}} | container
        self.aws.create_model(ModelName=name, ExecutionRoleArn=self.role, PrimaryContainer=container)
        return name

    def config(self, name: str, **weights: float) -> str:
        variants = [
            {
                "VariantName": model,
                "ModelName": model,
                "InitialInstanceCount": 1,
                "InstanceType": "ml.t2.medium",
                "InitialVariantWeight": weight,
            }
            for model, weight in weights.items()
        ]
        self.aws.create_endpoint_config(EndpointConfigName=name, ProductionVariants=variants)
        return name

    def endpoint(self, name: str, **weights: float) -> dict[str, Any]:
        self.aws.create_endpoint(EndpointName=name, EndpointConfigName=self.config(f"{name}-1", **weights))
        return self.settled(name)

    def settled(self, name: str) -> dict[str, Any]:
        """The endpoint, once it isn't being changed any more."""

        def done() -> dict[str, Any] | None:
            found: dict[str, Any] = self.aws.describe_endpoint(EndpointName=name)
            return found if found["EndpointStatus"] in ("InService", "Failed") else None

        return wait(done, what=name)

    def ask(self, name: str, body: str = "hello", **options: Any) -> dict[str, Any]:
        answer = self.runtime.invoke_endpoint(EndpointName=name, Body=body, ContentType="text/plain", **options)
        return {**json.loads(answer["Body"].read()), "variant": answer["InvokedProductionVariant"], "whole": answer}


def archive(**files: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as made:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"{name}.txt")
            entry.size = len(text)
            made.addfile(entry, io.BytesIO(text.encode()))
    return out.getvalue()


def message_of(call: Callable[[], Any]) -> str:
    with pytest.raises(ClientError) as fault:
        call()
    return str(fault.value.response["Error"]["Message"])
