"""Releases of one image on a cluster, which differ by their variables; users at the Gateway; and the roles of the delivery."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import podded
from clusters import Cluster
from emulated import client
from faults.harness import Service
from steady import Steady
from tiny import Tiny

from ml_delivery import emulator
from ml_delivery.keys import Deploy
from ml_delivery.release import delivery
from ml_delivery.targets.eks import access
from ml_delivery.targets.eks.client import Client, Tree
from ml_delivery.targets.eks.deployer import EksDeployer
from ml_delivery.targets.eks.names import Paths

KEEP = Deploy(keep=2, keep_days=0)
REQUEST = '[probe]\npaths = ["/readyz"]\n\n[[probe.requests]]\nmethod = "POST"\npath = "/asked"\n\n[promote]'
# Fails as its variables say: it does not start, needs too much memory, or is never ready.
BAD = {
    podded.CREATED: podded.CREATED
    + "    if os.environ.get('BAD') == 'raises':\n        raise ValueError('no such luck')\n"
    + "    if os.environ.get('BAD') == 'hungry':\n        bytearray(10**9)\n",
    '"200 OK"\n': '"200 OK"\n    if os.environ.get("BAD") == "unready" and path == "/readyz":\n        status = "503 Not Yet"\n',
}


class Podded(Service):
    """One built and pushed service, whose deploys take no build."""

    def __init__(self, tiny: Tiny, rules: Deploy = KEEP, **settings: int) -> None:
        podded.pod(tiny, "services")
        for old, new in BAD.items():
            tiny.replace("src/service/app.py", old, new)
        tiny.replace("pipeline.toml", "[promote]", REQUEST)
        known = dict(line.split(" = ") for line in podded.SETTINGS.splitlines())
        wanted = {**known, **settings}
        tiny.replace("pipeline.toml", podded.SETTINGS, "".join(f"{name} = {value}\n" for name, value in wanted.items()))
        tiny.commit()
        tiny.push()
        self.tiny, self.rules, self.name = tiny, rules, f"{tiny.name}-production"
        self._opened = tiny.open()
        self.running = emulator.up(tiny.root)
        self.cluster = Cluster(self.running, "services")
        self.paths = Paths(self.name)
        os.register_at_fork(after_in_child=self._forked)

    @property
    def deployer(self) -> EksDeployer:
        """A deployer with a connection of its own."""
        found = self.open().deployer
        assert isinstance(found, EksDeployer)
        return found

    @property
    def client(self) -> Client:
        """The cluster, as who is acting sees it."""
        return self.deployer.client

    @contextlib.contextmanager
    def acting(self, stage: str) -> Iterator[None]:
        """Be the delivery role of ``stage``."""
        admin, keys = self._opened, assumed(self.running, f"{self.name}-{stage}")
        with _variables({**keys, "PIPELINE_ENDPOINT": self.running.endpoint}):
            self._opened = delivery.open_delivery(self.tiny.config, "main", "embedded")
            self._opened.cloud.variables()  # the session keeps the credentials that it finds now
        try:
            yield
        finally:
            self._opened = admin


def assumed(running: emulator.Running, role: str) -> dict[str, str]:
    """Credentials of a role, which is made to trust its account for this."""
    trust = {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123456789012:root"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    client(running, "iam").update_assume_role_policy(RoleName=role, PolicyDocument=document)
    asked = {"RoleArn": f"arn:aws:iam::123456789012:role/{role}", "RoleSessionName": "test"}
    found = client(running, "sts").assume_role(**asked)["Credentials"]
    names = {
        "AWS_ACCESS_KEY_ID": "AccessKeyId",
        "AWS_SECRET_ACCESS_KEY": "SecretAccessKey",
        "AWS_SESSION_TOKEN": "SessionToken",
    }
    return {name: found[given] for name, given in names.items()}


@contextlib.contextmanager
def _variables(wanted: dict[str, str]) -> Iterator[None]:
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name in wanted:
            del os.environ[name]


@dataclass(frozen=True)
class Right:
    """One verb of a role in the cluster, on one kind of object."""

    group: str
    resource: str
    verb: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}"


def rights(service: Podded, stage: str) -> list[Right]:
    """All that the role of ``stage`` may do in the cluster."""
    return [
        Right(group, resource, verb)
        for rule in access.rules(service.open().environment, stage)
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]


@contextlib.contextmanager
def without(service: Podded, admin: Client, stage: str, right: Right) -> Iterator[None]:
    """The role lacks ``right`` meanwhile."""
    listed = rights(service, stage)

    def put(those: list[Right]) -> None:
        path = service.paths.group(access.RBAC, "roles", stage)
        found = admin.get(path)
        assert found
        rules = [{"apiGroups": [r.group], "resources": [r.resource], "verbs": [r.verb]} for r in those]
        admin.write("PUT", path, {**found, "rules": rules})
        time.sleep(0.1)  # until the API server's own watch has it

    put([one for one in listed if one != right])
    try:
        yield
    finally:
        put(listed)


class Callers(Steady):
    """Users at the Gateway, each request with a connection of its own."""

    def __init__(self, service: Podded, rate: float = 100.0) -> None:
        self._address = urlsplit(service.deployer.address({})).netloc
        super().__init__(service, rate, "/")

    def caller(self, service: Service, path: str) -> Callable[[], str]:
        def ask() -> str:
            connection = http.client.HTTPConnection(self._address, timeout=30)
            try:
                connection.request("GET", path)
                answer = connection.getresponse()
                text = answer.read()
                return f"{answer.status} {text[:200]!r}" if answer.status != 200 else ""
            except (OSError, http.client.HTTPException) as error:
                return f"{type(error).__name__}: {error}"
            finally:
                connection.close()

        return ask


def foreign(name: str) -> Tree:
    """A Deployment of another tool."""
    marks = {"app": name}
    pod = {"metadata": {"labels": marks}, "spec": {"containers": [{"name": "x", "image": "x"}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"replicas": 0, "selector": {"matchLabels": marks}, "template": pod},
    }


def quick(rules: Deploy = KEEP) -> Deploy:
    """The same rules with one step, watched for a second."""
    return replace(rules, strategy="canary", weight=50, pause=1, period=1, max_errors=20)
