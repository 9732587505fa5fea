"""Which backend a request goes to, by the routes as they are known now, and what a route's status says about that.

https://gateway-api.sigs.k8s.io/reference/spec/#httproute
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from embedded_aws.kubernetes.gateway.definitions import GROUP

Key = tuple[str, str]  # namespace and name
Address = tuple[str, int]


class NoBackend(Exception):
    """No endpoint can take the request; ``status`` is what HTTP answers then."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Known:
    """What the cluster holds, by kind; each is replaced as a whole, so that a request sees one state of it."""

    classes: dict[Key, dict[str, Any]] = field(default_factory=dict)
    gateways: dict[Key, dict[str, Any]] = field(default_factory=dict)
    routes: dict[Key, dict[str, Any]] = field(default_factory=dict)
    services: dict[Key, dict[str, Any]] = field(default_factory=dict)
    endpoints: dict[Key, dict[str, Any]] = field(default_factory=dict)

    def controller(self, gateway: dict[str, Any]) -> str:
        """The name of a gateway's controller; empty if its class doesn't exist."""
        found = self.classes.get(("", gateway["spec"]["gatewayClassName"]))
        return str(found["spec"]["controllerName"]) if found else ""

    def backend(self, gateway: Key, host: str, path: str) -> list[Address]:
        """The addresses that may take a request to ``gateway``, in the order in which to try them.

        Raises:
            NoBackend: there is none.
        """
        rule = self._rule(gateway, host, path)
        if rule is None:
            raise NoBackend(404, "no route matches")
        space, backends = rule
        weights = [backend["weight"] for backend in backends]
        if not any(weights):
            raise NoBackend(500, "the route has no backend with a weight")
        (chosen,) = random.choices(backends, weights)  # noqa: S311 - not a secret
        if problem := self.problem(space, chosen):
            raise NoBackend(500, problem[1])
        found = self._addresses((space, chosen["name"]), chosen["port"])
        if not found:
            raise NoBackend(503, f"service {chosen['name']} has no ready pod")
        random.shuffle(found)
        return found

    def problem(self, space: str, backend: dict[str, Any]) -> tuple[str, str] | None:
        """Why a backend can't be resolved, as a reason of the API and a message; None if it can."""
        if backend["kind"] != "Service" or backend.get("group") or backend.get("namespace", space) != space:
            return "InvalidKind", f"{backend['kind']} {backend['name']} is not a service of this namespace"
        service = self.services.get((space, backend["name"]))
        if service is None:
            return "BackendNotFound", f"there is no service {backend['name']}"
        if not any(port["port"] == backend.get("port") for port in service["spec"].get("ports", [])):
            return "BackendNotFound", f"service {backend['name']} has no port {backend.get('port')}"
        return None

    def parents(self, route: Key) -> list[tuple[dict[str, Any], Key]]:
        """The references to gateways of a route, and their names."""
        references = self.routes[route]["spec"].get("parentRefs", [])
        mine = [r for r in references if (r["group"], r["kind"]) == (GROUP, "Gateway")]
        return [(r, (r.get("namespace", route[0]), r["name"])) for r in mine]

    def _rule(self, gateway: Key, host: str, path: str) -> tuple[str, list[dict[str, Any]]] | None:
        """The namespace and backends of the rule that matches best, which is the one with the longest path."""
        best: tuple[tuple[bool, int], str, list[dict[str, Any]]] | None = None
        for key, route in self.routes.items():
            if not any(parent == gateway for _, parent in self.parents(key)) or not _serves(route, host):
                continue
            for rule in route["spec"]["rules"]:
                for match in rule.get("matches") or [{}]:
                    wanted = match.get("path", {"type": "PathPrefix", "value": "/"})
                    rank = (wanted["type"] == "Exact", len(wanted["value"]))
                    if _matches(wanted, path) and (best is None or rank > best[0]):
                        best = (rank, key[0], rule.get("backendRefs", []))
        return best and best[1:]

    def _addresses(self, service: Key, port: int) -> list[Address]:
        """The ready pods of a service, and the port of theirs that its ``port`` leads to."""
        named = {p["port"]: p.get("name", "") for p in self.services[service]["spec"]["ports"]}[port]
        found = []
        for subset in self.endpoints.get(service, {}).get("subsets") or []:
            ports = [p["port"] for p in subset.get("ports", []) if p.get("name", "") == named]
            found += [(a["ip"], ports[0]) for a in subset.get("addresses") or [] if ports]
        return found


def _serves(route: dict[str, Any], host: str) -> bool:
    names = route["spec"].get("hostnames", [])
    host = host.rpartition(":")[0] or host
    return not names or any(host == n or (n.startswith("*.") and host.endswith(n[1:])) for n in names)


def _matches(wanted: dict[str, str], path: str) -> bool:
    if wanted["type"] == "Exact":
        return path == wanted["value"]
    prefix = wanted["value"].rstrip("/")
    return path == prefix or path.startswith(f"{prefix}/")
