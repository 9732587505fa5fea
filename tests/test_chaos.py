"""A slice of the chaos: real commands are killed and cancelled at random moments, under callers."""

from __future__ import annotations

from pathlib import Path

from chaos.campaign import campaign


def test_slice_of_the_chaos(tmp_path: Path) -> None:
    """Nothing that is healthy fails, no command shows a traceback, no lock is left, and a plain deploy is always enough."""
    figures = campaign(tmp_path, seed=5, wanted={"kill": 3, "cancel": 1, "crash": 1})
    print(figures.table())
    assert figures.held, figures.table()
    assert (figures.struck.total(), figures.requests > 20) == (5, True)
