"""The probe of container images (``container_image/probe.py``), with each request as SageMaker passes it on to a container."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any


def invocation(path: str) -> dict[str, Any]:
    """The request that is about ``GET path``, as far as it is not WSGI's default."""
    return {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/invocations",
        "HTTP_X_AMZN_SAGEMAKER_CUSTOM_ATTRIBUTES": f"GET {path}",
    }


if __name__ == "__main__":
    shared = runpy.run_path(str(Path(__file__).parents[1] / "container_image/probe.py"))
    shared["main"]("ml_service.invocations", "application", invocation)
