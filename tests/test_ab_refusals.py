"""What an A/B is not begun with, what it refuses while it runs, and how it ends where something else interferes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from compared import RULE, events, pushed, service, start, stop, weights
from faults.harness import Service
from measured import CANARY

from ml_delivery.errors import LockHeld, Refused
from ml_delivery.records import STOPPED
from ml_delivery.release import deploy
from ml_delivery.target import Deployer
from ml_delivery.targets.eks.deployer import EksDeployer

__all__ = ["pushed", "service"]  # fixtures


def test_deploy_is_refused_while_an_ab_runs(service: Service) -> None:
    """It would end the comparison; the message has the command that ends it. A second A/B is refused, too."""
    start(service, 1)
    with pytest.raises(
        Refused, match=r"A/B 1 of release 2 \(control\) and release 1 .* its traffic stays split"
    ) as refused:
        service.deploy(NOTE="3")
    assert refused.value.next == "invoke ab --stop --branch main"
    with pytest.raises(Refused, match="is running") as refused:
        start(service, 1)
    assert refused.value.next == "invoke ab --status --branch main, or invoke ab --stop --branch main"
    assert weights(service) == {"2": 50, "1": 50}
    assert deploy.resume(service.open(), lambda _: None).release is None
    stop(service)
    assert service.deploy(NOTE="3").live == 3


def test_what_cannot_be_compared_is_refused(service: Service) -> None:
    """One release, the same one twice, one that was never verified or does not exist, a split that something else made."""
    with pytest.raises(Refused, match="release 2 is live already"):
        start(service, 2)
    with pytest.raises(Refused, match="no release 9"):
        start(service, 9)
    with pytest.raises(Refused):
        service.deploy(NOTE="3", BAD="500")
    with pytest.raises(Refused, match="release 3 was never verified, it is failed"):
        start(service, 3)
    service.rollback()
    with pytest.raises(Refused, match="production has one verified release, 1, and an A/B compares two"):
        start(service)
    opened = service.open()
    assert opened.ledger.head().experiment is None
    assert events(service) == []
    assert start(service, 2).challenger.release == 2  # which was rolled back: only by its name
    with pytest.raises(Refused, match="release 3 is not in A/B 1, which compares 1 and 2"):
        stop(service, 3)
    stop(service)
    with pytest.raises(Refused, match="no A/B is running in production"):
        stop(service)
    opened.cloud.client("lambda").update_alias(
        FunctionName=service.name, Name="live", RoutingConfig={"AdditionalVersionWeights": {"2": 0.2}}
    )
    with pytest.raises(Refused, match="not as this pipeline left it"):
        start(service, 2)


def test_challenger_that_does_not_answer_gets_no_traffic(service: Service) -> None:
    """Its health check comes before the split; the rule that was recorded is ended with the reason."""
    opened = service.open()
    opened.cloud.client("lambda").delete_function(FunctionName=service.name, Qualifier="1")
    with pytest.raises(Refused, match="deployed version 1 does not answer /version"):
        start(service, 1)
    assert (service.live(), weights(service), service.problems()) == (2, {"2": 100}, [])
    found = service.open().ledger.head().experiment
    assert found
    assert (found.state, "does not answer" in found.cause) == (STOPPED, True)


def test_paused_deploy_is_finished_first(service: Service) -> None:
    """An A/B does not begin while a deploy is under way."""
    service.rules = CANARY
    service.deploy(NOTE="3", detach=True)
    with pytest.raises(Refused, match="a deploy of release 3, at shift, 50 % of the traffic is under way") as refused:
        start(service, 1)
    assert refused.value.next == "invoke deploy --resume --branch main, or invoke rollback --branch main"
    with service.open().ledger.locked("another user", "deploy"), pytest.raises(LockHeld):
        start(service, 1)


def test_split_that_something_else_changed_ends_with_a_report(service: Service) -> None:
    """Traffic that another tool moved is left where it is; the A/B has ended all the same."""
    service.deploy(NOTE="3")
    start(service, 2)
    aws = service.open().cloud.client("lambda")
    aws.update_alias(FunctionName=service.name, Name="live", FunctionVersion="1", RoutingConfig={})
    with pytest.raises(Refused, match="deployed version 1 has traffic, which this end of an A/B did not shift to it"):
        stop(service)
    found = service.open().ledger.head().experiment
    assert found
    assert (found.state, weights(service)) == (STOPPED, {"1": 100})


def test_requests_that_are_not_counted_by_time_are_refused(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a pod, which counts from its start, would make any split look wrong; outcomes can be counted."""
    assert not EksDeployer.counts_since
    monkeypatch.setattr(Deployer, "counts_since", False)
    with pytest.raises(Refused, match="counts requests from the start of a pod") as refused:
        start(service, 1)
    assert refused.value.next.startswith("invoke ab --start --count outcomes --branch main")
    assert (events(service), weights(service)) == ([], {"2": 100})
    assert start(service, 1, replace(RULE, count="outcomes")).open
    stop(service)
