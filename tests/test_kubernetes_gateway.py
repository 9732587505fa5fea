"""The gateway of the embedded AWS's cluster: traffic is split by weights, and no request is lost while they change."""

from __future__ import annotations

import collections
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pods
import pytest
from clusters import DEPLOYMENTS, GATEWAYS, ROUTES, SERVICES, Cluster, get, until

from embedded_aws.kubernetes.gateway import routing

SECONDS = 2.0  # of load for each split; 40 requests in each


@pytest.fixture(scope="module")
def gateway(cluster: Cluster) -> Iterator[str]:
    """The address of a gateway beside releases ``one`` and ``two``."""
    image = pods.push(cluster.running, "split")
    for name in ("one", "two"):
        cluster.release(name, image, replicas=2)
    address = cluster.gateway()
    for name in ("one", "two"):
        assert cluster.answers(name) == name
    yield address
    cluster.ask(f"{GATEWAYS}/gw", method="DELETE")


@contextmanager
def load(address: str, answers: collections.Counter[tuple[int, str] | str]) -> Iterator[None]:
    """Ask 100 times a second in all, by four threads, and count the answers."""
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                answers[get(address)] += 1
            except OSError as error:
                answers[repr(error)] += 1
            stop.wait(0.04)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_traffic_is_split_by_weights_and_no_request_is_lost(cluster: Cluster, gateway: str) -> None:
    """Shares follow the weights as soon as the status says so; over ten changes, scaling and a removal each request is answered."""
    cluster.split({"one": 1})
    answers: collections.Counter[tuple[int, str] | str] = collections.Counter()
    with load(gateway, answers):
        for weights in ({"one": 9, "two": 1}, {"one": 1, "two": 1}, {"two": 1, "one": 0}):
            cluster.split(weights)
            time.sleep(0.1)  # requests that were sent before
            before = answers.copy()
            time.sleep(SECONDS)
            seen = answers - before
            share = seen[(200, "two")] / seen.total()
            wanted = weights["two"] / sum(weights.values())
            assert abs(share - wanted) < 0.2 if wanted < 1 else share == 1, (weights, seen)
        for step in range(6):
            cluster.split({"one": 10 - step, "two": step} if step % 2 else {"two": 1})
            time.sleep(0.2)
        cluster.split({"one": 1})
        assert cluster.ask(f"{DEPLOYMENTS}/two", method="DELETE")[0] == 200
        time.sleep(SECONDS)
        cluster.split({"one": 1, "two": 0})
    assert answers.total() > 300
    assert set(answers) == {(200, "one"), (200, "two")}, answers
    cluster.release("two", pods.push(cluster.running, "again"), replicas=2)
    assert cluster.answers("two") == "two"


def test_rolling_update_loses_no_request(cluster: Cluster, gateway: str) -> None:
    """Pods that end keep what they were sent; requests go to the new ones."""
    image = pods.push(cluster.running, "rolled")
    cluster.split({"one": 1})
    answers: collections.Counter[tuple[int, str] | str] = collections.Counter()
    with load(gateway, answers):
        cluster.release("one", image, replicas=2, VERSION="newer")
        until(lambda: get(gateway) == (200, "newer"), what="the update", seconds=60)
        until(lambda: rolled(cluster, "one"), what="the end of the update", seconds=60)
    cluster.release("one", image, replicas=2)
    until(lambda: rolled(cluster, "one"), what="the way back", seconds=60)
    assert set(answers) == {(200, "one"), (200, "newer")}, answers


def rolled(cluster: Cluster, name: str) -> bool:
    found = cluster.ask(f"{DEPLOYMENTS}/{name}")[1]
    status = found["status"]
    current = status.get("observedGeneration") == found["metadata"]["generation"]
    return bool(current and status.get("updatedReplicas") == status.get("replicas") == status.get("availableReplicas"))


def test_request_in_flight_keeps_its_pod(cluster: Cluster, gateway: str) -> None:
    """A slow request is answered by the release that got it, though the route goes elsewhere meanwhile."""
    cluster.split({"two": 1})
    found: list[tuple[int, str]] = []
    slow = threading.Thread(target=lambda: found.append(get(gateway, "/slow")))
    slow.start()
    time.sleep(0.3)
    cluster.split({"one": 1})
    assert get(gateway) == (200, "one")
    slow.join()
    assert found == [(200, "two")]


def test_bodies_and_broken_answers_pass(cluster: Cluster, gateway: str) -> None:
    """A body arrives whole, a pod that doesn't answer is 502, an invalid request 400; the gateway still serves."""
    cluster.split({"one": 1})
    body = random.randbytes(300_000).hex().encode()
    assert get(gateway, "/", body) == (200, f"one {body.decode()}")
    assert get(gateway, "/broken")[0] == 502
    host, port = gateway.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"nonsense\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 400 ")
    assert get(gateway) == (200, "one")


def test_route_says_what_is_not_in_effect(cluster: Cluster, gateway: str) -> None:
    """A backend without service is not resolved and answers 500; one without pods 503; no route at all 404."""
    conditions = {c["type"]: (c["status"], c["reason"]) for c in cluster.split({"nowhere": 1})}
    assert conditions == {"Accepted": ("True", "Accepted"), "ResolvedRefs": ("False", "BackendNotFound")}
    assert get(gateway)[0] == 500
    cluster.split({"one": 0})
    assert get(gateway)[0] == 500
    ports = [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]
    spec = {"selector": {"app": "none"}, "ports": ports}
    cluster.apply(f"{SERVICES}/empty", {"apiVersion": "v1", "kind": "Service", "spec": spec})
    assert {c["status"] for c in cluster.split({"empty": 1})} == {"True"}
    assert get(gateway)[0] == 503
    cluster.ask(f"{ROUTES}/live-gw", method="DELETE")
    until(lambda: get(gateway)[0] == 404, what="the end of the route", seconds=5)


def test_gateway_serves_while_the_api_is_down(cluster: Cluster, gateway: str) -> None:
    """Without the API server traffic goes on as it was; a killed one comes back, and the gateway follows again."""
    cluster.split({"one": 1})
    cluster.kill("kube-apiserver")
    for _ in range(20):
        assert get(gateway) == (200, "one")
    until(lambda: cluster.reached(), what="the API server", seconds=120)
    cluster.split({"two": 1})
    assert get(gateway) == (200, "two")


def test_gateways_are_apart(cluster: Cluster, gateway: str) -> None:
    """Each gateway has a port and routes of its own; a deleted one's port is closed."""
    other = cluster.gateway("other")
    cluster.split({"one": 1})
    cluster.split({"two": 1}, "other", matches=[{"path": {"type": "PathPrefix", "value": "/v1"}}])
    assert (get(gateway)[1], get(other, "/v1/x")[1], get(other, "/v10")[0], get(other)[0]) == ("one", "two", 404, 404)
    cluster.ask(f"{GATEWAYS}/other", method="DELETE")

    def closed() -> bool:
        try:
            get(other)
        except ConnectionRefusedError:
            return True
        except (ConnectionResetError, TimeoutError):  # reached as it was closing
            return False
        return False

    until(closed, what="the end of the gateway", seconds=20)
    assert get(gateway) == (200, "one")


def test_longest_path_wins_and_hosts_are_kept_apart() -> None:
    """Of matching rules the exact, then the longest one is chosen; a route for other hosts is none."""

    def route(service: str, path: str, kind: str = "PathPrefix", hosts: tuple[str, ...] = ()) -> dict[str, object]:
        backend = {"name": service, "kind": "Service", "port": 80, "weight": 1}
        rule = {"matches": [{"path": {"type": kind, "value": path}}], "backendRefs": [backend]}
        parent = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "gw"}
        return {"spec": {"parentRefs": [parent], "hostnames": list(hosts), "rules": [rule]}}

    names = ("all", "deep", "exact", "hosted")
    known = routing.Known(
        routes={
            ("n", "1"): route("all", "/"),
            ("n", "2"): route("deep", "/a/b"),
            ("n", "3"): route("exact", "/a/b/", "Exact"),
            ("n", "4"): route("hosted", "/a/b/c", hosts=("*.example.com",)),
        },
        services={("n", name): {"spec": {"ports": [{"port": 80, "name": "http"}]}} for name in names},
        endpoints={
            ("n", name): {"subsets": [{"addresses": [{"ip": name}], "ports": [{"name": "http", "port": 8080}]}]}
            for name in names
        },
    )

    def chosen(path: str, host: str = "127.0.0.1:80") -> str:
        ((name, port),) = known.backend(("n", "gw"), host, path)
        assert port == 8080
        return name

    assert [chosen(path) for path in ("/", "/a", "/a/b", "/a/b/", "/a/b/c", "/a/bc")] == [
        *("all", "all", "deep", "exact", "deep", "all"),
    ]
    assert chosen("/a/b/c", "x.example.com") == "hosted"
