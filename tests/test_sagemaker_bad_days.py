"""Deploys to an endpoint on bad days, under 100 requests a second: broken, killed, and gone on with."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from endpointing import Callers, Varied, based, root
from faults import faults, kill, refused
from faults.harness import apart
from tiny import Tiny

from ml_delivery.errors import Refused
from ml_delivery.release import plan, retiring

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
        with pytest.raises(Refused, match=r"r3 does not start: .* did not pass the ping health check"):
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


@pytest.mark.parametrize("on", ["UpdateEndpoint$", "CreateModel"])
def test_quota_that_is_refused_leaves_what_served(varied: Varied, on: str) -> None:
    """AWS's refusal is passed on with what to do, and nothing of the release is kept."""
    with faults(refused("ResourceLimitExceeded", on, 400)), pytest.raises(Refused) as refusal:
        varied.deploy(NOTE=on, MORE="instances")
    assert "ResourceLimitExceeded" in refusal.value.message
    assert "serves as before" in refusal.value.message
    assert "request a higher quota" in refusal.value.next
    assert (varied.problems(), varied.orphans(), varied.unused()) == ([], set(), set())


@pytest.mark.parametrize("what", ["model", "endpoint configuration"])
def test_what_serves_was_deleted_by_hand(varied: Varied, what: str) -> None:
    """It serves on, but no update can include it: that is named, with the commands that bring the service back."""
    deployer = varied.deployer
    state = deployer.endpoint.read()
    assert state
    (live,) = state.shares
    if what == "model":
        deployer.client.delete_model(ModelName=deployer.names.model(live))
    else:
        deployer.client.delete_endpoint_config(EndpointConfigName=state.config)
    for refused_too in (lambda: varied.deploy(NOTE=what), lambda: plan.make(varied.open()), varied.rollback):
        with pytest.raises(Refused, match=f"{live} gets the traffic, but its {what} .* was deleted") as refusal:
            refused_too()
        assert refusal.value.next.startswith("invoke retire --branch main, then invoke deploy --branch main")
    retiring.retire(varied.open())
    varied.deploy(NOTE=what)
    assert varied.live() == varied.open().ledger.head().newest
    assert (varied.orphans(), varied.unused()) == (set(), set())
