"""A service with trained and promoted models, made once for all tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from ml_service import models
from service import market, promotion, training

SEED = 7


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as ``invoke train promote`` leaves it, with the smallest budget."""
    root = tmp_path_factory.mktemp("trained")
    assert training.main(["--root", str(root), "--seed", str(SEED), "--trials", "1"]) == 0
    assert promotion.main(["--root", str(root)]) == 0
    return root


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV that is small enough for a quick training."""
    frame = market.generate(SEED, days=260)
    path = tmp_path_factory.mktemp("small") / "small.csv"
    frame[frame["stockcode"].isin(["85111", "85222", "85333"])].to_csv(path, index=False)
    return path


@pytest.fixture
def root(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it that a test may change, and that the service uses as its own."""
    shutil.copytree(trained, tmp_path / "root")
    monkeypatch.setattr(models, "find_root", lambda: tmp_path / "root")
    return tmp_path / "root"


@pytest.fixture
def client(root: Path) -> Iterator[FlaskClient]:
    from service.app import create_app

    with create_app().test_client() as client:
        yield client
