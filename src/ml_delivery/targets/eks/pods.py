"""The pods of a deployed version: whether they are ready or why not, what they measured and what they logged."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

from ml_delivery.errors import CloudError, Refused, Unsettled
from ml_delivery.records import Line, Numbers
from ml_delivery.release import foreign
from ml_delivery.targets.eks import forward, prometheus, reasons
from ml_delivery.targets.eks.names import CONTENT, METRICS_PORT, PORT, Paths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ml_delivery.targets.eks.client import Client, Reply, Tree
    from ml_delivery.targets.eks.reasons import Reason

__all__ = ["LINES", "Pods"]

LINES, READ = 10, 100  # lines of a container that exited in the refusal; and those that they are the last of
MOST, MOST_ANSWERED = 1000, 200  # characters of these lines, and of an answer


class Pods:
    """The pods of one deployed version.

    Args:
        node_seconds: for how long a pod may wait for a node, which a cluster that adds nodes takes a while to start.
        start: the seconds within which a pod must be ready once it runs.
        path: the path of the health check.
        shown: what may be shown of a text of the service, in at most so many characters.
    """

    def __init__(
        self,
        client: Client,
        namespace: str,
        deployed: str,
        *,
        node_seconds: float,
        start: int,
        path: str,
        shown: Callable[[str, int], str],
    ) -> None:
        self.deployed, self._client, self._paths = deployed, client, Paths(namespace)
        self._node_seconds, self._start, self._path = node_seconds, start, path
        self._answer, self._pull = (0, ""), ""
        self._shown = shown
        self._running: dict[str, float] = {}  # since when each pod runs without being ready

    def wait(self, replicas: int) -> None:
        """Wait until at least ``replicas`` pods are available.

        Raises:
            Refused: they can't become so; the message has the cluster's reason.
            Unsettled: it timed out.
        """
        began, pause = time.monotonic(), 0.05
        limit = self._node_seconds + 2 * self._start + 60
        while not _available(there := self._deployment(), replicas):
            if changed := _changed(there, replicas):
                raise Refused(
                    f"{self.deployed} {changed}, not by this deploy",
                    next=f"end what changes it, then invoke deploy {self._client.where}",
                )
            if why := self._reason(there, time.monotonic() - began):
                raise Refused(
                    f"{self.deployed} does not start: {self._told(why)}",
                    next=f"fix what it names, then invoke deploy {self._client.where}",
                )
            if time.monotonic() - began > limit:
                raise Unsettled(
                    f"{self.deployed}: timed out after {limit:.0f} s{self._last_answer()}",
                    next=f"kubectl describe pods --namespace {self._paths.namespace}, then run this again",
                )
            time.sleep(pause)
            pause = min(pause * 1.05, 1.0)

    def one(self) -> str:
        """The API's path of a pod that is ready; empty for none."""
        ready = [pod["metadata"]["name"] for pod in self._current() if _ready(pod)]
        return self._paths.core("pods", ready[0]) if ready else ""

    def why(self) -> str:
        """The reason with the last lines of the process, in one sentence; empty while nothing is known to be wrong."""
        found = self._reason(self._deployment(), self._node_seconds)
        return self._told(found) if found else ""

    def numbers(self) -> Numbers:
        """What the pods measured of users' requests since they started, restarts counted as errors."""
        total, restarts = prometheus.Measured(), 0
        for pod in self._current():
            restarts += sum(int(one.get("restartCount", 0)) for one in pod["status"].get("containerStatuses", []))
            reply = self._get(pod, METRICS_PORT, "/metrics", 5)
            if reply.status == 200:
                total += prometheus.read(reply.body.decode("utf-8", "replace"))
            elif _ready(pod):
                text = str(reply.document.get("message", "")) or reply.body.decode("utf-8", "replace")[:200]
                raise CloudError(
                    f"the metrics of {pod['metadata']['name']} can't be read: {text}",
                    next=f"invoke doctor {self._client.where}, then run this again",
                )
        return Numbers(total.requests, restarts, total.p95, 0, total.failures)

    def logs(self, since: float) -> Iterator[Line]:
        """The lines of all pods since ``since`` (seconds since 1970), oldest first.

        Raises:
            Rejected: the role may not read them.
        """
        at = quote(datetime.fromtimestamp(since, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
        lines = []
        for pod in self._current():
            name = pod["metadata"]["name"]
            path = f"{self._paths.core('pods', name)}/log?timestamps=true&sinceTime={at}"
            reply = self._client.send("GET", path)
            if reply.status in (401, 403):
                self._client.checked("GET", path, reply)
            if reply.status == 200:  # else its container has not started, or it is gone
                lines += reply.body.decode("utf-8", "replace").splitlines()
        return (_line(*line.split(" ", 1)) for line in sorted(lines) if " " in line)

    # -- the cluster's objects

    def _deployment(self) -> Tree:
        """The Deployment as it is now; empty if there is none."""
        return self._client.get(self._paths.deployments(self.deployed)) or {}

    def _current(self) -> list[Tree]:
        return self._of(self._deployment())

    def _of(self, there: Tree) -> list[Tree]:
        """The pods of what this Deployment deploys now that are not being deleted."""
        content = there.get("metadata", {}).get("annotations", {}).get(CONTENT, "")
        return [
            pod
            for pod in self._client.items(self._paths.pods(self.deployed))
            if pod["metadata"]["labels"].get(CONTENT) == content and not pod["metadata"].get("deletionTimestamp")
        ]

    def _leaving(self) -> bool:
        """Whether pods of this environment are still stopping, which then make room for others."""
        return any("deletionTimestamp" in pod["metadata"] for pod in self._client.items(self._paths.core("pods")))

    # -- why

    def _reason(self, there: Tree, waited: float) -> Reason | None:
        """Why its pods can't become ready, after they were ``waited`` for; None while nothing is known to be wrong."""
        if why := reasons.of_deployment(there):
            return why
        for pod in self._of(there):
            if why := reasons.of_pod(pod):
                return why
            unplaced = reasons.waits_for_node(pod)
            if unplaced and waited >= self._node_seconds and not self._leaving():
                return reasons.Reason(f"no node has room for it: {unplaced}")
            self._pull = reasons.pull(pod) or self._pull
            if self._ask(pod) > self._start:
                return reasons.Reason(
                    f"it is not ready after {self._start} s (function.start)", pod["metadata"]["name"]
                )
        return None

    def _told(self, why: Reason) -> str:
        """The reason with the last lines of the process, and what it last answered."""
        lines = self._tail(why) if why.log else []
        said = f"; its last lines: {self._shown(' | '.join(lines), MOST)}" if lines else ""
        pull = f"; {self._pull}" if self._pull and self._pull not in why.text else ""
        return f"{why.text}{pull}{self._last_answer()}{said}"

    def _last_answer(self) -> str:
        status, body = self._answer
        return f"; it last answered {self._path} with {status}: {self._shown(body, MOST_ANSWERED)}" if status else ""

    def _tail(self, why: Reason) -> list[str]:
        path = f"{self._paths.core('pods', why.log)}/log?tailLines={READ}"
        for previous in (why.previous, False):  # the previous container's log may be removed already
            reply = self._client.send("GET", f"{path}&previous={'true' if previous else 'false'}")
            if reply.status == 200:
                return foreign.last(reply.body.decode("utf-8", "replace").splitlines(), LINES)
        return []

    def _ask(self, pod: Tree) -> float:
        """Remember what a pod that runs but isn't ready answers to the health check; for how many seconds it has been so."""
        name, now = pod["metadata"]["name"], time.monotonic()
        running = any("running" in one.get("state", {}) for one in pod["status"].get("containerStatuses", []))
        if _ready(pod) or not running:
            self._running.pop(name, None)
            return 0.0
        waited = now - self._running.setdefault(name, now)
        try:
            reply = self._get(pod, PORT, self._path, 2)
        except CloudError:
            return waited  # the API server is away; what is asked next waits for it
        if reply.document.get("kind") != "Status" and b"error trying to reach service" not in reply.body:
            self._answer = (reply.status, reply.body.decode("utf-8", "replace"))
        return waited

    def _get(self, pod: Tree, port: int, path: str, seconds: float) -> Reply:
        place = self._paths.core("pods", pod["metadata"]["name"])
        proxied = f"{place}:{port}/proxy"
        return forward.send(self._client, proxied, lambda: place, port, path, seconds=seconds, patience=0)


def _available(there: Tree, replicas: int) -> bool:
    """Whether at least this many pods of the Deployment are ready."""
    status = there.get("status", {})
    seen = status.get("observedGeneration", 0) >= there.get("metadata", {}).get("generation", 0)
    return bool(there) and seen and int(status.get("availableReplicas") or 0) >= replicas


def _changed(there: Tree, replicas: int) -> str:
    """What something else did to the Deployment, so that it can't get this many pods; empty for nothing."""
    if not there:
        return "was removed"
    scaled = int(there["spec"].get("replicas", 0))
    return f"was scaled to {scaled} of {replicas} pods" if scaled < replicas else ""


def _ready(pod: Tree) -> bool:
    return any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", []))


def _line(at: str, text: str) -> Line:
    """A line with its time, which has nanoseconds: ``2026-01-02T03:04:05.123456789Z``."""
    return Line(datetime.fromisoformat(f"{at[:26].rstrip('Z')}+00:00").timestamp(), text)
