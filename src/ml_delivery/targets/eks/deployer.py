"""The deployer of one environment's namespace: a Deployment for each release, one object that splits traffic."""

from __future__ import annotations

import time
from functools import cached_property, partial
from typing import TYPE_CHECKING

from ml_delivery.containers import images
from ml_delivery.errors import Refused
from ml_delivery.records import RELEASE_VARIABLE, Answer, Live
from ml_delivery.release import foreign
from ml_delivery.target import Deployer
from ml_delivery.targets.eks import costs, forward, manifests, settings
from ml_delivery.targets.eks.client import MANAGER, PATIENCE, Client, Rejected, Tree, open_client
from ml_delivery.targets.eks.names import PORT, RELEASE, Paths
from ml_delivery.targets.eks.pods import Pods
from ml_delivery.targets.eks.route import routing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ml_delivery.records import Artifact, Context, Cost, Line, Numbers, Release, Removed, Settings, Traffic
    from ml_delivery.targets.eks.route import Routing

__all__ = ["EksDeployer"]

# Fluent Bit sends every few seconds, and CloudWatch shows a metric of a log within a minute or two; nothing documents how soon.
METRICS_DELAY = 120
# A cluster that adds nodes needs this long for one; the embedded one has the node that it has.
NODE_SECONDS = 240.0
CALL_SECONDS = 60.0


class EksDeployer(Deployer):
    """The namespace of one environment."""

    counts_since = False  # a pod counts from its start, and what it counted ends with it

    def __init__(self, context: Context) -> None:
        self.context = context
        self.own = settings.of(context.environment)
        self._paths = Paths(context.name)
        aws = context.cloud.name == "aws"
        self._node_seconds = NODE_SECONDS if aws else 0.0
        self.metrics_delay = METRICS_DELAY if aws else 0
        self.wakes_within = self._node_seconds + 2 * self.own.start + 60

    @cached_property
    def client(self) -> Client:
        """The cluster's client."""
        where = f"--branch {self.context.environment.branch}{self.context.where}"
        return open_client(self.context.cloud, self.own.cluster, where)

    @cached_property
    def routing(self) -> Routing:
        """What splits traffic in this cluster."""
        return routing(self.client, self.context.name)

    # -- what the state machine needs

    def live(self) -> Live | None:
        traffic = self.traffic()
        if traffic is None:
            return None
        found = self.client.get(self._paths.deployments(traffic.deployed))
        if found is None:
            raise Refused(
                f"{traffic.deployed} gets the traffic, but there is no Deployment of this name",
                next=f"invoke rollback {self.client.where}",
            )
        own, variables, digest = manifests.settings_of(found)
        number = found["metadata"].get("annotations", {}).get(RELEASE, "")
        number = number if variables.get(RELEASE_VARIABLE) == number else ""
        return Live(
            deployed=traffic.deployed,
            release=int(number) if number.isdigit() else 0,
            digest=digest,
            settings={**own, "routing": self.routing.name},
            variables=variables,
            traffic=traffic,
        )

    def settings(self) -> Settings:
        return {
            "cpu": self.own.cpu,
            "memory": self.own.memory,
            "replicas": self.own.replicas,
            "max_replicas": self.own.max_replicas,
            "start": self.own.start,
            "drain": self.own.drain,
            "repository": self.context.output("Repository"),
            "architecture": self.context.config.service.architecture,
            "routing": self.routing.name,
        }

    def stage(self, release: Release, dropped: tuple[str, ...]) -> str:
        deployed = f"{self.context.config.service.name}-{release.number}"
        self.routing.require()
        live = self.live()
        kept = {name: value for name, value in (live.variables if live else {}).items() if name not in dropped}
        there = self.client.get(self._paths.deployments(deployed))
        if there and there["metadata"].get("labels", {}).get("app.kubernetes.io/managed-by") != MANAGER:
            raise self._foreign(deployed)
        replicas = int(there["spec"].get("replicas", 0)) if there else 0
        wanted = manifests.deployment(
            self.context.config.service.name,
            self.context.name,
            deployed,
            release,
            kept | release.environment,
            next(iter(self.context.environment.probe.paths), "/version"),
            replicas,
        )
        there = self._apply(self._paths.deployments(deployed), wanted)  # what was edited since is a conflict
        least = self._least(release.settings, live.deployed if live else "")
        if replicas < least:
            self.client.scale(self._paths.deployments(deployed), least)  # first, so that its pods start meanwhile
        self._own(there, release.settings)
        self.routing.warm(deployed)
        self._pods(deployed).wait(least)
        return deployed

    def stored(self, artifact: Artifact) -> str:
        return images.stored(self.context.cloud, artifact)

    def call(
        self,
        path: str,
        deployed: str = "",
        *,
        method: str = "GET",
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        began = time.perf_counter()
        if not deployed:
            traffic = self.traffic()
            if traffic is None:
                return Answer(0, "", "nothing is live", time.perf_counter() - began, gone=True)
            deployed = traffic.deployed
        pods = self._pods(deployed)
        reply = forward.send(
            self.client,
            f"{self._paths.core('services', deployed)}:http/proxy",
            pods.one,
            PORT,
            path,
            method=method,
            body=body or None,
            headers=headers,
            seconds=CALL_SECONDS,
            patience=PATIENCE,
        )
        text, passed = reply.body.decode("utf-8", "replace"), time.perf_counter() - began
        refusal = reply.document
        if refusal.get("kind") != "Status" or refusal.get("apiVersion") != "v1":
            if reply.status in (502, 503) and "error trying to reach service" in text:
                return Answer(0, text, text, passed)
            return Answer(reply.status, text, "", passed)
        message = str(refusal.get("message", ""))
        if reply.status == 404:
            return Answer(0, "", message, passed, gone=True)
        if reply.status == 503 and "no endpoints available" in message:
            return self._woken(deployed, message, began)
        return Answer(0, text, message, passed)

    def numbers(self, deployed: str, since: float) -> Numbers:
        return self._pods(deployed).numbers()

    def traffic(self) -> Traffic | None:
        return self.routing.traffic()

    def shift(self, wanted: Traffic | None, seen: Traffic | None, note: str) -> None:
        self.routing.shift(wanted, seen, note, self.context.config.service.name)

    def weighted(self) -> bool:
        return self.routing.weighted

    def deployed(self) -> dict[str, int]:
        found = self.client.items(
            f"{self._paths.deployments()}?labelSelector=app.kubernetes.io%2Fmanaged-by%3D{MANAGER}"
        )
        notes = {one["metadata"]["name"]: one["metadata"].get("annotations", {}).get(RELEASE, "") for one in found}
        return {name: int(number) for name, number in notes.items() if number.isdigit()}

    def remove(self, deployed: str) -> None:
        traffic = self.traffic()
        if traffic and deployed in traffic.all:
            return
        self.routing.release(deployed)
        if found := self.client.get(self._paths.deployments(deployed)):
            self.client.delete(self._paths.deployments(deployed), found["metadata"]["uid"])

    def rest(self, deployed: str) -> None:
        path = self._paths.deployments(deployed)
        if (found := self.client.get(path)) and found["spec"].get("replicas", 0):
            self.client.scale(path, 0)

    def logs(self, since: float) -> Iterator[Line]:
        traffic = self.traffic()
        names = {*traffic.all} if traffic else set(self.deployed())
        for deployed in sorted(names):
            yield from self._pods(deployed).logs(since)

    def address(self, outputs: dict[str, str]) -> str:
        return self.routing.address()

    def discard(self, keep: set[str], before: float) -> list[Removed]:
        return images.discard(self.context.cloud, self.context.output("Repository"), keep, before)

    def cost(self, requests_per_second: float) -> Cost | None:
        architecture = self.context.config.service.architecture
        return costs.estimate(
            requests_per_second, self.own.replicas, self.own.cpu, self.own.memory, architecture, self._p95()
        )

    # -- parts

    def _p95(self) -> float:
        traffic = self.traffic()
        return self._pods(traffic.deployed).numbers().p95 if traffic else 0.0

    def _apply(self, path: str, wanted: Tree) -> Tree:
        """Server-side apply; a field that something else manages is not taken over.

        Raises:
            Refused: something else manages a field, which the message names, or an admission controller refused it.
        """
        try:
            return self.client.apply(path, wanted)
        except Rejected as error:
            if error.status == 409:
                raise Refused(
                    f"{wanted['kind']} {wanted['metadata']['name']} was changed outside of this pipeline: {error.message}",
                    next=f"end what manages these fields, then run this again; invoke status {self.client.where}",
                ) from error
            if error.status in (400, 403, 422) and not error.next:
                raise Refused(f"the cluster refused it: {error.message}", next="correct what it names") from error
            raise

    def _own(self, owner: Tree, own: Settings) -> None:
        """Create the objects that the release's Deployment owns."""
        deployed, marks = owner["metadata"]["name"], owner["metadata"]["labels"]
        version = "policy/v1" if self.client.get("/apis/policy/v1") else "policy/v1beta1"
        listed = [
            (self._paths.core("services", deployed), manifests.service(deployed, deployed, marks)),
            (
                self._paths.group(version, "poddisruptionbudgets", deployed),
                manifests.budget(deployed, marks, version),
            ),
        ]
        if int(own["max_replicas"]) > int(own["replicas"]):
            made = manifests.autoscaler(deployed, marks, int(own["replicas"]), int(own["max_replicas"]))
            listed.append((self._paths.group("autoscaling/v1", "horizontalpodautoscalers", deployed), made))
        for path, content in listed:
            self._apply(path, manifests.owned(content, owner))

    def _least(self, own: Settings, live: str) -> int:
        """How many pods a release starts with: its own number, but no fewer than what serves now has."""
        found = self.client.get(self._paths.deployments(live)) if live else None
        serving = int(found["spec"].get("replicas", 0)) if found else 0
        return max(int(own["replicas"]), serving)

    def _woken(self, deployed: str, message: str, began: float) -> Answer:
        """The answer of a version without pods: they are started if it rests; a fault if they can't start."""
        path = self._paths.deployments(deployed)
        found = self.client.get(path)
        if found is None:
            return Answer(0, "", message, time.perf_counter() - began, gone=True)
        own, _, _ = manifests.settings_of(found)
        if not found["spec"].get("replicas", 0):
            traffic = self.traffic()
            self.client.scale(path, self._least(own, traffic.deployed if traffic else ""))
        elif why := self._pods(deployed).why():
            return Answer(0, "", why, time.perf_counter() - began)
        return Answer(0, "", message, time.perf_counter() - began, waking=True)

    def _pods(self, deployed: str) -> Pods:
        path = next(iter(self.context.environment.probe.paths), "/version")
        return Pods(
            self.client,
            self.context.name,
            deployed,
            node_seconds=self._node_seconds,
            start=self.own.start,
            path=path,
            shown=partial(foreign.shown, self.context),
        )

    def _foreign(self, deployed: str) -> Refused:
        return Refused(
            f"the namespace {self.context.name} has a Deployment {deployed} that was not deployed by this pipeline",
            next=f"kubectl delete deployment {deployed} --namespace {self.context.name}, if it is not needed; "
            "then run this again",
        )
