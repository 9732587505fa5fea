"""A change of a function or an image is on disk before it is acknowledged.

AWS loses nothing that it has acknowledged. Objects in S3 are files at once, but the rest is saved in the background
(``saving``), so that a server that was killed came back with a ledger in S3 that was ahead of Lambda: it named versions that
no longer existed, and the alias had the weights of an earlier step. So the state of the services that a ledger names is
written before the response to each request that changes it; of the others, the last seconds may be lost.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import threading
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

SERVICES = ("lambda", "ecr")  # as ministack routes requests to them, and as it names their files
READS = ("Get", "List", "Describe", "Batch")  # operations of ECR that change nothing; BatchDeleteImage does
TRIES = 20  # of a copy of state that a thread is changing

_one = threading.Lock()  # reads and writes one state after the other, so that an older one never replaces a newer one


def patch() -> None:
    """Hash a function's code once, and remove code only after the state that no longer names it is written.

    Each change copies and writes all functions, so neither may take long where there are many.
    """
    from ministack.services import lambda_svc as lambda_

    write, remove = lambda_._write_code_blob, lambda_._prune_orphan_code_blobs
    digest = lru_cache(maxsize=64)(lambda code: hashlib.sha256(code).hexdigest())

    def written(code: bytes) -> str:
        known = digest(code)
        return known if os.path.exists(os.path.join(lambda_.CODE_BLOB_DIR, f"{known}.zip")) else str(write(code))

    lambda_._write_code_blob = written
    lambda_._prune_orphan_code_blobs = _named.append
    lambda_.copy = SimpleNamespace(**{**vars(copy), "deepcopy": _deepcopy})
    _removals.append(remove)


_named: list[set[str]] = []  # the code that the state names which is about to be written
_removals: list[Callable[[set[str]], None]] = []


def concerned(app: Any, scope: Any) -> bool:
    """Whether the request may change the state of one of ``SERVICES``."""
    if scope["method"] in ("GET", "HEAD") or "/invocations" in scope["path"]:
        return False
    if scope["path"].startswith("/v2/"):
        return "/manifests/" in scope["path"]
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    service = app.detect_service(scope["method"], scope["path"], headers, {})
    operation = headers.get("x-amz-target", "").rpartition(".")[2]
    return service in SERVICES and (not operation.startswith(READS) or operation.startswith("BatchDelete"))


def keep(app: Any) -> None:
    """Write the state of ``SERVICES``, as far as they are loaded."""
    from ministack.core import persistence

    services = app._build_persistence_save_dict()
    with _one:
        for name in SERVICES:
            if name not in services:
                continue
            _named.clear()
            if (state := _copy(services[name])) is not None:
                _write(persistence, name, state)
                for named in _named:
                    _removals[0](named)


def _copy(get_state: Callable[[], Any]) -> Any:
    """The state; a copy that a thread disturbs, which settles an update, is taken again."""
    for _ in range(TRIES):
        try:
            return get_state()
        except RuntimeError:  # a dictionary changed its size
            _named.clear()
    return get_state()


def _deepcopy(value: Any) -> Any:
    """As ``copy.deepcopy``, and several times as fast for what JSON knows, which refers to nothing twice."""
    if type(value) is dict:
        return {key: _deepcopy(inner) for key, inner in value.items()}
    if type(value) is list:
        return [_deepcopy(inner) for inner in value]
    return value if type(value) in (str, int, float, bool, bytes, type(None)) else copy.deepcopy(value)


def _write(persistence: Any, service: str, state: Any) -> None:
    """As ministack's ``save_state``, whose ``json.dump`` is ten times as slow as ``json.dumps``."""
    content = {"__ministack_format__": persistence._state_format_version(service), "payload": state}
    file = Path(persistence.STATE_DIR, f"{service}.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(".new")
    new.write_text(json.dumps(content, default=persistence._json_default))
    new.replace(file)
