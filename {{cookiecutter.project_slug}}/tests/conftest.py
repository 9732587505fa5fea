"""A service with trained models, made once for all tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from service import artifact, training

SEED = 7


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``model.lock`` and ``models/``, as ``invoke train`` writes them."""
    root = tmp_path_factory.mktemp("trained")
    assert training.main(["--root", str(root), "--seed", str(SEED)]) == 0
    return root


@pytest.fixture
def root(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it that a test may harm, and that the service takes for its own."""
    shutil.copytree(trained, tmp_path / "root")
    monkeypatch.setattr(artifact, "find_root", lambda: tmp_path / "root")
    return tmp_path / "root"


@pytest.fixture
def client(root: Path) -> Iterator[FlaskClient]:
    from service.app import create_app

    with create_app().test_client() as client:
        yield client
