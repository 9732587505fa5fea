"""A cluster of the embedded AWS for tests: tokens of IAM, its API, releases of an image, a gateway that splits traffic."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import signal
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from botocore.credentials import Credentials
from botocore.session import Session
from botocore.signers import RequestSigner
from emulated import client

from ml_delivery import emulator
from ml_delivery.waiting import wait

REGION = "eu-west-1"
NAME = "embedded"
SPACE = "/namespaces/default"
DEPLOYMENTS = f"/apis/apps/v1{SPACE}/deployments"
SERVICES = f"/api/v1{SPACE}/services"
GATEWAY_API = "/apis/gateway.networking.k8s.io/v1"
ROUTES = f"{GATEWAY_API}{SPACE}/httproutes"
GATEWAYS = f"{GATEWAY_API}{SPACE}/gateways"
TRUST = {"Effect": "Allow", "Principal": {"Service": "eks.amazonaws.com"}, "Action": "sts:AssumeRole"}


def until(holds: Callable[[], Any], *, what: str, seconds: float) -> Any:
    """Wait until that is true; what it is then."""
    return wait(lambda: holds() or None, what=what, seconds=seconds)


@dataclass
class Cluster:
    """EKS's cluster ``name``, as the user with this key sees it."""

    running: emulator.Running
    name: str = NAME
    key: str = ""
    secret: str = field(default="", repr=False)

    def create(self) -> None:
        role = client(self.running, "iam").create_role(
            RoleName=self.name, AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [TRUST]})
        )["Role"]["Arn"]
        client(self.running, "eks").create_cluster(name=self.name, roleArn=role, resourcesVpcConfig={})
        until(lambda: self.describe()["status"] != "CREATING", what=self.name, seconds=60)
        assert self.describe()["status"] == "ACTIVE"
        until(lambda: self.ask("/api/v1/nodes")[0] == 200, what="the creator's rights", seconds=30)

    def describe(self) -> dict[str, Any]:
        found: dict[str, Any] = client(self.running, "eks").describe_cluster(name=self.name)["cluster"]
        return found

    def home(self) -> Path:
        """The cluster's folder."""
        return Path(os.readlink(f"/proc/{self.running.pid}/cwd"), "kubernetes")

    def kill(self, server: str) -> None:
        """Kill a server of this cluster, which is started again."""
        for found in self.processes(server):
            os.kill(found, signal.SIGKILL)

    @contextlib.contextmanager
    def closed(self, *ports: int) -> Iterator[None]:
        """Let nothing on the node but its kubelet's port forwarding reach these ports of pods, as security groups can."""
        inside = ["nsenter", f"--net=/proc/{self.processes('kubelet')[0]}/ns/net", "iptables"]
        to = [
            "--out-interface",
            "cni0",
            "--protocol",
            "tcp",
            "--match",
            "multiport",
            "--dports",
            ",".join(map(str, ports)),
        ]
        new, kept = ["--syn", "--jump", "REJECT", "--reject-with", "icmp-host-prohibited"], ["--jump", "REJECT"]
        rules = [["OUTPUT", *to, *kept, "--reject-with", "tcp-reset"], ["OUTPUT", *to, *new]]
        for rule in rules:  # the last one is the first that is tried
            subprocess.run([*inside, "--insert", *rule], check=True)
        try:
            yield
        finally:
            for rule in rules:
                subprocess.run([*inside, "--delete", *rule], check=True)

    def processes(self, server: str) -> list[int]:
        """The processes of this cluster that run ``server``; those of others have other namespaces."""
        own = json.loads((self.home() / "cluster.json").read_text())["pid"]
        tree = subprocess.run(["ps", "-e", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
        rows = [(int(pid), int(up), words) for pid, up, words in (row.split(None, 2) for row in tree.splitlines())]
        mine = {own}
        for _ in rows:  # processes are listed in no order
            mine |= {pid for pid, up, _ in rows if up in mine}
        return [pid for pid, _, words in rows if pid in mine and f"{server} " in words]

    def reached(self) -> bool:
        """Whether the API server answers."""
        try:
            return self.ask("/readyz")[0] == 200
        except OSError:
            return False

    def token(self) -> str:
        """What ``aws eks get-token`` prints: https://github.com/kubernetes-sigs/aws-iam-authenticator#api-authorization-from-outside-a-cluster"""
        session = Session()
        keys = Credentials(self.key or self.running.access_key, self.secret or self.running.secret_key)
        events = session.get_component("event_emitter")
        signer = RequestSigner(session.get_service_model("sts").service_id, REGION, "sts", "v4", keys, events)
        request = {
            "method": "GET",
            "url": f"https://sts.{REGION}.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15",
            "body": {},
            "headers": {"x-k8s-aws-id": self.name},
            "context": {},
        }
        url = signer.generate_presigned_url(request, region_name=REGION, expires_in=60, operation_name="")
        return f"k8s-aws-v1.{base64.urlsafe_b64encode(url.encode()).decode().rstrip('=')}"

    def ask(self, path: str, document: Any = None, method: str = "", token: str = "") -> tuple[int, Any]:
        """A request to the API, a server-side apply if there is a document; its status and answer."""
        found = Cluster(self.running).describe()
        authority = base64.b64decode(found["certificateAuthority"]["data"]).decode()
        body = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(
            found["endpoint"] + path, data=body, method=method or ("PATCH" if body else "GET")
        )
        request.add_header("Authorization", f"Bearer {token or self.token()}")
        request.add_header("Content-Type", "application/apply-patch+yaml")
        try:
            with urllib.request.urlopen(
                request, context=ssl.create_default_context(cadata=authority), timeout=30
            ) as answer:
                status, text = answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read().decode()
        return status, json.loads(text) if text.startswith("{") else text

    def apply(self, path: str, document: dict[str, Any]) -> dict[str, Any]:
        document = {"metadata": {"name": path.rpartition("/")[2]}, **document}
        status, found = self.ask(f"{path}?fieldManager=tests&force=true", document)
        assert status < 300, found
        return dict(found)

    def release(self, name: str, image: str, replicas: int = 1, **variables: str) -> None:
        """A deployment and a service of the same name, whose pods answer with their name; it does not wait."""
        container = {
            "name": "service",
            "image": image,
            "env": [{"name": key, "value": value} for key, value in {"VERSION": name, **variables}.items()],
            "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
            "lifecycle": {"preStop": {"exec": {"command": ["/bin/sleep", "3"]}}},
        }
        pod = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}
        spec = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": pod}
        self.apply(f"{DEPLOYMENTS}/{name}", {"apiVersion": "apps/v1", "kind": "Deployment", "spec": spec})
        ports = [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]
        service = {"selector": {"app": name}, "ports": ports}
        self.apply(f"{SERVICES}/{name}", {"apiVersion": "v1", "kind": "Service", "spec": service})

    def answers(self, name: str) -> str:
        """What a release answers through the API's proxy, once a pod of it is ready."""
        path = f"{SERVICES}/{name}:http/proxy/"
        found: str = until(lambda: (a := self.ask(path))[0] == 200 and a[1], what=name, seconds=60)
        return found

    def gateway(self, name: str = "gw") -> str:
        """Make a gateway; its address."""
        head = {"apiVersion": "gateway.networking.k8s.io/v1"}
        spec = {"controllerName": "eks.amazonaws.com/alb"}
        self.apply(f"{GATEWAY_API}/gatewayclasses/alb", {**head, "kind": "GatewayClass", "spec": spec})
        listener = {"name": "http", "port": 80, "protocol": "HTTP"}
        wanted = {"gatewayClassName": "alb", "listeners": [listener]}
        self.apply(f"{GATEWAYS}/{name}", {**head, "kind": "Gateway", "spec": wanted})
        found = until(
            lambda: self.ask(f"{GATEWAYS}/{name}")[1].get("status", {}).get("addresses"), what=name, seconds=20
        )
        return str(found[0]["value"])

    def split(self, weights: dict[str, int], gateway: str = "gw", **rule: Any) -> list[dict[str, Any]]:
        """Split the gateway's traffic, and wait until that is in effect; the conditions then."""
        backends = [{"name": name, "port": 80, "weight": weight} for name, weight in weights.items()]
        spec = {"parentRefs": [{"name": gateway}], "rules": [{"backendRefs": backends, **rule}]}
        route = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "spec": spec}
        generation = self.apply(f"{ROUTES}/live-{gateway}", route)["metadata"]["generation"]

        def conditions() -> list[dict[str, Any]] | None:
            parents = self.ask(f"{ROUTES}/live-{gateway}")[1].get("status", {}).get("parents") or [{"conditions": []}]
            found: list[dict[str, Any]] = parents[0]["conditions"]
            return found if found and all(c["observedGeneration"] == generation for c in found) else None

        known: list[dict[str, Any]] = until(conditions, what="the route", seconds=20)
        return known


def get(address: str, path: str = "/", body: bytes | None = None, **headers: str) -> tuple[int, str]:
    """A request to a gateway; its status and answer."""
    connection = http.client.HTTPConnection(address, timeout=20)
    try:
        connection.request("GET" if body is None else "POST", path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()
