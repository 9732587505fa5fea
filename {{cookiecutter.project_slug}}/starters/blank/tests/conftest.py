"""A service with a trained and promoted model, made once for all tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ml_service import models
from service import promotion, training

TRIPS = Path(__file__).parent.parent / "data/trips.csv"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as ``invoke train promote`` leaves it, which the service takes for its own."""
    shutil.copytree(TRIPS.parent, tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(models, "find_root", lambda: tmp_path)
    assert training.main(["--data", "data/trips.csv"]) == 0
    assert promotion.main(["--data", "data/trips.csv", "--max_error", "5"]) == 0
    return tmp_path
