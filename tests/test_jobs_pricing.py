"""The pricing starter's notebook makes the dataset that its training learns from; `test_parts.py` of the starter has the rest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny import PRICING

from ml_delivery.jobs import notebook


def test_shipped_notebook_makes_the_shipped_dataset(
    promoted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training on what the notebook made drops nothing more, and learns from the same rows as from the source."""
    from service import cleaning, dataset, registry

    monkeypatch.chdir(PRICING)
    monkeypatch.setenv("PYTHONPATH", str(PRICING / "src"))
    (tmp_path / "job.json").write_text(json.dumps({"notebook": "notebooks/prepare.py", "options": {"seed": 7}}))
    assert notebook.main(str(tmp_path / "job.json"), str(tmp_path)) == 0
    counted = json.loads((tmp_path / "manifest.json").read_text())
    found = dataset.load(str(tmp_path / "data.parquet"), 7, cleaning.NOT_PRODUCTS)
    assert len(found.transactions) == counted["rows"] > 1000
    assert found.digest == registry.last_run(promoted)[0].data
