"""Each of SageMaker's operations that is emulated has a contract test, and says whether AWS has confirmed it."""

from __future__ import annotations

import ast
import datetime
import tomllib
from typing import Any

import pytest
from tiny import ROOT

ROWS: list[dict[str, Any]] = tomllib.loads((ROOT / "docs/sagemaker.toml").read_text())["operation"]


def emulated() -> set[str]:
    """The operations that the emulator's modules register, and the runtime's one."""
    found = {"InvokeEndpoint"}
    for path in (ROOT / "src/embedded_aws/sagemaker").glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and [getattr(t, "id", "") for t in node.targets] == ["OPERATIONS"]:
                assert isinstance(node.value, ast.Dict)
                found |= {key.value for key in node.value.keys if isinstance(key, ast.Constant)}  # type: ignore[misc]
    return found


def test_every_operation_has_one_contract() -> None:
    """What is emulated is in the table, once, and nothing else is."""
    names = [row["name"] for row in ROWS]
    assert set(names) == emulated()
    assert len(names) == len(set(names))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row["name"]))
def test_contract_exists_and_makes_the_call(row: dict[str, Any]) -> None:
    """The test that a row names exists, its file calls the operation, and the row says when AWS has confirmed it."""
    file, _, name = row["test"].partition("::")
    text = (ROOT / "tests" / file).read_text()
    assert f"def {name}(" in text
    text += "".join((ROOT / "tests" / shared).read_text() for shared in ("sagemaker_jobs.py", "sagemaker_serving.py"))
    called = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in row["name"]).lstrip("_")
    assert f".{called}(" in text
    if row["aws"] != "never":
        assert datetime.date.fromisoformat(row["aws"]) <= datetime.datetime.now(datetime.UTC).date()
