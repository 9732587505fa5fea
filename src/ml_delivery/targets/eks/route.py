"""How traffic is split: by the weights of one HTTPRoute, or, without the Gateway API, by the selector of one Service.

Either is the only object of an environment that changes with traffic, and is changed by compare-and-swap alone: on the
route's generation, which its status doesn't change; on the Service's resource version, since Services have no generation.
The first backend of the route is the one that gets the rest of the traffic. https://gateway-api.sigs.k8s.io/api-types/httproute/
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from ml_delivery.errors import Moved, Refused, Unsettled
from ml_delivery.records import Traffic
from ml_delivery.targets.eks import manifests
from ml_delivery.targets.eks.client import MANAGER, Rejected
from ml_delivery.targets.eks.names import GATEWAY, ROUTE, Paths
from ml_delivery.waiting import wait

if TYPE_CHECKING:
    from ml_delivery.targets.eks.client import Client, Tree

__all__ = ["OneService", "Route", "Routing", "routing"]

# Target groups of one forward action: AWS's guide to Application Load Balancers, "Quotas".
MOST = 5
NOTE = "ml-delivery/note"
CHANGED = (404, 409, 422)
GATEWAY_SECONDS = 20.0
PROGRAMMED_SECONDS = 180.0


def routing(client: Client, namespace: str) -> Routing:
    """How this cluster splits traffic."""
    kinds = client.get("/apis/gateway.networking.k8s.io/v1") or {}
    known = any(kind["name"] == "httproutes" for kind in kinds.get("resources", []))
    return Route(client, namespace) if known else OneService(client, namespace)


class Routing(ABC):
    """What splits the traffic of one environment.

    Attributes:
        name: its name in a release's settings.
        weighted: whether several deployed versions can share the traffic.
    """

    name = ""
    weighted = True

    def __init__(self, client: Client, namespace: str) -> None:
        self._client, self._paths = client, Paths(namespace)

    @abstractmethod
    def traffic(self) -> Traffic | None:
        """As ``Deployer.traffic``."""

    @abstractmethod
    def shift(self, wanted: Traffic | None, seen: Traffic | None, note: str, service: str) -> None:
        """As ``Deployer.shift``, and wait until it is carried out; ``service`` is the name of the service."""

    def require(self) -> None:
        """Check that something carries traffic as it will be asked for.

        Raises:
            Refused: nothing does.
        """
        return

    def address(self) -> str:
        """The URL at which users reach what is live; empty where only the cluster knows it."""
        return ""

    def warm(self, deployed: str) -> None:
        """Prepare for a deployed version that gets no traffic yet."""
        return

    def release(self, deployed: str) -> None:
        """Forget a deployed version that gets no traffic."""
        return

    def _moved(self, error: Rejected) -> Moved:
        if error.status not in CHANGED:
            raise error
        return Moved("the traffic split was changed in the meantime, not by this deploy")


class Route(Routing):
    """The environment's HTTPRoute."""

    name = "HTTPRoute"

    def require(self) -> None:
        path = self._paths.group("gateway.networking.k8s.io/v1", "gateways", GATEWAY)
        why = "no controller reported a status"

        def programmed() -> bool | None:
            nonlocal why
            found = self._client.get(path)
            conditions = found.get("status", {}).get("conditions", []) if found else []
            states = {one["type"]: one for one in conditions}
            if not found:
                raise Refused(
                    f"the namespace {self._paths.namespace} has no Gateway {GATEWAY}",
                    next=f"invoke bootstrap {self._client.where}",
                )
            if conditions:
                why = "; ".join(f"{name}: {one.get('message') or one['status']}" for name, one in states.items())
            return True if states.get("Programmed", {}).get("status") == "True" else None

        try:
            wait(programmed, what="the Gateway", seconds=GATEWAY_SECONDS)
        except Unsettled as error:
            raise Refused(
                f"the Gateway {GATEWAY} of {self._paths.namespace} carries no traffic: {why}",
                next=f"invoke doctor {self._client.where}; a new load balancer takes some minutes",
            ) from error

    def address(self) -> str:
        found = self._client.get(self._paths.group("gateway.networking.k8s.io/v1", "gateways", GATEWAY))
        listed = found.get("status", {}).get("addresses", []) if found else []
        return f"http://{listed[0]['value']}/" if listed else ""

    def traffic(self) -> Traffic | None:
        found = self._client.get(self._paths.routes(ROUTE))
        weights = {name: weight for name, weight in _backends(found) if weight} if found else {}
        if not found or not weights:
            return None
        return Traffic.weighed(weights, str(found["metadata"].get("generation", "")))

    def shift(self, wanted: Traffic | None, seen: Traffic | None, note: str, service: str) -> None:
        path, found = self._paths.routes(ROUTE), self._client.get(self._paths.routes(ROUTE))
        split = _split(wanted)
        try:
            if found is None:
                if seen is not None:
                    raise Moved("the HTTPRoute was removed in the meantime, not by this deploy")
                if wanted is None:
                    return
                made = self._client.write(
                    "POST", f"{self._paths.routes()}?fieldManager={MANAGER}", self._new(split, note, service)
                )
            else:
                if seen is None and any(weight for _, weight in _backends(found)):
                    raise Moved("the HTTPRoute was created in the meantime, not by this deploy")
                others = self._there([(name, 0) for name, _ in _backends(found) if name not in dict(split)])
                generation = seen.revision if seen else str(found["metadata"]["generation"])
                refs = [_reference(*one) for one in [*split, *others][:MOST]]
                made = self._swap(path, generation, refs, note)
        except Rejected as error:
            raise self._moved(error) from error
        self._settle(path, made["metadata"]["generation"])

    def warm(self, deployed: str) -> None:
        """Give the route this backend with a weight of 0, so that a load balancer has its pods as healthy targets in time."""
        path = self._paths.routes(ROUTE)
        for _ in range(MOST):
            found = self._client.get(path)
            there = _backends(found) if found else []
            if found is None or deployed in dict(there):
                return
            serving = [one for one in there if one[1]]
            resting = [one for one in there if not one[1]]
            kept = [*serving, (deployed, 0), *self._there(resting)][:MOST]
            try:
                self._swap(path, str(found["metadata"]["generation"]), [_reference(*one) for one in kept])
            except Rejected as error:
                self._moved(error)
                continue
            return

    def release(self, deployed: str) -> None:
        path = self._paths.routes(ROUTE)
        found = self._client.get(path)
        there = _backends(found) if found else []
        kept = [one for one in there if one[0] != deployed]
        if found is None or kept == there or dict(there)[deployed]:
            return
        if not any(weight for _, weight in kept):
            return self._client.delete(path, found["metadata"]["uid"])
        try:
            self._swap(path, str(found["metadata"]["generation"]), [_reference(*one) for one in kept])
        except Rejected as error:
            self._moved(error)  # what changed it decides; the next removal tries again

    def _there(self, backends: list[tuple[str, int]]) -> list[tuple[str, int]]:
        """Those whose Service exists: what something else removed would make the route one that a controller refuses."""
        return [one for one in backends if self._client.get(self._paths.core("services", one[0]))]

    def _swap(self, path: str, generation: str, refs: list[Tree], note: str = "") -> Tree:
        """Replace the backends if the route still has this generation."""
        operations: list[Tree] = [
            {"op": "test", "path": "/metadata/generation", "value": int(generation)},
            {"op": "replace", "path": "/spec/rules/0/backendRefs", "value": refs},
        ]
        if note:
            operations.append({"op": "add", "path": f"/metadata/annotations/{NOTE.replace('/', '~1')}", "value": note})
        return self._client.patch(path, operations)

    def _new(self, split: list[tuple[str, int]], note: str, service: str) -> Tree:
        return {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": {
                "name": ROUTE,
                "annotations": {NOTE: note},
                "labels": {"app.kubernetes.io/name": service, "app.kubernetes.io/managed-by": MANAGER},
            },
            "spec": {
                "parentRefs": [{"name": GATEWAY}],
                "rules": [{"backendRefs": [_reference(*one) for one in split]}],
            },
        }

    def _settle(self, path: str, generation: int) -> None:
        """Wait until every controller of the route has carried out this generation.

        Raises:
            Refused: one of them refused it; the message has its reason.
            Unsettled: it timed out.
        """
        reason = "no controller reported a status"

        def carried_out() -> bool | None:
            nonlocal reason
            found = self._client.get(path)
            if found is None or found["metadata"]["generation"] != generation:
                return True  # something newer replaced it, which the next compare-and-swap finds
            parents = found.get("status", {}).get("parents", [])
            conditions = [one for parent in parents for one in parent.get("conditions", [])]
            now = [one for one in conditions if one.get("observedGeneration") == generation]
            for one in now:
                if one["status"] == "False" and one["type"] in ("Accepted", "ResolvedRefs"):
                    raise Refused(
                        f"the Gateway refused the HTTPRoute: {one.get('reason', '')}: {one.get('message', '')}",
                        next=f"correct what it names, then invoke bootstrap {self._client.where}",
                    )
            reason = f"{len(now)} of {len(conditions)} conditions are of generation {generation}"
            return True if any(one["type"] == "Accepted" for one in now) else None

        began = time.monotonic()
        try:
            wait(carried_out, what="the HTTPRoute", seconds=PROGRAMMED_SECONDS)
        except Unsettled as error:
            raise Unsettled(
                f"no Gateway carried out the HTTPRoute within {time.monotonic() - began:.0f} s: {reason}",
                next=f"kubectl describe gateway --namespace {self._paths.namespace}, then run this again",
            ) from error


class OneService(Routing):
    """The environment's Service, for a cluster without the Gateway API: one release gets all the traffic."""

    name = "Service"
    weighted = False

    def traffic(self) -> Traffic | None:
        found = self._client.get(self._paths.core("services", ROUTE))
        deployed = found["spec"].get("selector", {}).get("app.kubernetes.io/instance", "") if found else ""
        return Traffic(deployed, {}, found["metadata"]["resourceVersion"]) if found and deployed else None

    def shift(self, wanted: Traffic | None, seen: Traffic | None, note: str, service: str) -> None:
        path = self._paths.core("services", ROUTE)
        try:
            if wanted is None:
                if seen and (found := self._client.get(path)) and self.traffic() == seen:
                    self._client.delete(path, found["metadata"]["uid"])
                return
            if seen is None:
                made = manifests.service(ROUTE, wanted.deployed, manifests.labels(service, ROUTE, ""))
                made["metadata"]["annotations"] = {NOTE: note}
                self._client.write("POST", f"{self._paths.core('services')}?fieldManager={MANAGER}", made)
                return
            key = "/spec/selector/app.kubernetes.io~1instance"
            self._client.patch(
                path,
                [
                    {"op": "test", "path": "/metadata/resourceVersion", "value": seen.revision},
                    {"op": "replace", "path": key, "value": wanted.deployed},
                    {"op": "add", "path": f"/metadata/annotations/{NOTE.replace('/', '~1')}", "value": note},
                ],
            )
        except Rejected as error:
            raise self._moved(error) from error


def _split(wanted: Traffic | None) -> list[tuple[str, int]]:
    """The backends with their weights, the one that gets the rest first; none for no traffic."""
    if wanted is None:
        return []
    return [(wanted.deployed, 100 - sum(wanted.weights.values())), *wanted.weights.items()]


def _backends(route: Tree) -> list[tuple[str, int]]:
    rules = route["spec"].get("rules") or [{}]
    return [(one["name"], int(one.get("weight", 1))) for one in rules[0].get("backendRefs", [])]


def _reference(name: str, weight: int) -> Tree:
    return {"name": name, "port": 80, "weight": weight}
