"""What a cluster's agents do: the lines of containers reach CloudWatch Logs, and Container Insights measures pods.

On AWS an administrator installs both, Fluent Bit and CloudWatch's agent, and configures whose lines go unwrapped to which log
group: https://docs.fluentbit.io/manual/data-pipeline/outputs/cloudwatch (``log_key`` and ``log_format json/emf``). Here those of
each namespace do for which there is a log group ``/ml-service/NAMESPACE``. Of Container Insights' metrics there are the number of
running pods and those that the kernel ended for their memory, and none of the use of processors and memory:
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Container-Insights-metrics-enhanced-EKS.html
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from embedded_aws.kubernetes.api import ApiError

if TYPE_CHECKING:
    from embedded_aws.kubernetes.api import Api

GROUPS = "/ml-service/"
INSIGHTS = "ContainerInsights"
PAUSE, MINUTE = 2.0, 60.0
SECOND = 10**9  # in nanoseconds, which the API's times have
log = logging.getLogger("agents")


class Agents:
    """The agents of one cluster, in a thread; ``account`` and ``region`` are those of its logs and metrics."""

    def __init__(self, api: Api, cluster: str, account: str, region: str) -> None:
        self._api, self._cluster, self._scope = api, cluster, (account, region)
        self._stopped = threading.Event()
        self._began = time.time_ns()
        self._counted: dict[str, float] = {}  # when the pods of a namespace were last counted
        # By container: how often it was restarted, and the time of its last line that was read.
        self._read: dict[str, tuple[int, int]] = {}
        self._killed: set[str] = set()

    def start(self) -> None:
        """Begin."""
        threading.Thread(target=self._run, daemon=True, name="cluster-agents").start()

    def stop(self) -> None:
        """End, at the latest before the next look."""
        self._stopped.set()

    def _run(self) -> None:
        from ministack.core.responses import request_scope

        with request_scope(*self._scope):
            while not self._stopped.wait(PAUSE):
                try:
                    self._look()
                except ApiError as error:
                    log.info("%s", error)  # the API server is away; what is missed now is read later
                except Exception:  # one pod that can't be read must not end the agents
                    log.exception("the agents of %s", self._cluster)

    def _look(self) -> None:
        from ministack.services import cloudwatch, cloudwatch_logs

        read: dict[str, tuple[int, int]] = {}
        for group in [name for name in cloudwatch_logs._log_groups.keys() if name.startswith(GROUPS)]:  # noqa: SIM118 - no iterator
            space = group.removeprefix(GROUPS)
            where = {"ClusterName": self._cluster, "Namespace": space}
            pods = self._api.get(f"/api/v1/namespaces/{space}/pods")["items"]
            for pod in pods:
                for status in pod["status"].get("containerStatuses", []):
                    key = f"{pod['metadata']['uid']}/{status['name']}"
                    read[key] = self._lines(group, pod, status, self._read.get(key))
                    self._memory(where, pod, status)
            if time.monotonic() - self._counted.get(space, -MINUTE) >= MINUTE:
                self._counted[space] = time.monotonic()
                running = sum(pod["status"].get("phase") == "Running" for pod in pods)
                cloudwatch.record_metric(INSIGHTS, "namespace_number_of_running_pods", running, "Count", where)
        self._read = read

    def _lines(
        self, group: str, pod: dict[str, Any], status: dict[str, Any], before: tuple[int, int] | None
    ) -> tuple[int, int]:
        """Pass on the new lines of a container, those of its previous process first."""
        from ministack.services import cloudwatch_logs

        stream = pod["metadata"]["name"]
        seen, until = before or (0, _last(group, stream))
        restarts = int(status.get("restartCount", 0))
        found: list[tuple[int, str]] = []
        for previous in (True, False) if restarts > seen else (False,):
            found += self._ask(pod, status["name"], max([until, *(at for at, _ in found)]), previous)
        if found:
            named = {"logGroupName": group, "logStreamName": stream}
            cloudwatch_logs._create_log_stream(named)
            events = [{"timestamp": at // 10**6, "message": text} for at, text in found if text]
            cloudwatch_logs._put_log_events({**named, "logEvents": events})
        return restarts, max([until, *(at for at, _ in found)])

    def _ask(self, pod: dict[str, Any], container: str, until: int, previous: bool) -> list[tuple[int, str]]:
        """The lines of a container after ``until``, each with its time, in nanoseconds since 1970."""
        about = pod["metadata"]
        path = f"/api/v1/namespaces/{about['namespace']}/pods/{about['name']}/log?container={container}&timestamps=true"
        if until:
            path += f"&sinceTime={quote(datetime.fromtimestamp(until // SECOND, UTC).strftime('%Y-%m-%dT%H:%M:%SZ'))}"
        try:
            text = self._api.get(f"{path}&previous=true" if previous else path).get("text", "")
        except ApiError as error:
            if error.status not in (400, 404):
                raise
            return []  # it has not started, or its log is gone
        lines = [line.partition(" ") for line in text.splitlines()]
        return [(at, rest) for when, _, rest in lines if (at := _nanoseconds(when)) > until]

    def _memory(self, where: dict[str, str], pod: dict[str, Any], status: dict[str, Any]) -> None:
        """Count a container that the kernel ended because of its memory, once."""
        from ministack.services import cloudwatch

        for state in (status.get("state", {}), status.get("lastState", {})):
            ended = state.get("terminated") or {}
            container = str(ended.get("containerID", ""))
            if ended.get("reason") != "OOMKilled" or container in self._killed:
                continue
            self._killed.add(container)
            if _nanoseconds(ended["finishedAt"]) >= self._began // SECOND * SECOND:
                name = pod["metadata"]["name"].rsplit("-", 2)[0]  # of the Deployment, as the agent names its pods
                metric = "pod_container_status_terminated_reason_oom_killed"
                cloudwatch.record_metric(INSIGHTS, metric, 1, "Count", {**where, "PodName": name})


def _last(group: str, stream: str) -> int:
    """Until when the lines of a stream were stored already, by an emulator that ended since; 0 for none."""
    from ministack.services import cloudwatch_logs

    found = cloudwatch_logs._log_groups[group]["streams"].get(stream)
    return (int(found["lastEventTimestamp"] or 0) + 1) * 10**6 - 1 if found else 0


def _nanoseconds(text: str) -> int:
    """Nanoseconds since 1970 of ``2026-01-02T03:04:05.123456789Z``, whose fraction may be shorter."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    return int(datetime.fromisoformat(f"{whole}+00:00").timestamp()) * SECOND + int(fraction.ljust(9, "0")[:9])
