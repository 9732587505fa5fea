"""The service in a SageMaker container: gunicorn's settings, and the request that is inside of SageMaker's.

SageMaker asks GET /ping, and passes everything else on as POST /invocations, with the caller's ``CustomAttributes`` in a header:
https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html. They name the request that is meant, such
as ``GET /v1/predict?kilometres=10``; the body is the same. Without them the application answers /invocations itself.
gunicorn's settings: https://gunicorn.org/reference/settings/.
"""

from __future__ import annotations

import io
import os
import re
import runpy
import sys
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import unquote_to_bytes

__all__ = ["application", "bind", "keepalive", "main", "meant", "threads", "timeout", "worker_class", "worker_tmp_dir"]

bind = "0.0.0.0:8080"  # nosec B104 - a container's own address
worker_class = "gthread"
threads = 4 * (os.cpu_count() or 1)  # requests wait for the network in between
timeout = 60  # within which SageMaker wants an answer
keepalive = 75
worker_tmp_dir = "/dev/shm"  # noqa: S108 # nosec B108 - memory
control_socket_disable = True

MEANT = re.compile(r"(GET|POST|PUT|PATCH|DELETE) (/[!-~]*)")
WITHOUT_BODY = ("GET", "DELETE")


def application() -> Callable[..., Iterable[bytes]]:
    """The service's application, which answers the requests that are meant."""
    from service.app import create_app

    app, ping = create_app(), os.environ.get("PING_PATH", "/readyz")

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        answered: Iterable[bytes] = app(meant(environ, ping), start_response)
        return answered

    return answer


def meant(environ: dict[str, Any], ping: str) -> dict[str, Any]:
    """The request that SageMaker's request is about; the same one if it names no other.

    Args:
        environ: WSGI's, https://peps.python.org/pep-3333/.
        ping: the path that answers GET /ping.
    """
    path = environ.get("PATH_INFO", "")
    attributes = environ.get("HTTP_X_AMZN_SAGEMAKER_CUSTOM_ATTRIBUTES", "")
    asked = f"GET {ping}" if path == "/ping" else attributes if path == "/invocations" else ""
    found = MEANT.fullmatch(asked)
    if not found:
        return environ
    method, (path, _, query) = found[1], found[2].partition("?")
    changed = {"REQUEST_METHOD": method, "PATH_INFO": unquote_to_bytes(path).decode("latin-1"), "QUERY_STRING": query}
    if method in WITHOUT_BODY:
        changed |= {"CONTENT_LENGTH": "0", "wsgi.input": io.BytesIO()}
    return {**environ, **changed}


def main() -> None:
    """Serve until the process is ended: what the image runs."""
    sys.argv = ["gunicorn", "--config", "python:ml_service.invocations", "ml_service.invocations:application()"]
    runpy.run_module("gunicorn", run_name="__main__")


if __name__ == "__main__":
    main()
