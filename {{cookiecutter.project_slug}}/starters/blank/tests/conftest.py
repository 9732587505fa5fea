"""A service with a trained and promoted model, for any ``service.model``."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest

from ml_service import models
from service import promotion, training

HOME = Path(__file__).parent.parent


def words(stage: str) -> list[str]:
    """The options of a command, as pipeline.toml has them."""
    settings: dict[str, Any] = tomllib.loads((HOME / "pipeline.toml").read_text(encoding="utf-8-sig"))
    return [word for name, value in settings[stage]["options"].items() for word in (f"--{name}", str(value))]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as ``invoke train promote`` leaves it, which the service uses as its own."""
    shutil.copytree(HOME / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(models, "find_root", lambda: tmp_path)
    training.main(words("train"))
    promotion.main(words("promote"))
    return tmp_path
