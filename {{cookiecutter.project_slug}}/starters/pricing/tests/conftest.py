"""Services with trained and promoted models, made once for all tests, in whichever of pytest's processes they run."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ml_service import models

# What trains is imported where it is needed: the process that only hands out tests need not wait for it.
if TYPE_CHECKING:
    import pandas as pd
    from flask.testing import FlaskClient

    from service.dataset import Dataset

SEED = 7


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """The folder ``name``, which ``make`` has filled, once for all processes of pytest-xdist; no test may change it."""
    base = factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with open(base / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (base / name).exists():
            (base / f"{name}.new").mkdir(exist_ok=True)
            make(base / f"{name}.new")
            (base / f"{name}.new").rename(base / name)
    return base / name


def train(root: Path, *words: str) -> None:
    """Leave ``root`` as ``invoke train promote`` does, with the smallest budget."""
    from service import promotion, training

    assert training.main(["--root", str(root), "--seed", str(SEED), "--trials", "1", *words]) == 0
    assert promotion.main(["--root", str(root)]) == 0


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on the generated data, and promoted."""
    return once(tmp_path_factory, "trained", train)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV that is small enough for a quick training."""

    def write(folder: Path) -> None:
        from service import market

        frame = market.generate(SEED, days=260)
        frame[frame["stockcode"].isin(["85111", "85222", "85333"])].to_csv(folder / "small.csv", index=False)

    return once(tmp_path_factory, "small", write) / "small.csv"


@pytest.fixture(scope="session")
def trained_small(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on ``small``, and promoted: for what is not about the numbers."""
    return once(tmp_path_factory, "trained_small", lambda root: train(root, "--data", str(small)))


@pytest.fixture(scope="session")
def clean() -> pd.DataFrame:
    """The generated transactions, cleaned."""
    from service import cleaning, market

    return cleaning.clean(market.generate(SEED))[0]


@pytest.fixture(scope="session")
def found(clean: pd.DataFrame) -> Dataset:
    """The dataset of them, as training loads it."""
    from service import dataset

    return dataset.assemble(clean, "", "", SEED)


@pytest.fixture
def root(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of ``trained`` that a test may change, and that the service uses as its own."""
    shutil.copytree(trained, tmp_path / "root")
    monkeypatch.setattr(models, "find_root", lambda: tmp_path / "root")
    return tmp_path / "root"


@pytest.fixture
def root_small(trained_small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of ``trained_small`` that a test may change."""
    monkeypatch.setattr("service.evaluation.QUOTES", 5)  # how long an answer takes is not what they are about
    shutil.copytree(trained_small, tmp_path / "root")
    return tmp_path / "root"


@pytest.fixture
def client(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FlaskClient]:
    """A client of the service, with the models of ``trained``."""
    from service.app import create_app

    monkeypatch.setattr(models, "find_root", lambda: trained)
    with create_app().test_client() as client:
        yield client
