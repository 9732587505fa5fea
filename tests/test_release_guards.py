"""Guards of the state machine that no accident of the other tests touches; each was red with its guard taken out."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from typing import Any

import pytest
from emulated import client
from faults import error500, faults, kill
from faults.harness import HANDLER, Service, apart
from tiny import Tiny

from ml_delivery import emulator
from ml_delivery.artifact import store
from ml_delivery.errors import CloudError, LockHeld, Moved, Refused
from ml_delivery.keys import Deploy
from ml_delivery.release import deploy, retention, watch
from ml_delivery.release import plan as planning

CANARY = Deploy(strategy="canary", weight=10, pause=60, period=1, no_traffic="pass")
BEHIND = HANDLER.replace(
    "    body = ", '    assert BAD != "behind" or ":live" not in context.invoked_function_arn\n    body = '
)


@pytest.fixture
def service(tiny: Tiny) -> Service:
    return Service(tiny, handler=BEHIND)


def lambda_of(service: Service) -> Any:
    return client(emulator.up(service.tiny.root), "lambda")


def test_first_release_that_breaks_behind_the_alias_leaves_nothing_live(service: Service) -> None:
    """There is nothing to go back to, so there must be no traffic at all."""
    with pytest.raises(Refused, match="nothing serves as before"):
        service.deploy(BAD="behind")
    assert service.open().deployer.traffic() is None
    assert service.problems() == []


def test_version_that_just_had_traffic_stays_until_the_next_deploy(service: Service) -> None:
    """Requests to it may still be in flight when traffic has gone back."""
    service.deploy(NOTE="1")
    with pytest.raises(Refused):
        service.deploy(BAD="behind")
    assert set(service.open().deployer.deployed().values()) == {1, 2}
    service.deploy(NOTE="3")
    assert set(service.open().deployer.deployed().values()) == {1, 3}


def test_split_that_something_else_made_is_not_what_served_before(service: Service) -> None:
    """A canary is undone; the version that served before has the alias, but shares it with one that did not."""
    service.deploy(NOTE="1")
    service.deploy(NOTE="2")
    service.rules = CANARY
    service.deploy(NOTE="3", detach=True)
    split = {"AdditionalVersionWeights": {"1": 0.5}}
    lambda_of(service).update_alias(FunctionName=service.name, Name="live", FunctionVersion="2", RoutingConfig=split)
    with pytest.raises(Refused, match="which is not what served before"):
        service.rollback()


def test_split_that_something_else_made_stops_a_deploy(service: Service) -> None:
    """It is not this pipeline's to end, and to shift on top of it would be a guess."""
    service.deploy(NOTE="1")
    service.deploy(NOTE="2")
    split = {"AdditionalVersionWeights": {"1": 0.5}}
    lambda_of(service).update_alias(FunctionName=service.name, Name="live", FunctionVersion="2", RoutingConfig=split)
    with pytest.raises(Refused, match="traffic is split, which this pipeline did not do"):
        service.deploy(NOTE="3")
    assert service.open().ledger.head().newest == 2


def test_rollback_shifts_at_once(service: Service) -> None:
    """Weights and pauses are for what is new; what was verified serves as quickly as it can."""
    service.deploy(NOTE="1")
    service.deploy(NOTE="2")
    service.rules = CANARY
    assert [step.name for step in service.rollback().steps if "shift" in step.name] == ["shift"]


def test_shift_that_never_succeeds_is_refused(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """To lose the compare-and-swap again and again is no shift."""
    service.deploy(NOTE="1")
    opened = service.open(NOTE="2")

    def moved(*_: object) -> None:
        raise Moved("meanwhile")

    monkeypatch.setattr(type(opened.deployer), "shift", moved)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with pytest.raises(Refused, match="something else keeps changing the traffic split"):
        deploy.deploy(opened, lambda _: None)
    monkeypatch.undo()
    assert service.live() == 1


@pytest.mark.parametrize("name", ["release", "commit", "model", "content"])
def test_each_name_at_version_is_compared(tiny: Tiny, name: str) -> None:
    """A service that answers with another release's number, commit, model or content is that other release."""
    value = "99" if name == "release" else repr("0" * 40 if name == "commit" else "sha256:" + "0" * 64)
    service = Service(tiny, handler=HANDLER.replace("**RELEASE}", f"**RELEASE, '{name}': {value}}}"))
    with pytest.raises(Refused, match=f"is another release: /version has {name} "):
        service.deploy()
    assert service.live() == 0


def test_paths_of_the_configuration_are_requested(tiny: Tiny) -> None:
    """A service that names itself rightly and fails at its health check is not released."""
    failing = HANDLER.replace(
        "    body = ", '    if event["rawPath"] == "/healthy":\n        raise OSError\n    body = '
    )
    service = Service(tiny, handler=failing)
    opened = service.open()
    environment = replace(opened.environment, probe=replace(opened.environment.probe, paths=("/healthy",)))
    with pytest.raises(Refused, match="does not answer /healthy"):
        deploy.deploy(replace(opened, environment=environment), lambda _: None)
    assert service.live() == 0


@pytest.mark.parametrize(("command", "code"), [(("no-such-program",), 127), (("sleep", "9"), 124), (("false",), 1)])
def test_check_of_the_user_that_can_not_say_yes_says_no(
    service: Service, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], code: int
) -> None:
    """A program that does not exist, or that takes too long, does not vouch for a release."""
    service.deploy(NOTE="1")
    monkeypatch.setattr(watch, "COMMAND_SECONDS", 0.2)
    service.rules = replace(CANARY, command=command)
    assert watch.look(service.open(), "1", 10, time.time()).breach == f"{' '.join(command)} exited with code {code}"


def test_alarms_are_those_of_the_environment(service: Service) -> None:
    """One list serves all environments; an alarm that does not exist watches nothing, and counts as in alarm."""
    service.deploy(NOTE="1")
    service.rules = replace(CANARY, alarms=("{environment}-is-slow",))
    breach = watch.look(service.open(), "1", 10, time.time()).breach
    assert breach == "the alarm production-is-slow (which does not exist) is in alarm"


def test_plan_is_the_same_after_a_shift_to_what_was_live(service: Service) -> None:
    """Only the alias's revision changed, and an approval is not of that."""
    service.deploy(NOTE="1")
    before = planning.make(service.open(NOTE="2")).digest
    lambda_of(service).update_alias(FunctionName=service.name, Name="live", Description="touched")
    assert planning.make(service.open(NOTE="2")).digest == before


def test_plan_has_no_value_of_a_foreign_variable(service: Service) -> None:
    """It may be a secret; its name is enough, and a change of it is no other plan."""
    service.deploy(NOTE="1")
    aws, digests = lambda_of(service), []
    for value in ("first-value", "second-value"):
        known = aws.get_function_configuration(FunctionName=service.name)["Environment"]["Variables"]
        aws.update_function_configuration(
            FunctionName=service.name, Environment={"Variables": {**known, "THEIRS": value}}
        )
        aws.get_waiter("function_updated_v2").wait(FunctionName=service.name)
        version = aws.publish_version(FunctionName=service.name)["Version"]
        aws.get_waiter("published_version_active").wait(FunctionName=service.name, Qualifier=version)
        aws.update_alias(FunctionName=service.name, Name="live", FunctionVersion=version)
        plan = planning.make(service.open(NOTE="1"))
        assert plan.foreign == ("THEIRS",)
        assert value not in str(asdict(plan))
        digests.append(replace(plan, digest="", live=replace(plan.live, deployed="") if plan.live else None))
    assert len({str(asdict(one)["live"]["variables"]) for one in digests}) == 1


def test_approval_of_one_plan_does_not_finish_another(service: Service) -> None:
    """A deploy is killed; the next one comes with the approval of a plan that is not the one under way."""
    service.deploy(NOTE="1")
    code, _ = apart(lambda: service.deploy(NOTE="2"), replace(kill(1), on="UpdateAlias"))
    assert code == -9
    with pytest.raises(Refused, match="this is not the plan that was approved"):
        deploy.deploy(service.open(NOTE="2"), lambda _: None, approved="sha256:" + "0" * 64)
    assert service.open().ledger.read(2).state == "failed"
    assert (service.live(), service.problems()) == (1, [])


def test_rollback_of_a_deploy_without_traffic_is_not_only_its_end(service: Service) -> None:
    """A deploy was killed before it shifted anything: what is live was live before it, so a rollback goes one further."""
    service.deploy(NOTE="1")
    service.deploy(NOTE="2")
    code, _ = apart(lambda: service.deploy(NOTE="3"), replace(kill(1), on="PublishVersion"))
    assert code == -9
    assert service.rollback().release.number == 1
    assert (service.live(), service.problems()) == (1, [])


def test_variables_of_a_failed_deploy_are_removed_by_the_next(service: Service) -> None:
    """They are on the function, though they were never live."""
    service.deploy(NOTE="1")
    with pytest.raises(Refused):
        service.deploy(NOTE="2", EXTRA="x", BAD="raises")
    service.deploy(NOTE="3")
    live = service.open().deployer.live()
    assert live
    assert not {"EXTRA", "BAD"} & set(live.variables)


def test_write_renews_the_lock(service: Service) -> None:
    """A deploy may take longer than a lease; each of its steps shows that it is alive."""
    with service.open().ledger.locked("me", "test") as lease:
        holder = lease.head.holder
        time.sleep(0.01)
        lease.write()
        assert lease.head.holder.expires > holder.expires


def test_unlock_alone_stops_the_late_holder(service: Service) -> None:
    """No other command has taken the lock since: what was released by force is still not the old holder's."""
    ledger = service.open().ledger
    with ledger.locked("late", "test") as lease:
        ledger.unlock("me", "it hangs")
        with pytest.raises(LockHeld, match="taken over"):
            lease.refresh()


def test_event_that_could_not_be_copied_is_copied_by_the_next_write(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write that made it true is done; its own object comes later, and is never forgotten."""
    service.deploy(NOTE="1")
    ledger = service.open().ledger
    event, publish = replace(ledger.read(1), number=7), ledger.publish

    def failing(head: object) -> None:
        monkeypatch.setattr(ledger, "publish", publish)
        raise CloudError("the network is down")

    with ledger.locked("me", "test") as lease:
        monkeypatch.setattr(ledger, "publish", failing)
        with pytest.raises(CloudError):
            lease.write(event, newest=7)
        lease.refresh()
        lease.write()
    assert ledger.find(7) == event


def test_head_that_was_lost_is_rebuilt_from_the_events(service: Service) -> None:
    """With the numbers and revisions that were given, and without offering what was refused."""
    service.deploy(NOTE="1")
    service.deploy(NOTE="2")
    with pytest.raises(Refused):
        service.deploy(BAD="raises")
    opened = service.open()
    before = opened.ledger.head()
    opened.cloud.client("s3").delete_object(Bucket=opened.foundation.bucket, Key="releases/production/head.json")
    after = opened.ledger.head()
    assert (after.newest, [one.number for one in after.kept]) == (3, [2, 1])
    assert 0 < after.revision <= before.revision
    service.deploy(NOTE="4")
    assert service.open().ledger.read(4).state == "verified"
    assert service.live() == 4


def test_version_that_has_traffic_is_not_pruned(service: Service) -> None:
    """Whatever the ledger says: what serves stays, and the next deploy looks again."""
    for number in range(4):
        service.deploy(NOTE=str(number))
    lambda_of(service).update_alias(FunctionName=service.name, Name="live", FunctionVersion="1")
    service.rules = replace(service.rules, keep=1)
    opened = service.open()
    with opened.ledger.locked("me", "test") as lease:
        lease.write(swept=False)
        removed = retention.prune(opened, lease)
        lease.write()
        assert not lease.head.swept
    assert [one.name for one in removed if one.kind == "version"] == ["2"]
    assert "1" in service.open().deployer.deployed()


def test_version_that_is_newer_than_the_head_is_not_pruned(service: Service) -> None:
    """It belongs to a command that took over the lock."""
    service.deploy(NOTE="1")
    service.deploy(NOTE="2")
    opened = service.open()
    with opened.ledger.locked("me", "test") as lease:
        lease.head = replace(lease.head, newest=1, live=1, kept=lease.head.kept[1:])
        traffic = opened.deployer.traffic
        opened.deployer.traffic = lambda: replace(traffic(), deployed="1")  # type: ignore[method-assign]
        assert retention.prune(opened, lease) == ()
    assert set(service.open().deployer.deployed().values()) == {1, 2}


def test_what_was_pruned_is_refused_as_such(service: Service) -> None:
    """Its record is kept, its version is not."""
    for number in range(6):
        service.deploy(NOTE=str(number))
    with pytest.raises(Refused, match="release 1 was pruned"):
        service.rollback(to=1)
    assert [one.number for one in service.open().ledger.head().kept] == [6, 5, 4, 3]


def test_artifact_that_was_just_pushed_is_kept(service: Service) -> None:
    """It may be deployed yet, even where releases are kept for no time at all."""
    service.deploy(NOTE="1")
    service.tiny.repair("pushed, and not deployed")
    pushed = service.tiny.push().artifact
    opened = service.open(NOTE="2")
    with opened.ledger.locked("me", "test") as lease:
        retention.prune(opened, lease)
    assert store.known(opened.cloud, opened.foundation.bucket, pushed.version) == pushed


def test_record_of_an_artifact_goes_before_its_bytes(service: Service) -> None:
    """A removal that stops half-way leaves bytes without a name, never a name without bytes."""
    pushed = service.tiny.push().artifact
    opened = service.open()
    bucket = opened.foundation.bucket
    with faults(error500("DeleteObject", at=2, times=9)), pytest.raises(CloudError):
        store.prune(opened.cloud, bucket, set(), time.time() + 60)
    assert store.known(opened.cloud, bucket, pushed.version) is None
    assert store.stored(opened.cloud, bucket, pushed.location) == pushed.digest
