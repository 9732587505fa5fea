"""Deploys to a cluster on bad days, under 100 requests a second: killed, without the API server, overtaken, changed by others."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from emulated import client
from faults import Fault, conflict, faults, kill, lost
from faults.harness import apart
from podding import Callers, Podded, Right, foreign, quick, rights, without
from tiny import Tiny

from ml_delivery.containers import images
from ml_delivery.errors import CloudError, LockHeld, PipelineError, Refused
from ml_delivery.records import Traffic
from ml_delivery.release import front, plan
from ml_delivery.targets.eks import access, cluster, route
from ml_delivery.targets.eks.client import Client, Rejected, open_client
from ml_delivery.targets.eks.names import Paths
from ml_delivery.targets.eks.route import OneService, Route

APPLIED = r"PATCH .*/deployments/[\w-]+\?fieldManager"
SCALED = r"PATCH .*/deployments/[\w-]+$"
SHIFTED = r"PATCH .*/httproutes/live"  # the first one prepares the route, the second one shifts


@pytest.fixture(scope="module")
def service(slim: None, pods_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Podded:
    """A service with all of its stacks, before its first release."""
    tiny = Tiny(tmp_path_factory.mktemp("bad") / "service", pods_home, "bad-days")
    made = Podded(tiny, drain=1, max_replicas=2)
    tiny.invoke("bootstrap", "--yes")
    return made


@pytest.fixture(scope="module")
def callers(service: Podded) -> Iterator[Callers]:
    """Users at the Gateway of the first release, and of those that follow."""
    service.deploy(NOTE="first")
    found = Callers(service)
    yield found
    found.stop()


@pytest.fixture
def served(service: Podded, callers: Callers) -> Podded:
    """The service with users."""
    assert callers
    return service


def test_each_verb_that_is_taken_away_stops_the_stage_that_needs_it(service: Podded) -> None:
    """Under its role a stage passes; without any one verb of it in the cluster it stops and names it."""
    admin, rules = service.client, service.rules
    service.rules = quick()

    def refuse(stage: str, listed: list[Right]) -> None:
        for right in listed:
            with without(service, admin, stage, right), pytest.raises(PipelineError) as refusal:
                _needs(service, admin, stage, str(right))
            assert f'cannot {right.verb} resource "{right.resource}"' in str(refusal.value), right

    with service.acting("deploy"):
        listed = rights(service, "deploy")
        refuse("deploy", [right for right in listed if right.resource == "httproutes"])
        service.deploy(NOTE="allowed")
        # Kubernetes asks for "create" only since 1.35, which the emulator's is older than.
        later = ("httproutes", "create pods/portforward")
        refuse("deploy", [right for right in listed if right.resource not in later and str(right) not in later])
        service.deploy(NOTE="allowed, too")
        service.rollback()
    with service.acting("plan"):
        refuse("plan", rights(service, "plan"))
        assert plan.make(service.open(NOTE="another")).changes
        principal = f"arn:aws:iam::123456789012:role/{service.name}-plan"
        client(service.running, "eks").delete_access_entry(clusterName="services", principalArn=principal)
        time.sleep(2)  # the API server remembers for a second whose a token was
        with pytest.raises(Rejected, match="accepts no access entry for the signed-in identity"):
            plan.make(service.open())
    service.rules = rules
    assert service.problems() == []


def _needs(service: Podded, admin: Client, stage: str, right: str) -> None:
    """Do a stage, or the step of one, that needs ``right``."""
    deployer = service.deployer
    routing, only = Route(deployer.client, service.name), OneService(deployer.client, service.name)
    live = service.paths.routes("live")
    match right.split(" "):
        case _, "services":  # without the Gateway API
            admin.delete(service.paths.core("services", "live"))
            only.shift(Traffic("x"), only.traffic(), "", "x")
            only.shift(Traffic("y"), only.traffic(), "", "x")
            only.shift(None, only.traffic(), "", "x")
        case "create", "httproutes":
            routing.shift(Traffic("x"), None, "", "x")
        case (("patch" | "delete"), "httproutes"):
            admin.write("POST", service.paths.routes(), routing._new([("x", 0)], "", "x"))
            try:
                routing.release("x") if right.startswith("delete") else routing.warm("y")
            finally:
                admin.delete(live)
        case "list", "deployments":
            deployer.deployed()
        case "delete", "deployments":
            admin.write("POST", service.paths.deployments(), foreign("x"))
            try:
                deployer.remove("x")
            finally:
                admin.delete(service.paths.deployments("x"))
        case "get", "pods/portforward":
            with service.cluster.closed(8080):
                deployer.call("/version")
        case "get", "pods/log":
            list(deployer.logs(0))
        case "get", "gateways" if stage == "plan":
            front.find(service.open())
        case _ if stage == "plan":
            plan.make(service.open())
        case _:
            service.deploy(NOTE=right)


def test_pods_are_reached_where_the_api_server_reaches_kubelets_alone(service: Podded) -> None:
    """Without a way from the API server to a pod, its health check and its metrics go through port forwarding."""
    service.deploy(NOTE="forwarded")
    deployer = service.deployer
    with service.cluster.closed(8080, 9090):
        answer = deployer.call("/version", headers={"x-own": "x"})
        assert (answer.status, '"note"' in answer.body, deployer.client.forwards) == (200, True, True)
        typed = {"Content-Type": "text/plain", "accept": "text/plain"}
        assert deployer.call("/big", method="POST", body=b"x" * 100_000, headers=typed).status == 200
        live = deployer.live()
        assert live
        assert deployer.numbers(live.deployed, 0).requests >= 0
    assert service.deployer.call("/version").status == 200


@pytest.mark.parametrize(("on", "at"), [(APPLIED, 1), (SHIFTED, 2), ("PutObject", 6)])
def test_killed_deploy_is_continued(served: Podded, on: str, at: int) -> None:
    """kill -9 after a write to the cluster or the ledger, then the same deploy again: one new verified release, no orphan."""
    before = served.open().ledger.head().newest
    assert apart(lambda: served.deploy(NOTE=on), killed(on, at))[0] == -signal.SIGKILL
    served.deploy(NOTE=on)
    assert served.open().ledger.head().newest == before + 1
    assert (served.problems(), served.orphans()) == ([], set())


def killed(on: str, at: int = 1) -> Fault:
    """``kill -9`` after that call."""
    return replace(kill(at), on=on)


def test_shift_whose_answer_is_lost_is_recognised(served: Podded) -> None:
    """The API server shifted traffic and did not answer: the shift is found to be done, not taken for another's."""
    with faults(planned := lost(SHIFTED, at=2)):
        served.deploy(NOTE="lost")
    assert planned.struck
    assert served.problems() == []


def test_api_server_that_is_down_in_mid_shift_is_waited_for(served: Podded) -> None:
    """It is killed just before a shift; once it is back the deploy is verified."""
    with faults(planned := conflict(lambda: served.cluster.kill("kube-apiserver"), SHIFTED, 2)):
        served.deploy(NOTE="down")
    assert planned.struck
    assert served.problems() == []


def test_late_holder_shifts_nothing(served: Podded) -> None:
    """A holder that sleeps through the loss of its lock just before its shift is refused, and what overtook it serves."""

    def overtaken() -> None:
        served.open().ledger.unlock("other", "it sleeps")
        assert apart(lambda: served.deploy(NOTE="other"))[0] == 0

    with faults(conflict(overtaken, SHIFTED, 2)), pytest.raises(LockHeld, match="taken over"):
        served.deploy(NOTE="late")
    live = served.deployer.live()
    assert live
    assert live.variables["NOTE"] == "other"
    assert served.problems() == []


def test_changes_of_others_are_named(served: Podded) -> None:
    """What another tool made, scaled, removed or edited in mid-deploy stops the deploy, which says so; the next one passes."""
    admin = served.client

    def path(more: int = 0) -> str:
        number = served.open().ledger.head().newest + more
        return served.paths.deployments(f"{served.tiny.name}-{number}")

    def edit() -> None:
        container = {"name": "service", "env": [{"name": "NOTE", "value": "another"}]}
        change = {"spec": {"template": {"spec": {"containers": [container]}}}}
        admin.write("PATCH", f"{path()}?fieldManager=edit", change, "application/strategic-merge-patch+json")

    theirs = path(1)
    admin.write("POST", served.paths.deployments(), foreign(theirs.rpartition("/")[2]))
    with pytest.raises(Refused, match="that was not deployed by this pipeline"):
        served.deploy(NOTE="foreign")
    admin.delete(theirs)
    for change, says in (
        (lambda: admin.scale(path(), 0), "was scaled to 0 of 1 pods, not by this deploy"),
        (lambda: admin.delete(path()), "was removed, not by this deploy"),
    ):
        with faults(conflict(change, "GET .*/pods")), pytest.raises(Refused, match=says):
            served.deploy(NOTE=says)
    assert apart(lambda: served.deploy(NOTE="edited"), killed(APPLIED))[0] == -signal.SIGKILL
    edit()
    with pytest.raises(Refused, match=r'was changed outside of this pipeline: .*conflict with "edit"'):
        served.deploy(NOTE="edited")
    served.deploy(NOTE="afterwards")
    assert served.problems() == []


def test_no_user_has_noticed(callers: Callers) -> None:
    """Of all requests at the Gateway during the days above, none failed."""
    met = callers.stop()
    print(f"{met.requests} requests, {met.failed} failed")
    assert (met.failures, met.requests > 1000) == ([], True)


def test_node_that_dies_in_mid_deploy_is_waited_for(service: Podded) -> None:
    """Its kubelet is killed while pods start; once it is back, and has looked at its pods, the deploy is verified."""
    with faults(planned := conflict(lambda: service.cluster.kill("kubelet"), SCALED)):
        service.deploy(NOTE="node")
    assert planned.struck
    assert service.problems() == []


def test_what_is_missing_is_named(service: Podded, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cluster, one out of reach, no namespace, no Gateway, one without a controller, a moved git tag: each is named."""
    opened, admin = service.open(), service.client
    with pytest.raises(CloudError, match="there is no EKS cluster nowhere"):
        open_client(opened.cloud, "nowhere", "--branch main")
    with pytest.raises(CloudError, match="the emulator has one cluster, services"):
        cluster.ensure(opened.cloud, "nowhere", opened.foundation.outputs["Repository"])
    admin._endpoint, endpoint = urlsplit("https://127.0.0.1:1"), admin._endpoint
    admin._connection = None
    with pytest.raises(CloudError, match=r"at 127\.0\.0\.1:1 does not answer"):
        admin.send("GET", "/version", patience=0.0)
    admin._endpoint = endpoint
    with pytest.raises(Rejected, match='namespaces "missing" not found in the EKS cluster') as refusal:
        admin.write("POST", Paths("missing").deployments(), foreign("x"))
    assert refusal.value.next == "invoke bootstrap --branch main"
    _leaving_namespace_is_named(admin)
    with pytest.raises(Refused, match="the namespace default has no Gateway service"):
        Route(admin, "default").require()
    elsewhere = replace(opened.environment, name="elsewhere")
    with pytest.raises(PipelineError, match="services lacks the Gateway service of bad-days-elsewhere") as lack:
        access.checks(opened.config, elsewhere, opened.cloud)["gateway"]()
    assert lack.value.next == "invoke bootstrap --branch main"
    gateway = Paths("default").group("gateway.networking.k8s.io/v1", "gateways")
    admin.write("POST", gateway, {**access._gateway("of-nothing"), "apiVersion": "gateway.networking.k8s.io/v1"})
    monkeypatch.setattr(route, "GATEWAY_SECONDS", 0.5)
    with pytest.raises(Refused, match="carries no traffic: no controller reported a status"):
        Route(admin, "default").require()
    admin.delete(f"{gateway}/service")
    uri, digest = opened.foundation.outputs["Repository"], opened.artifact().digest
    images.name(opened.cloud, uri, digest, "v1.0.0")
    with pytest.raises(CloudError, match=r"v1\.0\.0 names .* in the registry already, not this commit's"):
        images.name(opened.cloud, uri, "sha256:" + "0" * 64, "v1.0.0")


def _leaving_namespace_is_named(admin: Client) -> None:
    """A namespace that is being deleted takes nothing new; the message says what to wait for."""
    kept = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept", "finalizers": ["example.com/kept"]}}
    admin.write(
        "POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "leaving"}}
    )
    admin.write("POST", "/api/v1/namespaces/leaving/configmaps", kept)
    admin.delete("/api/v1/namespaces/leaving")
    with pytest.raises(Rejected, match="because it is being terminated") as refusal:
        admin.write("POST", Paths("leaving").deployments(), foreign("x"))
    assert refusal.value.next == "kubectl get namespaces, until it is gone; then invoke bootstrap --branch main"
    path = "/api/v1/namespaces/leaving/configmaps/kept"
    admin.write("PATCH", path, {"metadata": {"finalizers": None}}, "application/merge-patch+json")
