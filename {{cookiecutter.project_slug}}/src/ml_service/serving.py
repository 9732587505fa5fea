"""gunicorn's settings in a pod, and the pod's metrics: https://gunicorn.org/reference/settings/.

The deploy sets the number of threads from the pod's processors, in ``GUNICORN_CMD_ARGS``. One process: its counters are the
pod's, and more pods scale better than more processes. The metrics have a port of their own, which the Gateway doesn't reach.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ml_service import telemetry

__all__ = [
    "Measured",
    "bind",
    "child_exit",
    "keepalive",
    "on_starting",
    "post_worker_init",
    "threads",
    "timeout",
    "worker_class",
    "worker_tmp_dir",
]

bind = "0.0.0.0:8080"  # nosec B104 - a pod's own address
worker_class = "gthread"
threads = 4
timeout = 60
keepalive = 75  # longer than a load balancer keeps an idle connection, or it would use one that is being closed
worker_tmp_dir = "/dev/shm"  # noqa: S108 # nosec B108 - memory, since the image is read-only
control_socket_disable = True

METRICS_PORT = 9090
# Who asks for a pod's health, and is no user: the kubelet, load balancers, and the deploy's own checks.
CHECKS = ("kube-probe/", "ELB-HealthChecker/", "ml-delivery")
# Upper bounds in seconds, as in https://prometheus.io/docs/practices/histograms/
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# In a folder of the pod, which outlives its containers: https://kubernetes.io/docs/concepts/storage/volumes/#emptydir
STARTED = Path("/tmp/ml-service-started")  # noqa: S108 # nosec B108 - the pod's own


class Measured:
    """A WSGI application, and how many requests of users it answered with which status, how quickly."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._statuses: Counter[str] = Counter()
        self._buckets: Counter[float] = Counter()
        self._seconds = 0.0

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ.get("HTTP_USER_AGENT", "").startswith(CHECKS):
            with telemetry.unmeasured():
                return self._app(environ, start_response)
        began, status = time.perf_counter(), ["500"]  # what the server answers if the application raises

        def start(line: str, *rest: Any) -> Any:
            status[0] = line[:3]
            return start_response(line, *rest)

        try:
            return self._app(environ, start)
        finally:
            self._count(status[0], time.perf_counter() - began)

    def _count(self, status: str, seconds: float) -> None:
        with self._lock:
            self._statuses[status] += 1
            self._seconds += seconds
            self._buckets[next((bound for bound in BUCKETS if seconds <= bound), float("inf"))] += 1

    def text(self) -> str:
        """The metrics in Prometheus's text format: https://prometheus.io/docs/instrumenting/exposition_formats/."""
        with self._lock:
            statuses, buckets, seconds = dict(self._statuses), dict(self._buckets), self._seconds
        lines = ["# TYPE http_requests_total counter"]
        lines += [f'http_requests_total{{status="{status}"}} {count}' for status, count in sorted(statuses.items())]
        lines.append("# TYPE http_request_duration_seconds histogram")
        total = 0
        for bound in (*BUCKETS, float("inf")):
            total += buckets.get(bound, 0)
            name = "+Inf" if bound == float("inf") else f"{bound}"
            lines.append(f'http_request_duration_seconds_bucket{{le="{name}"}} {total}')
        lines += [f"http_request_duration_seconds_sum {seconds}", f"http_request_duration_seconds_count {total}"]
        return "\n".join(lines) + "\n"


def on_starting(_: Any) -> None:
    """Report whether the pod's process starts, or starts again: it ended by itself, or by its memory limit."""
    restarted = STARTED.exists()
    with suppress(OSError):  # without such a folder, each start is the first
        STARTED.touch()
    level, message = ("warning", "the process started again") if restarted else ("info", "the pod starts")
    print(telemetry.line(level, {"Restarts": "Count"}, message=message, Restarts=int(restarted)), flush=True)


def child_exit(server: Any, worker: Any) -> None:
    """End the pod's container with its only worker, so that the cluster knows, and starts another; else only gunicorn would."""
    if server.LISTENERS:  # none are left while the server itself stops
        server.log.error("the worker %s ended, and the pod's container with it", worker.pid)
        raise SystemExit(70)


def post_worker_init(worker: Any) -> None:
    """Count what the worker's application answers, and serve the counts."""
    worker.wsgi = measured = Measured(worker.wsgi)

    class Metrics(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = measured.text().encode() if self.path == "/metrics" else b""
            self.send_response(200 if body else 404)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing: the log is the service's."""

    server = ThreadingHTTPServer(("", METRICS_PORT), Metrics)
    threading.Thread(target=server.serve_forever, daemon=True).start()
