"""Watches the cluster's gateways and routes, opens a port on loopback for each gateway, and reports what is in effect.

Status by https://gateway-api.sigs.k8s.io/geps/gep-1364/: a condition's ``observedGeneration`` is written when requests are
split as that generation says. Every class of gateways is this controller's, whatever the name of its controller: the cluster
has no other. The address of a gateway is its port on the machine's loopback, such as ``127.0.0.1:31999``.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from embedded_aws.kubernetes.api import Api, ApiError
from embedded_aws.kubernetes.gateway import definitions, proxy, routing

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from embedded_aws.kubernetes.gateway.routing import Key

RESOURCES = f"/apis/{definitions.GROUP}/v1"
WATCHED = {
    "classes": f"{RESOURCES}/gatewayclasses",
    "gateways": f"{RESOURCES}/gateways",
    "routes": f"{RESOURCES}/httproutes",
    "services": "/api/v1/services",
    "endpoints": "/api/v1/endpoints",
}
IN_EFFECT = "in effect"  # Kubernetes 1.20, built by a newer Go, takes an empty string for null
PAUSE = 0.5  # seconds before an interrupted watch starts again
SERVED = 30.0  # seconds until the API serves what was defined
log = logging.getLogger("gateway")


def install(api: Api) -> None:
    """Define the resources, unless the cluster has them, and wait until the API serves them.

    Raises:
        ApiError: it refuses a definition, or does not serve one within ``SERVED`` seconds.
    """
    for definition in definitions.all_definitions():
        try:
            api.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
        except ApiError as error:
            if error.status != 409:  # it is there
                raise
    end = time.monotonic() + SERVED
    for kind in ("classes", "gateways", "routes"):
        while True:
            try:
                api.get(WATCHED[kind])
                break
            except ApiError:
                if time.monotonic() > end:
                    raise
            time.sleep(0.05)


class Controller:
    """Serves the gateways of a cluster.

    Args:
        api: the cluster.
        listen: makes a listener on the machine's loopback by a gateway's name, the same port each time if it can be had, and
            returns it with its port.
    """

    def __init__(self, api: Api, listen: Callable[[str], tuple[socket.socket, int]]) -> None:
        self._api, self._listen = api, listen
        self._known = routing.Known()
        self._servers: dict[Key, tuple[asyncio.Server, int]] = {}
        self._synced: set[str] = set()
        self._changed = threading.Event()

    async def run(self) -> None:
        """Serve until cancelled."""
        loop = asyncio.get_running_loop()
        for kind, path in WATCHED.items():
            threading.Thread(target=self._watch, args=(kind, path), daemon=True, name=f"watch-{kind}").start()
        threading.Thread(target=self._report, args=(loop,), daemon=True, name="gateway-status").start()
        await asyncio.Event().wait()

    def _watch(self, kind: str, path: str) -> None:
        while True:
            try:
                self._follow(kind, path)
            except ApiError as error:
                log.warning("%s", error)
            time.sleep(PAUSE)

    def _follow(self, kind: str, path: str) -> None:
        current: dict[Key, dict[str, Any]] = {}
        complete = False
        for event in self._api.watch(path):
            if event is None:
                complete = True
                self._synced.add(kind)
            else:
                found = event["object"]
                key = (found["metadata"].get("namespace", ""), found["metadata"]["name"])
                current = {k: v for k, v in current.items() if k != key} if complete else current
                if event["type"] != "DELETED":
                    current[key] = found
            if complete:
                setattr(self._known, kind, current)
                if kind != "endpoints":
                    self._changed.set()

    def _report(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            self._changed.wait()
            self._changed.clear()
            if self._synced < WATCHED.keys():
                continue
            self._open(loop)
            for report, found in (
                (self._report_class, self._known.classes),
                (self._report_gateway, self._known.gateways),
                (self._report_route, self._known.routes),
            ):
                for key, resource in found.items():
                    try:
                        report(key, resource)
                    except ApiError as error:
                        if error.status not in (404, 409):  # it is gone or has changed: the event is on its way
                            log.warning("%s", error)
                            time.sleep(PAUSE)
                            self._changed.set()

    def _open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Open the ports of new gateways, and close those of gateways that are gone; requests in flight are finished."""
        for key in self._known.gateways.keys() - self._servers.keys():
            listener, port = self._listen("/".join(key))

            def backend(host: str, path: str, key: Key = key) -> list[routing.Address]:
                return self._known.backend(key, host, path)

            server = asyncio.run_coroutine_threadsafe(proxy.serve(listener, backend), loop).result()
            self._servers[key] = (server, port)
        for key in self._servers.keys() - self._known.gateways.keys():
            loop.call_soon_threadsafe(self._servers.pop(key)[0].close)

    def _report_class(self, key: Key, found: dict[str, Any]) -> None:
        self._conditions(f"{WATCHED['classes']}/{key[1]}", found, ("Accepted",))

    def _report_gateway(self, key: Key, gateway: dict[str, Any]) -> None:
        if not self._known.controller(gateway):
            return  # as where its class is missing: no controller reports anything
        address = {"type": "Hostname", "value": f"127.0.0.1:{self._servers[key][1]}"}
        path = f"{RESOURCES}/namespaces/{key[0]}/gateways/{key[1]}"
        self._conditions(path, gateway, ("Accepted", "Programmed"), addresses=[address])

    def _report_route(self, key: Key, route: dict[str, Any]) -> None:
        parents = []
        before = {str(p["parentRef"]): p for p in route.get("status", {}).get("parents", [])}
        for reference, name in self._known.parents(key):
            gateway = self._known.gateways.get(name)
            if gateway is None or not self._known.controller(gateway):
                continue
            backends = [b for rule in route["spec"]["rules"] for b in rule.get("backendRefs", [])]
            problems = [found for b in backends if (found := self._known.problem(key[0], b))]
            reason, message = problems[0] if problems else ("ResolvedRefs", IN_EFFECT)
            generation = route["metadata"]["generation"]
            wanted = [
                _condition("Accepted", "True", "Accepted", IN_EFFECT, generation),
                _condition("ResolvedRefs", str(not problems), reason, message, generation),
            ]
            known = before.get(str(reference), {}).get("conditions", [])
            parents.append(
                {
                    "parentRef": reference,
                    "controllerName": self._known.controller(gateway),
                    "conditions": [_dated(condition, known) for condition in wanted],
                }
            )
        if parents != route.get("status", {}).get("parents", []):
            path = f"{RESOURCES}/namespaces/{key[0]}/httproutes/{key[1]}/status"
            self._api.merge(path, {"status": {"parents": parents}})

    def _conditions(self, path: str, found: dict[str, Any], names: tuple[str, ...], **more: Any) -> None:
        """Write these conditions, all true, and ``more`` into a status, unless it says so."""
        status = found.get("status", {})
        generation = found["metadata"]["generation"]
        wanted = [_condition(name, "True", name, IN_EFFECT, generation) for name in names]
        conditions = [_dated(condition, status.get("conditions", [])) for condition in wanted]
        if {"conditions": conditions, **more} != {name: status.get(name) for name in ("conditions", *more)}:
            self._api.merge(f"{path}/status", {"status": {"conditions": conditions, **more}})


def _condition(name: str, status: str, reason: str, message: str, generation: int) -> dict[str, Any]:
    return {
        "type": name,
        "status": status,
        "reason": reason,
        "message": message,
        "observedGeneration": generation,
    }


def _dated(condition: dict[str, Any], before: list[dict[str, Any]]) -> dict[str, Any]:
    """With the time at which its status last changed."""
    same = [b for b in before if (b["type"], b["status"]) == (condition["type"], condition["status"])]
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {**condition, "lastTransitionTime": same[0]["lastTransitionTime"] if same else now}
