"""Grafana's dashboard is one by Grafana's own schema: its published types, and the TypeScript compiler as the judge."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tiny import PRICING, Tiny

from ml_delivery.monitoring import grafana
from ml_delivery.monitoring.definition import observed
from ml_delivery.observed import Place

HERE = Path(__file__).parent / "grafana_schema"
OPTIONS = [
    "--noEmit",
    "--strict",
    "--skipLibCheck",
    "--module",
    "esnext",
    "--moduleResolution",
    "bundler",
    "--target",
    "es2022",
]


@pytest.fixture(scope="module")
def compiler(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the types and the compiler, as the lock names them; without npm or its registry nothing is checked."""
    folder = tmp_path_factory.mktemp("schema")
    for name in ("package.json", "package-lock.json", "check.ts"):
        shutil.copy(HERE / name, folder)
    npm = shutil.which("npm")
    words = [npm or "", "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
    if npm is None or subprocess.run(words, cwd=folder, check=False).returncode != 0:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("NOT CHECKED: npm could not bring Grafana's schema")
    return folder


def complaints(folder: Path, board: dict[str, Any]) -> str:
    """What the compiler has against a dashboard and its queries; nothing if they are by the schema."""
    targets = [target for panel in board["panels"] for target in panel.get("targets", [])]
    (folder / "board.ts").write_text(
        'import type { Board, Target } from "./check";\n'
        f"export const board: Board = {json.dumps(board)};\nexport const targets: Target[] = {json.dumps(targets)};\n"
    )
    words = ["node", "node_modules/typescript/bin/tsc", *OPTIONS, "board.ts"]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False).stdout


def test_dashboard_is_by_grafanas_schema(compiler: Path, tiny: Tiny) -> None:
    """The rendered dashboard compiles against the schema; one with a wrong name, kind or value does not."""
    shutil.copytree(PRICING / "infra", tiny.root / "infra")
    at = Place(tiny.config, tiny.config.environment("main"), "123456789012")
    board = grafana.board(at, observed(at))
    assert complaints(compiler, board) == ""
    wrong: dict[str, Any] = copy.deepcopy(board)
    wrong["panels"][1]["typo"] = wrong["panels"][1].pop("title")
    wrong["panels"][2]["targets"][0]["queryMode"] = "Metric"
    said = complaints(compiler, wrong)
    assert "'\"typo\"' does not exist" in said
    assert '"Metric"' in said
