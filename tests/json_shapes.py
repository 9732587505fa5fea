"""The JSON schemas of what ``--json`` prints, made from the records that are printed: ``python tests/json_shapes.py``.

They are in ``docs/json``. A key that is added keeps the version of its schema; one that is removed, renamed or retyped raises it,
here and in the file's name.
"""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Any

import jsonschema
from pydantic import TypeAdapter, create_model

from embedded_aws.control import Status
from ml_delivery.account.change_sets import InfraPlan
from ml_delivery.artifact.codebuild import Done
from ml_delivery.eject import Package
from ml_delivery.findings import Finding
from ml_delivery.monitoring.drift import Drift
from ml_delivery.monitoring.page import Report
from ml_delivery.records import Cost, Experiment, Live, Manifest, Pushed, Reading, Release
from ml_delivery.release.calling import Called
from ml_delivery.release.head import Holder, Work
from ml_delivery.release.results import Link, Outcome, Plan
from ml_delivery.target import Parity
from ml_delivery.upgrade import Updated
from ml_delivery.upstream import Available

FOLDER = Path(__file__).parent.parent / "docs/json"


def _resolvable() -> None:
    """Put into each module what it imports for its types alone, so that the types of its records can be read."""
    modules = [
        module for name, module in sys.modules.items() if name.startswith(("ml_delivery.", "embedded_aws.control"))
    ]
    found = {name: value for module in modules for name, value in vars(module).items() if name[0].isupper()}
    for module in modules:
        for name, value in found.items():
            if not hasattr(module, name):
                setattr(module, name, value)


def _document(name: str, **fields: Any) -> Any:
    """A document that a task puts together."""
    return create_model(name, **{key: (kind, ...) for key, kind in fields.items()})


_resolvable()
RELEASED = _document("Outcome", **inspect.get_annotations(Outcome, eval_str=True), address=str)
PLAN = inspect.get_annotations(Plan, eval_str=True)
STACK = _document("Stack", **inspect.get_annotations(InfraPlan, eval_str=True), applied=bool)
STATUS = _document(
    "Status",
    live=Live | None,
    lock=Holder | None,
    work=Work | None,
    retired=int,
    experiment=Experiment | None,
    address=str,
)
# Each task that takes --json, with the version of its document, and what that is.
SHAPES: dict[str, tuple[int, Any]] = {
    "bootstrap": (
        1,
        _document("Bootstrap", stacks=list[STACK], established=list[str], DELIVERY=dict[str, dict[str, str]]),
    ),
    "build": (1, Manifest),
    "build --on codebuild": (1, Done),
    "push": (1, Pushed),
    "plan": (2, _document("Planned", **PLAN, drift=list[Drift], cost=Cost | None)),
    "deploy": (2, RELEASED),
    "rollback": (2, RELEASED),
    "ab": (1, _document("Compared", experiment=Experiment, reading=Reading | None)),
    "call": (1, Called),
    "status": (2, STATUS),
    "releases": (2, list[Release]),
    "logs": (1, list[dict[str, str]]),
    "verify": (2, list[Link]),
    "config": (1, dict[str, dict[str, Any]]),
    "doctor": (2, list[Finding]),
    "monitor": (2, _document("Monitored", differences=list[Drift])),
    "report": (1, Report),
    "eject": (1, Package),
    "upgrade": (2, _document("Upgrade", template=Available, update=Updated | None, pull_request=str)),
    "cloud.status": (1, Status),
    "cloud.parity": (1, dict[str, list[Parity]]),
}


def file(task: str) -> Path:
    """Where a task's schema is."""
    return FOLDER / f"{task.replace(' --on ', '-on-')}.v{SHAPES[task][0]}.schema.json"


def schema(task: str) -> dict[str, Any]:
    """The schema of what a task prints with ``--json``: https://json-schema.org/draft/2020-12."""
    version, kind = SHAPES[task]
    made = TypeAdapter(kind).json_schema(mode="serialization")
    _clean(made)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"urn:ml-delivery:{file(task).name}"}
    return {
        **head,
        "title": f"invoke {task} --json, version {version}",
        **{k: v for k, v in made.items() if k != "title"},
    }


def _clean(made: Any) -> None:
    """Leave out the titles that only repeat names; keep the first line of each description, without reST's quotes."""
    if isinstance(made, list):
        for one in made:
            _clean(one)
    elif isinstance(made, dict):
        if isinstance(made.get("title"), str):
            del made["title"]
        if isinstance(made.get("description"), str):
            made["description"] = made["description"].splitlines()[0].replace("``", "`")
        for one in made.values():
            _clean(one)


def strict(made: Any) -> Any:
    """The schema, refusing keys that it does not name."""
    if isinstance(made, list):
        return [strict(one) for one in made]
    if not isinstance(made, dict):
        return made
    named = {"additionalProperties": False} if isinstance(made.get("properties"), dict) and "type" in made else {}
    return {**{key: strict(one) for key, one in made.items()}, **named}


def check(task: str, document: Any) -> None:
    """Fail with jsonschema's ValidationError unless ``document`` is as the schema says, without any key more."""
    jsonschema.Draft202012Validator(strict(schema(task))).validate(document)


def write() -> None:
    """Write every schema, and remove what has none any more."""
    FOLDER.mkdir(exist_ok=True)
    wanted = {file(task): json.dumps(schema(task), indent=1, ensure_ascii=False) + "\n" for task in SHAPES}
    for old in set(FOLDER.glob("*.json")) - set(wanted):
        old.unlink()
    for path, text in wanted.items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
