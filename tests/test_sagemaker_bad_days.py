"""Deploys to an endpoint on bad days, under 100 requests a second: broken, killed, and gone on with."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from endpointing import Callers, Varied, based, root
from faults import kill
from faults.harness import apart
from tiny import Tiny

from ml_delivery.errors import Refused

__all__ = ["based", "root"]  # fixtures


@pytest.fixture(scope="module")
def varied(based: None, root: None, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Varied]:
    """A service with a release."""
    made = Varied(Tiny(tmp_path_factory.mktemp("bad") / "service", shared, "bad-days-endpoint"))
    made.deploy(NOTE="first")
    yield made
    made.deployer.endpoint.delete()


def test_no_request_fails_during_deploys_and_a_broken_one(varied: Varied) -> None:
    """A deploy, one that does not start, and a rollback; what answers is always a release that was verified."""
    callers = Callers(varied)
    try:
        varied.deploy(NOTE="second")
        with pytest.raises(Refused, match="ValueError: no such luck"):
            varied.deploy(NOTE="third", BAD="1")
        varied.rollback()
    finally:
        met = callers.stop()
    assert met.failures == []
    assert met.requests > 300
    assert (varied.problems(), varied.orphans(), varied.unused()) == ([], set(), set())


@pytest.mark.parametrize("on", ["CreateModel", "UpdateEndpoint$", "UpdateEndpointWeightsAndCapacities"])
def test_killed_deploy_is_continued(varied: Varied, on: str) -> None:
    """kill -9 after a change of SageMaker, then the same deploy again: one new verified release, and nothing beside it."""
    before = varied.open().ledger.head().newest
    assert apart(lambda: varied.deploy(NOTE=on), replace(kill(1), on=on))[0] == -signal.SIGKILL
    varied.deploy(NOTE=on)
    assert varied.open().ledger.head().newest == before + 1
    assert (varied.problems(), varied.orphans(), varied.unused()) == ([], set(), set())
