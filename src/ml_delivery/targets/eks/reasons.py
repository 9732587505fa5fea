"""Why pods don't become ready, as soon as the cluster knows it.

https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ml_delivery.targets.eks.client import Tree

__all__ = ["Reason", "of_deployment", "of_pod", "pull", "waits_for_node"]

# What doesn't go away by itself. A registry that is out of reach may come back, so the first failure of a pull is not final
# unless it names what is missing.
UNABLE = (
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
)
MISSING = re.compile(r"not found|unauthorized|denied|forbidden|manifest unknown|unsupported|no match", re.I)
# In a runtime's message, before it comes to the point: the image's long name, again and again.
REPEATED = re.compile(r'rpc error: code = \w+ desc = |failed to (pull and unpack image|resolve reference) "[^"]*": ')


@dataclass(frozen=True)
class Reason:
    """Why a pod can't become ready.

    Attributes:
        text: the reason, in one sentence.
        log: the pod whose last lines belong to it; empty for none.
        previous: whether they are in the log of its container before the last restart.
    """

    text: str
    log: str = ""
    previous: bool = False


def of_deployment(found: Tree) -> Reason | None:
    """Why a Deployment gets no pods: a quota, or an admission controller."""
    for one in found.get("status", {}).get("conditions", []):
        if one["type"] == "ReplicaFailure" and one["status"] == "True":
            return Reason(f"the cluster admits no pod: {one.get('message', one.get('reason', ''))}")
    return None


def of_pod(pod: Tree) -> Reason | None:
    """Why a pod's container doesn't run, or ended; None while nothing is known to be wrong."""
    for one in pod.get("status", {}).get("containerStatuses", []):
        waiting, name = one.get("state", {}).get("waiting", {}), pod["metadata"]["name"]
        reason, message = waiting.get("reason", ""), waiting.get("message", "")
        if (reason == "ErrImagePull" and MISSING.search(message)) or reason in UNABLE:
            return Reason(f"the image can't be run: {reason}: {_short(message)}")
        state, last = one.get("state", {}).get("terminated"), one.get("lastState", {}).get("terminated")
        ended = state or last
        if ended:
            return Reason(_ended(ended, int(one.get("restartCount", 0))), name, previous=not state)
    return None


def pull(pod: Tree) -> str:
    """Why the last pull of a pod's image failed; empty where that is not known. The cluster shows it until the next try."""
    states = [one.get("state", {}).get("waiting", {}) for one in pod.get("status", {}).get("containerStatuses", [])]
    return next((_short(str(one.get("message", ""))) for one in states if one.get("reason") == "ErrImagePull"), "")


def _short(message: str) -> str:
    """A runtime's message without what it repeats."""
    return REPEATED.sub("", message)


def waits_for_node(pod: Tree) -> str:
    """The scheduler's message if no node has room for the pod; else empty."""
    for one in pod.get("status", {}).get("conditions", []):
        if one["type"] == "PodScheduled" and one["status"] == "False" and one.get("reason") == "Unschedulable":
            return str(one.get("message", ""))
    return ""


def _ended(state: Tree, restarts: int) -> str:
    if state.get("reason") == "OOMKilled":
        return "its process was ended by the kernel, since it used more than function.memory"
    code = state.get("exitCode", 0)
    return f"its process exited with code {code}" + (f", {restarts} times" if restarts > 1 else "")
