"""SageMaker in ministack, which has none: its operations, its state, its rights.

A request is checked by AWS's own model of it, then for what this emulator obeys, then by the operation. What isn't emulated
is refused: nothing is answered that wasn't done.
"""

from __future__ import annotations

import atexit
import importlib
import json
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from embedded_aws.sagemaker import (
    accepted,
    endpoints,
    invoke,
    pipelines,
    processing,
    rights,
    shapes,
    store,
    training,
    transform,
    tuning,
)
from embedded_aws.sagemaker.refusal import Refusal

NAME = "sagemaker"
MODULES = (
    "models",
    "configs",
    "endpoints",
    "packages",
    "training",
    "processing",
    "tuning",
    "transform",
    "pipelines",
    "tags",
)


def patch(app: Any, home: Path, ready: threading.Event) -> None:
    """Add the service; when the server is ready, start again what the last one was running.

    Args:
        home: the folder of temporary files.
    """
    from ministack.core import iam_actions, router

    endpoints.home = training.home = processing.home = transform.home = home
    app.SERVICE_HANDLERS[NAME] = handle
    app._loaded_modules[NAME] = SimpleNamespace(get_state=store.state, load_persisted_state=store.restore)
    app._state_map[NAME] = NAME
    router.SERVICE_PATTERNS[NAME] = {"target_prefixes": ["SageMaker."], "credential_scope": NAME}
    iam_actions.SERVICE_TO_IAM_NAMESPACE[NAME] = NAME
    iam_actions._BOTOCORE_SERVICE_MAP[NAME] = ["sagemaker-runtime"]
    rights.patch()
    threading.Thread(target=_resume, args=(ready,), daemon=True).start()
    atexit.register(endpoints.stop_all)


def _resume(ready: threading.Event) -> None:
    ready.wait()
    with store.lock:
        training.abandon()
        processing.abandon()
        tuning.abandon()
        pipelines.abandon()
        transform.abandon()
    endpoints.resume()


def operations() -> dict[str, Callable[[dict[str, Any]], dict[str, Any]]]:
    """What is emulated, by the operation's name."""
    found: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {}
    for name in MODULES:
        found |= importlib.import_module(f"embedded_aws.sagemaker.{name}").OPERATIONS
    return found


async def handle(
    method: str, path: str, headers: dict[str, str], body: bytes, query: Any
) -> tuple[int, dict[str, str], bytes]:
    """Answer a request to SageMaker or its runtime."""
    if path.startswith("/endpoints/"):
        return await invoke.handle(path, headers, body)
    kind = {"Content-Type": "application/x-amz-json-1.1"}
    operation = headers.get("x-amz-target", "").rpartition(".")[2]
    try:
        answer = _answer(operation, body)
    except Refusal as refusal:
        document = {"__type": refusal.code, "message": str(refusal)}
        return refusal.status, kind, json.dumps(document).encode()
    return 200, kind, json.dumps(answer).encode()


def _answer(operation: str, body: bytes) -> dict[str, Any]:
    known = operations()
    if operation not in known:
        if not shapes.known(operation):
            raise Refusal(f"Unknown operation: {operation}", "UnknownOperationException")
        raise Refusal(f"the embedded AWS does not emulate SageMaker's {operation}", "UnknownOperationException")
    try:
        request = json.loads(body or b"{}")
    except ValueError as error:
        raise Refusal(str(error), "SerializationException") from error
    if not isinstance(request, dict):
        raise Refusal("the request is no object", "SerializationException")
    shapes.check(operation, request)
    accepted.check(operation, request)
    with store.lock:
        answer = known[operation](request)
    return answer if operation.startswith(("List", "Batch")) else shapes.shown(operation, answer)
