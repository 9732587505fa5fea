"""What serves is read from the target when a message says it, never concluded from what was done."""

from __future__ import annotations

from typing import Any

import pytest
from next_arrangements import publish
from tiny import Tiny

from ml_delivery.errors import CloudError, Refused
from ml_delivery.records import Live
from ml_delivery.release import deploy
from ml_delivery.release.head import Head
from ml_delivery.release.ledger import Ledger


def test_traffic_moved_by_hand_during_a_deploy_is_said(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deploy is refused before it shifts anything, and another command has shifted meanwhile: what serves now is named."""
    tiny.deploy()
    tiny.repair("second")
    tiny.deploy()
    tiny.fault("answers 500")
    tiny.push()
    opened = tiny.open()
    stage, name = opened.deployer.stage, f"{tiny.name}-production"

    def meanwhile(*words: Any) -> str:
        opened.cloud.client("lambda").update_alias(FunctionName=name, Name="live", FunctionVersion="1")
        return stage(*words)

    monkeypatch.setattr(opened.deployer, "stage", meanwhile)
    with pytest.raises(Refused, match=r"; release 1 serves, which is not what served before\n") as refused:
        deploy.deploy(opened, lambda _: None)
    assert "release 2 serves" not in str(refused.value)


@pytest.mark.parametrize(
    ("moved", "says"), [(False, "release 1 serves"), (True, "release 2 serves, which is not what was deployed")]
)
def test_rollback_whose_last_write_got_no_answer(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, moved: bool, says: str
) -> None:
    """It is verified, although it failed; what serves then is read, whatever was verified."""
    tiny.deploy()
    tiny.repair("second")
    tiny.deploy()
    steps, swap, lost = [], Ledger.swap, []

    def unanswered(self: Ledger, new: Head, etag: str) -> str | None:
        found = swap(self, new, etag)
        if new.live == 1 and not lost:
            lost.append(True)
            if moved:
                name = f"{tiny.name}-production"
                tiny.open().cloud.client("lambda").update_alias(FunctionName=name, Name="live", FunctionVersion="2")
            raise CloudError("S3 did not answer")
        return found

    monkeypatch.setattr(Ledger, "swap", unanswered)
    opened = tiny.open()
    verified = "S3 did not answer; release 1 was verified already, and the next deploy prunes"
    with pytest.raises(CloudError, match=f"{verified}; {says}\n"):
        deploy.rollback(opened, 0, steps.append)
    monkeypatch.undo()
    assert (tiny.live(), tiny.open().ledger.head().live) == (2 if moved else 1, 1)


def test_rollback_that_can_not_read_what_serves_says_so(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Undoing a deploy that had traffic is the rollback, unless what serves then can't be read: that is no success."""
    tiny.write(
        "pipeline.toml", (tiny.root / "pipeline.toml").read_text() + '\n[deploy]\nstrategy = "canary"\npause = 60\n'
    )
    tiny.deploy()
    tiny.repair("second")
    tiny.push()
    deploy.deploy(tiny.open(), lambda _: None, detach=True)
    opened = tiny.open()

    def unread() -> Live | None:
        raise CloudError("Lambda does not answer")

    monkeypatch.setattr(opened.deployer, "live", unread)
    with pytest.raises(Refused, match="what serves could not be read: Lambda does not answer") as refused:
        deploy.rollback(opened, 0, lambda _: None)
    assert refused.value.next == "invoke rollback --to 1 --branch main"


def test_traffic_of_others_is_named(tiny: Tiny) -> None:
    """A version that got a part of the traffic by hand is the one that is named, not the one that serves the rest."""
    tiny.write(
        "pipeline.toml", (tiny.root / "pipeline.toml").read_text() + '\n[deploy]\nstrategy = "canary"\npause = 60\n'
    )
    tiny.deploy()
    tiny.repair("second")
    tiny.push()
    deploy.deploy(tiny.open(), lambda _: None, detach=True)
    aws, name = tiny.open().cloud.client("lambda"), f"{tiny.name}-production"
    aws.update_function_configuration(FunctionName=name, Description="by hand")
    aws.get_waiter("function_updated_v2").wait(FunctionName=name)
    other = aws.publish_version(FunctionName=name, Description="by hand")["Version"]
    routing = {"AdditionalVersionWeights": {other: 0.2}}
    aws.update_alias(FunctionName=name, Name="live", FunctionVersion="1", RoutingConfig=routing)
    with pytest.raises(Refused, match=f"deployed version {other} has traffic, which this deploy did not shift to it"):
        deploy.resume(tiny.open(), lambda _: None)


def test_status_names_what_this_pipeline_did_not_deploy(tiny: Tiny) -> None:
    """It has no release, so none is said to serve."""
    tiny.deploy()
    publish(tiny)
    printed = tiny.invoke("status")
    assert "deployed version 2 serves, which was not deployed by this pipeline" in printed
    assert "release 0" not in printed


def test_command_in_a_workflow_says_where_to_type_it(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader of a workflow's log has no prompt there."""
    assert "where:" not in tiny.invoke("rollback", code=1)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    printed = tiny.invoke("rollback", code=1)
    assert printed.endswith("signed in to the account; the workflow Deploy also deploys and rolls back\n")
