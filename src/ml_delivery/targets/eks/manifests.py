"""The objects of one release: a Deployment, and what it owns, so that whatever removes it removes them.

https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import TYPE_CHECKING

from ml_delivery.targets.eks.names import CONTENT, METRICS_PORT, PORT, RELEASE, SERVICE_ACCOUNT

if TYPE_CHECKING:
    from ml_delivery.records import Release, Settings
    from ml_delivery.targets.eks.client import Tree

__all__ = [
    "OWN_VARIABLES",
    "autoscaler",
    "budget",
    "deployment",
    "labels",
    "owned",
    "service",
    "settings_of",
    "threads",
]

CONTENT_DIGITS = 32  # a label's value has at most 63 characters
# Variables that the Deployment sets by itself: how many threads the server and numerical libraries start, and what the service's
# metrics are of.
OWN_VARIABLES = (
    "GUNICORN_CMD_ARGS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "ML_SERVICE_NAME",
    "ML_SERVICE_VERSION",
)


def threads(cpu: int) -> int:
    """How many threads the limit of ``cpu`` thousandths of a processor can keep busy."""
    return max(1, math.ceil(cpu / 1000))


def labels(service: str, deployed: str, version: str) -> dict[str, str]:
    """The labels of a release's objects; ``version`` is a semantic one, or empty."""
    found = {
        "app.kubernetes.io/name": service,
        "app.kubernetes.io/instance": deployed,
        "app.kubernetes.io/managed-by": "ml-delivery",
    }
    return found | ({"app.kubernetes.io/version": version} if version else {})


def deployment(
    service: str, name: str, deployed: str, release: Release, variables: dict[str, str], probe: str, replicas: int
) -> Tree:
    """The Deployment of ``release``.

    ``name`` is ``<service>-<environment>``, ``variables`` are all of its variables, ``probe`` is the path of its health check.
    """
    own, count = release.settings, threads(int(release.settings["cpu"]))
    marks = labels(service, deployed, release.artifact.tag)
    check = {"httpGet": {"path": probe, "port": "http", "scheme": "HTTP"}, "periodSeconds": 1, "timeoutSeconds": 5}
    drain = int(own["drain"])
    added = {
        # gunicorn's own threads take requests, and wait for the network in between.
        "GUNICORN_CMD_ARGS": f"--threads={4 * count} --graceful-timeout={max(drain, 1)}",
        "OMP_NUM_THREADS": str(count),
        "OPENBLAS_NUM_THREADS": str(count),
        "ML_SERVICE_NAME": name,
        "ML_SERVICE_VERSION": deployed,
    }
    container: Tree = {
        "name": "service",
        "image": f"{own['repository']}@{release.artifact.digest}",
        "ports": [
            {"name": "http", "containerPort": PORT, "protocol": "TCP"},
            {"name": "metrics", "containerPort": METRICS_PORT, "protocol": "TCP"},
        ],
        "env": [{"name": name, "value": value} for name, value in sorted((variables | added).items())],
        # The memory limit is the request: beyond it the kernel ends the process, whatever the node has left.
        "resources": {
            "requests": {"cpu": f"{own['cpu']}m", "memory": f"{own['memory']}Mi"},
            "limits": {"cpu": f"{own['cpu']}m", "memory": f"{own['memory']}Mi"},
        },
        "startupProbe": {**check, "failureThreshold": int(own["start"])},
        "readinessProbe": {**check, "failureThreshold": 3, "periodSeconds": 5},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 # nosec B108 - the pod's own
    }
    if drain:  # until every load balancer has stopped sending requests to it
        container["lifecycle"] = {"preStop": {"exec": {"command": ["sleep", str(drain)]}}}
    pod = {
        "serviceAccountName": SERVICE_ACCOUNT,
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 2 * drain + 5,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65534,
            "runAsGroup": 65534,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {"app.kubernetes.io/instance": deployed}},
            }
        ],
        "nodeSelector": {"kubernetes.io/arch": {"x86_64": "amd64"}.get(str(own["architecture"]), "arm64")},
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}}],
    }
    template: Tree = {"metadata": {"labels": marks}, "spec": pod}
    kept = {name: str(own[name]) for name in ("replicas", "max_replicas")}
    content = hashlib.sha256(json.dumps([template, kept], sort_keys=True).encode()).hexdigest()[:CONTENT_DIGITS]
    template["metadata"]["labels"] = {**marks, CONTENT: content}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": deployed,
            "labels": marks,
            "annotations": {
                RELEASE: str(release.number),
                CONTENT: content,
                **{f"ml-delivery/{name.replace('_', '-')}": value for name, value in kept.items()},
            },
        },
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 0,  # a release has no history: the next one is another Deployment
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "selector": {"matchLabels": {"app.kubernetes.io/instance": deployed}},
            "template": template,
        },
    }


def service(name: str, deployed: str, marks: dict[str, str]) -> Tree:
    """The Service of a release."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": marks},
        "spec": {
            "selector": {"app.kubernetes.io/instance": deployed},
            "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}],
        },
    }


def autoscaler(deployed: str, marks: dict[str, str], least: int, most: int) -> Tree:
    """The HorizontalPodAutoscaler of a release, which does nothing while it has 0 replicas."""
    return {
        "apiVersion": "autoscaling/v1",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": deployed, "labels": marks},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployed},
            "minReplicas": least,
            "maxReplicas": most,
            "targetCPUUtilizationPercentage": 70,
        },
    }


def budget(deployed: str, marks: dict[str, str], version: str) -> Tree:
    """The PodDisruptionBudget of a release: of its pods, one at a time may be evicted. ``version`` is the API's."""
    return {
        "apiVersion": version,
        "kind": "PodDisruptionBudget",
        "metadata": {"name": deployed, "labels": marks},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app.kubernetes.io/instance": deployed}}},
    }


def owned(content: Tree, owner: Tree) -> Tree:
    """``content``, owned by the Deployment ``owner``."""
    reference = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
    }
    return {**content, "metadata": {**content["metadata"], "ownerReferences": [reference]}}


def settings_of(found: Tree) -> tuple[Settings, dict[str, str], str]:
    """The settings, variables and digest of the image of a Deployment, comparable with those of its release."""
    pod, notes = found["spec"]["template"]["spec"], found["metadata"].get("annotations", {})
    container = pod["containers"][0]
    image, _, digest = container["image"].partition("@")
    limits = container.get("resources", {}).get("limits", {})
    hook = container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["", "0"])
    settings: Settings = {
        "cpu": _thousandths(str(limits.get("cpu", "0"))),
        "memory": _megabytes(str(limits.get("memory", "0"))),
        "replicas": int(notes.get("ml-delivery/replicas", 0)),
        "max_replicas": int(notes.get("ml-delivery/max-replicas", 0)),
        "start": int(container.get("startupProbe", {}).get("failureThreshold", 0)),
        "drain": int(hook[-1]),
        "repository": image,
        "architecture": {"amd64": "x86_64"}.get(pod.get("nodeSelector", {}).get("kubernetes.io/arch", ""), "arm64"),
    }
    variables = {one["name"]: one.get("value", "") for one in container.get("env", [])}
    return settings, {name: value for name, value in variables.items() if name not in OWN_VARIABLES}, digest


def _thousandths(quantity: str) -> int:
    """https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/"""
    return int(quantity[:-1]) if quantity.endswith("m") else round(float(quantity) * 1000)


def _megabytes(quantity: str) -> int:
    """The quantity in units of 1,048,576 bytes; the API server writes 1024Mi as 1Gi."""
    for unit, size in (("Ki", 1 / 1024), ("Mi", 1), ("Gi", 1024), ("Ti", 1024**2)):
        if quantity.endswith(unit):
            return round(float(quantity[: -len(unit)]) * size)
    return round(float(quantity) / 1024**2)
