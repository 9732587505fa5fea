"""The target eks without a cluster: what it applies, what it reads from pods, and which tag names a version."""

from __future__ import annotations

import base64
import warnings
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import kubernetes_validate
import pytest
from tiny import TARGETS, Tiny

from ml_delivery import source
from ml_delivery.cloud import Cloud
from ml_delivery.errors import CloudError
from ml_delivery.keys import Environment, Http, Probe, Request
from ml_delivery.records import Artifact, Release, Traffic
from ml_delivery.targets.eks import access, client, manifests, prometheus, reasons, versions
from ml_delivery.targets.eks.settings import EksSettings

# In standard support: https://docs.aws.amazon.com/eks/latest/userguide/kubernetes-versions.html
VERSIONS = ("1.33", "1.34", "1.35", "1.36")
SETTINGS = {
    "cpu": 1500,
    "memory": 1024,
    "replicas": 2,
    "max_replicas": 5,
    "start": 60,
    "drain": 25,
    "repository": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/pricing-production",
    "architecture": "arm64",
    "routing": "HTTPRoute",
}


def release(**settings: str | int) -> Release:
    digest = "sha256:" + "d" * 64
    made = Artifact("c" * 40, "c" * 40, False, digest, "sha256:c", "", "3.12", "arm64", f"x@{digest}", 1, tag="v1.4.2")
    return Release(7, "staged", made, {**SETTINGS, **settings}, {"LOG_LEVEL": "INFO"}, "me", 0.0)


def deployment(**settings: str | int) -> client.Tree:
    one = release(**settings)
    return manifests.deployment("pricing", "pricing-production", "pricing-7", one, one.environment, "/readyz", 0)


@pytest.mark.parametrize("version", VERSIONS)
def test_objects_are_valid_in_every_supported_version(version: str) -> None:
    """What is applied has only fields that the versions of EKS in support know, with values that they allow."""
    owner = deployment()
    marks = owner["metadata"]["labels"]
    owned = [
        manifests.service("pricing-7", "pricing-7", marks),
        manifests.budget("pricing-7", marks, "policy/v1"),
        manifests.autoscaler("pricing-7", marks, 2, 5),
    ]
    named = {**owner, "metadata": {**owner["metadata"], "uid": "u"}}
    objects = [owner, *(manifests.owned(one, named) for one in owned)]
    config = SimpleNamespace(service=SimpleNamespace(name="pricing"), name_of=lambda _: "pricing-production")
    found = access.objects(config, environment())  # type: ignore[arg-type]
    for content in [*objects, *(content for _, content in found)]:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            kubernetes_validate.validate(content, version, strict=True)
    broken = {**owner, "spec": {**owner["spec"], "replica": 1}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, version, strict=True)


def environment(*methods: str) -> Environment:
    probe = Probe(requests=tuple(Request("/x", method) for method in methods))
    return Environment("production", "main", "", "eks", EksSettings(), Http(), SimpleNamespace(), probe, {})  # type: ignore[arg-type]


def test_settings_are_read_back_from_what_is_applied() -> None:
    """What a Deployment has, compared with the configuration, is no change; what was edited is one."""
    settings, variables, digest = manifests.settings_of(deployment())
    assert {**settings, "routing": "HTTPRoute"} == SETTINGS
    assert variables == release().environment
    assert digest == release().artifact.digest
    edited = deployment()
    edited["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"] = {"cpu": "2", "memory": "1Gi"}
    assert manifests.settings_of(edited)[0] == {**settings, "cpu": 2000}


def test_threads_follow_the_processors() -> None:
    """The server and numerical libraries start as many threads as the pod's limit keeps busy, not as the node has."""
    (container,) = deployment()["spec"]["template"]["spec"]["containers"]
    found = {one["name"]: one["value"] for one in container["env"]}
    assert (found["OMP_NUM_THREADS"], found["GUNICORN_CMD_ARGS"]) == ("2", "--threads=8 --graceful-timeout=25")
    assert [manifests.threads(cpu) for cpu in (50, 1000, 1001, 4000)] == [1, 1, 2, 4]


def test_role_has_only_the_verbs_of_its_requests() -> None:
    """A method that the health check doesn't use is not allowed through the proxy."""

    def verbs(*methods: str) -> list[str]:
        rules = access.rules(environment(*methods), "deploy")
        return next(rule["verbs"] for rule in rules if rule["resources"] == ["services/proxy"])

    assert verbs() == ["get"]
    assert verbs("POST", "DELETE") == ["delete", "get", "create"]
    assert not any({"create", "patch", "delete"} & set(rule["verbs"]) for rule in access.rules(environment(), "plan"))
    assert not any("secrets" in rule["resources"] for rule in access.rules(environment(), "deploy"))


def test_token_names_cluster_and_no_key() -> None:
    """The token is a signed URL of STS for one cluster, without its padding, good for a minute; the secret is not in it."""
    cloud = SimpleNamespace(
        region="eu-west-1",
        variables=lambda: {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "hidden-key"},
    )
    made = client.token(cloud, "services")  # type: ignore[arg-type]
    assert isinstance(cloud, SimpleNamespace | Cloud)
    start, _, text = made.partition(".")
    assert (start, "=" in text) == ("k8s-aws-v1", False)
    url = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    asked = parse_qs(urlsplit(url).query)
    assert urlsplit(url).netloc == "sts.eu-west-1.amazonaws.com"
    assert (asked["Action"], asked["X-Amz-Expires"]) == (["GetCallerIdentity"], ["60"])
    assert "x-k8s-aws-id" in asked["X-Amz-SignedHeaders"][0]
    assert "hidden-key" not in url


METRICS = """\
# TYPE http_requests_total counter
http_requests_total{status="200"} 96
http_requests_total{status="503"} 4
http_request_duration_seconds_bucket{le="0.1"} 90
http_request_duration_seconds_bucket{le="0.5"} 100
http_request_duration_seconds_bucket{le="+Inf"} 100
http_request_duration_seconds_count 100
"""


def test_metrics_of_several_pods_are_added() -> None:
    """Requests, failures and p95 are those of all pods together, as Prometheus' own functions have them."""
    one = prometheus.read(METRICS)
    assert (one.requests, one.failures, round(one.p95)) == (100, 4, 300)
    both = one + prometheus.read(METRICS.replace('le="0.1"} 90', 'le="0.1"} 100'))
    assert (both.requests, both.failures, round(both.p95)) == (200, 8, 100)
    assert prometheus.read("# nothing yet\n").p95 == 0.0


@pytest.mark.parametrize(
    ("status", "says"),
    [
        ({"state": {"waiting": {"reason": "ErrImagePull", "message": "manifest unknown"}}}, "manifest unknown"),
        ({"state": {"waiting": {"reason": "ErrImagePull", "message": "dial tcp: i/o timeout"}}}, ""),
        ({"state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off"}}}, "ImagePullBackOff"),
        ({"state": {"waiting": {"reason": "ContainerCreating"}}}, ""),
        ({"state": {"terminated": {"exitCode": 3, "reason": "Error"}}}, "exited with code 3"),
        ({"state": {"running": {}}, "lastState": {"terminated": {"reason": "OOMKilled"}}}, "function.memory"),
        ({"state": {"running": {}}}, ""),
    ],
)
def test_reason_is_named_once_it_is_final(status: client.Tree, says: str) -> None:
    """What a registry out of reach may cure is waited for; what can't become better is not."""
    found = reasons.of_pod({"metadata": {"name": "p"}, "status": {"containerStatuses": [status]}})
    assert says in (found.text if found else "")
    assert bool(found) == bool(says)


@pytest.mark.parametrize(
    ("version", "old"),
    [
        ("v1.33.1-eks-1234567", False),
        ("v1.20.2", False),
        ("v1.19.16-eks-1234567", True),
        ("v1.9.0", True),
        ("v0.0.0-master+1", False),
        ("", False),
    ],
)
def test_cluster_that_is_too_old_is_named(version: str, old: bool) -> None:
    """The numbers are compared, not the text; a cluster that doesn't report its version is not refused."""
    there = SimpleNamespace(get=lambda _: {"gitVersion": version}, where="--branch main")
    if not old:
        assert versions.require(there, "services") == (version or "unknown")  # type: ignore[arg-type]
        return
    with pytest.raises(CloudError, match=f"services runs Kubernetes {version}; 1.20 is the oldest that is"):
        versions.require(there, "services")  # type: ignore[arg-type]


def test_reason_of_a_pull_comes_to_the_point() -> None:
    """What containerd repeats of the image's name is left out, so that the end of its message is not cut off."""
    name = f"123456789012.dkr.ecr.eu-west-1.amazonaws.com/pricing-production@sha256:{'a' * 64}"
    message = (
        f'rpc error: code = NotFound desc = failed to pull and unpack image "{name}": failed to resolve reference "{name}": '
        f"{name}: not found"
    )
    status = {"state": {"waiting": {"reason": "ErrImagePull", "message": message}}}
    found = reasons.of_pod({"metadata": {"name": "p"}, "status": {"containerStatuses": [status]}})
    assert found
    assert found.text == f"the image can't be run: ErrImagePull: {name}: not found"
    assert reasons.pull({"status": {"containerStatuses": [status]}}) in found.text


def test_highest_semantic_version_of_a_commit_counts(tiny: Tiny) -> None:
    """Of a commit's tags the highest by semver's order; no other tag, none of another commit, and a shallow clone is noticed."""
    commit = tiny.git("rev-parse", "HEAD")
    assert source.tag(tiny.root, commit) == ""
    for name in ("v1.9.0", "v1.10.0-rc.2", "v1.10.0-rc.10", "v1.10.0+build", "1.11.0", "v01.12.0", "v2", "release"):
        tiny.git("tag", name)
    assert source.tag(tiny.root, commit) == "v1.10.0-rc.10"
    tiny.git("tag", "v1.10.0")
    assert source.tag(tiny.root, commit) == "v1.10.0"
    assert source.tag(tiny.root, tiny.commit()) == ""
    assert not source.without_tags(tiny.root)
    tiny.git("clone", "--quiet", "--depth", "1", "--no-tags", f"file://{tiny.root}", str(tiny.root / "shallow"))
    assert source.without_tags(tiny.root / "shallow")


def test_folder_names_no_other_target() -> None:
    """A target is one folder: this one says nothing of Lambda."""
    for path in (TARGETS / "eks").rglob("*"):
        if path.suffix in (".py", ".yaml"):
            assert "lambda" not in path.read_text().lower().replace("lambda:", "").replace("lambda _", ""), path


def test_weights_of_any_sum_are_percents() -> None:
    """Another tool's weights need not add up to 100; who has a little has at least 1 percent."""
    assert Traffic.weighed({"a": 100, "b": 50, "c": 0.1}, "7") == Traffic("a", {"b": 33, "c": 1}, "7")
    assert Traffic.weighed({"a": 3}, "7") == Traffic("a", {}, "7")
