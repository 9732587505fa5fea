"""``--json``: each task's document has a schema with a version in ``docs/json``, and what is printed is what it says."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import json_shapes
import jsonschema
import pytest
from tiny import Tiny

from ml_delivery.tasks import namespace

# What is checked where the rest of it is set up.
ELSEWHERE = {
    "ab": "test_ab.py",
    "build --on codebuild": "test_codebuild.py",
    "eject": "test_extending.py",
    "upgrade": "test_upgrade.py",
}


@pytest.mark.parametrize("task", json_shapes.SHAPES)
def test_schema_is_of_the_records(task: str) -> None:
    """The file is what the records give; ``python tests/json_shapes.py`` writes it."""
    assert json.loads(json_shapes.file(task).read_text(encoding="utf-8")) == json_shapes.schema(task)
    jsonschema.Draft202012Validator.check_schema(json_shapes.schema(task))


def test_every_task_that_prints_json_has_a_schema() -> None:
    """No document without a schema, no schema without a task, no file that is left over."""
    tasks = {context.name for context in namespace.to_contexts() if "json" in context.args}
    assert {task.partition(" ")[0] for task in json_shapes.SHAPES} == tasks
    assert set(json_shapes.FOLDER.glob("*.json")) == {json_shapes.file(task) for task in json_shapes.SHAPES}
    document = (json_shapes.FOLDER / "README.md").read_text()
    assert all(f"`{json_shapes.file(task).name}`" in document for task in json_shapes.SHAPES)


def printed(service: Tiny, *words: str) -> Any:
    """The document that a task prints, whatever its exit code."""
    done = subprocess.run(
        service.command(*words, "--json"),
        cwd=service.root,
        env=service.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1, 2), done.stderr
    return json.loads(done.stdout)


def test_what_is_printed_is_as_the_schema_says(tiny: Tiny) -> None:
    """From a build to a rollback, and all that can be asked for: no document has a key that its schema does not name."""
    seen = set()

    def check(task: str, *more: str) -> None:
        json_shapes.check(task, printed(tiny, task, *more))
        seen.add(task)

    for task in ("bootstrap", "build", "push", "plan", "deploy", "verify"):
        check(task)
    tiny.repair("second")
    tiny.replace("pipeline.toml", 'LOG_LEVEL = "INFO"', 'LOG_LEVEL = "DEBUG"')
    tiny.commit()
    for task in ("build", "push"):
        check(task)
    check("plan", "--requests-per-second", "5")
    for task in ("deploy", "status", "rollback", "releases", "config", "doctor", "monitor", "report"):
        check(task)
    check("logs", "--query", "slow")
    check("call", "/version")
    for task in ("cloud.status", "cloud.parity"):
        check(task)
    assert seen | set(ELSEWHERE) == set(json_shapes.SHAPES)
    for task, file in ELSEWHERE.items():
        assert f'json_shapes.check("{task}", ' in (Path(__file__).parent / file).read_text()


def test_key_without_a_schema_is_found() -> None:
    """The check is strict: a key more, a key less and another type are each refused."""
    good = {"version": "1", "installed": "1", "where": "vendored", "changed": []}
    json_shapes.check("eject", good)
    for bad in ({**good, "more": 1}, {k: v for k, v in good.items() if k != "where"}, {**good, "version": 1}):
        with pytest.raises(jsonschema.ValidationError):
            json_shapes.check("eject", bad)
