"""The deploy state machine on the embedded AWS: what is verified serves, what is not never does."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from tiny import FAULTS, Tiny

from ml_delivery.artifact import build, store
from ml_delivery.artifact import push as pushing
from ml_delivery.errors import CloudError, ConfigError, Moved, Refused, SourceError
from ml_delivery.records import Live
from ml_delivery.release import deploy as deploying
from ml_delivery.release import results
from ml_delivery.release.plan import make as make_plan
from ml_delivery.targets.lambda_function.function import Convergence


def test_first_deploy_is_verified_and_second_has_nothing_to_do(tiny: Tiny) -> None:
    """A deploy ends verified with the version live, and doing it again changes nothing."""
    outcome = tiny.deploy()
    assert isinstance(outcome, results.Outcome)
    assert (outcome.release.number, outcome.release.state, tiny.live()) == (1, "verified", 1)
    assert [step.name for step in outcome.steps] == ["plan", "stage", "probe version", "shift", "probe live"]
    again = tiny.deploy()
    assert (again.release, again.live) == (None, 1)


@pytest.mark.parametrize("fault", FAULTS)
def test_broken_release_is_refused_and_the_old_one_serves(tiny: Tiny, fault: str) -> None:
    """Whatever way a release is broken, it never gets traffic, and the ledger says why."""
    tiny.deploy()
    opened = tiny.open()
    live = opened.deployer.live()
    says = tiny.fault(fault)
    with pytest.raises(Refused) as refusal:
        tiny.deploy()
    assert says in str(refusal.value)
    assert "release 1 serves as before" in str(refusal.value)
    now = opened.deployer.live()
    assert now == live  # the very same alias revision: it never moved
    failed = tiny.open().ledger.read(2)
    assert failed.state == "failed"
    assert says in failed.cause
    tiny.repair()
    assert tiny.deploy().release.number == 3
    assert tiny.live() == 3


def test_broken_first_release_leaves_nothing_live(tiny: Tiny) -> None:
    """When the first release ever is broken, there is no alias, and the next good one makes it."""
    tiny.fault("raises")
    with pytest.raises(Refused, match="nothing serves as before"):
        tiny.deploy()
    assert tiny.live() == 0
    tiny.repair()
    tiny.deploy()
    assert tiny.live() == 2


def test_release_that_breaks_only_behind_the_alias_is_taken_back(tiny: Tiny) -> None:
    """A version that answers alone but not as live is taken back after the shift."""
    tiny.deploy()
    tiny.replace(
        "src/service/handler.py", "    print(", "    assert ':live' not in context.invoked_function_arn\n    print("
    )
    tiny.commit()
    with pytest.raises(Refused, match="live does not answer /version"):
        tiny.deploy()
    assert tiny.live() == 1


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("stale", "release 1 serves as before"),
        (Moved("read again"), "what serves could not be read: read again"),
    ],
)
def test_what_serves_after_a_refusal_is_not_taken_from_a_stale_read(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, answer: str | Moved, says: str
) -> None:
    """A target may report for a moment what served before a shift, or nothing; the refusal names what really serves."""
    tiny.deploy()
    tiny.replace(
        "src/service/handler.py", "    print(", "    assert ':live' not in context.invoked_function_arn\n    print("
    )
    tiny.commit()
    tiny.push()
    opened = tiny.open()
    read, calls = opened.deployer.live, iter(range(9))

    def live() -> Live | None:
        found = read()
        if next(calls) != 1:  # the first is the plan's, the second the first after everything was put back
            return found
        if isinstance(answer, Moved):
            raise answer
        return replace(found, deployed="2", release=2) if found else None

    monkeypatch.setattr(opened.deployer, "live", live)
    with pytest.raises(Refused, match=f"live does not answer /version.*; {says}"):
        deploying.deploy(opened, report=lambda step: None)
    assert tiny.live() == 1
    assert tiny.open().ledger.read(2).state == "failed"


def test_function_that_was_never_created_is_refused_with_its_reason() -> None:
    """Lambda has no digest of what it failed to create; its reason is what counts."""

    class Never:
        package, function, context = "Zip", "pricing-production", None

        @property
        def client(self) -> Never:
            return self

        def get_function_configuration(self, **_: str) -> dict[str, str]:
            return {"State": "Failed", "StateReason": "no such role"}

        def read(self, found: dict[str, str]) -> dict[str, str]:
            return found

    release = SimpleNamespace(number=1, variables={})
    with pytest.raises(Refused, match="Lambda could not create pricing-production: no such role"):
        Convergence(Never(), release, ()).step()  # type: ignore[arg-type]


def test_foreign_variables_stay_and_dropped_ones_go(tiny: Tiny) -> None:
    """Configuration is merged: what others set stays, what we no longer set is removed."""
    tiny.replace("pipeline.toml", 'LOG_LEVEL = "INFO"', 'LOG_LEVEL = "INFO"\nOURS = "1"')
    tiny.commit()
    tiny.deploy()
    opened = tiny.open()
    client = opened.cloud.client("lambda")
    name = f"{tiny.name}-production"
    variables = client.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    client.update_function_configuration(FunctionName=name, Environment={"Variables": {**variables, "THEIRS": "x"}})
    client.get_waiter("function_updated_v2").wait(FunctionName=name)
    tiny.replace("pipeline.toml", 'OURS = "1"', 'NEW = "2"')
    tiny.commit()
    tiny.push()
    plan = make_plan(tiny.open())
    assert {(c.name, c.old, c.new) for c in plan.changes if c.what == "variable"} == {
        ("OURS", "1", ""),
        ("NEW", "", "2"),
    }
    tiny.deploy()
    said = json.loads(opened.deployer.call("/variables").body)
    assert (said["NEW"], said["THEIRS"]) == ("2", "x")
    assert "OURS" not in said


def test_model_change_alone_is_a_release(tiny: Tiny) -> None:
    """Another model in model.lock is planned as such, and delivered; a rollback brings the former back with the code."""

    def model() -> str:
        return str(json.loads(tiny.open().deployer.call("/version").body)["model"])

    tiny.deploy()
    first = model()
    tiny.model(b"a better model")
    tiny.commit()
    tiny.push()
    assert {"code", "model"} <= {change.what for change in make_plan(tiny.open()).changes}
    tiny.deploy()
    assert (tiny.live(), model()) == (2, "sha256:" + hashlib.sha256(b"a better model").hexdigest())
    tiny.rollback()
    assert (tiny.live(), model()) == (1, first)


def test_rollback_lands_on_the_last_verified_release(tiny: Tiny) -> None:
    """After releases 1, 2, a rollback to 1, a refused 3 and a bad 4, a rollback lands on 1, never on 2 or 3."""
    tiny.deploy()
    tiny.repair("second")
    tiny.deploy()
    assert tiny.rollback().release.number == 1
    assert tiny.live() == 1
    tiny.fault("answers 500")
    with pytest.raises(Refused):
        tiny.deploy()
    tiny.repair("fourth")
    tiny.deploy()
    assert tiny.live() == 4
    assert tiny.rollback().release.number == 1
    said = json.loads(tiny.open().deployer.call("/version").body)
    assert (said["release"], said["note"]) == (1, "first")
    states = {release.number: release.state for release in tiny.open().ledger.latest(10, [])}
    assert states == {1: "verified", 2: "rolled-back", 3: "failed", 4: "rolled-back"}


def test_rollback_to_a_named_release_verifies_it_again(tiny: Tiny) -> None:
    """A release that was rolled back can be asked for by number, and is verified again."""
    tiny.deploy()
    tiny.repair("second")
    tiny.deploy()
    tiny.rollback()
    assert tiny.rollback(to=2).release.state == "verified"
    assert tiny.live() == 2


@pytest.mark.parametrize(
    ("to", "says"),
    [(0, "no verified release before 1"), (7, "no release 7"), (1, "live already"), (2, "never verified")],
)
def test_rollback_to_nowhere_is_refused(tiny: Tiny, to: int, says: str) -> None:
    """A rollback without a verified release to go to says so, and what is live stays."""
    tiny.deploy()
    tiny.fault("raises")
    with pytest.raises(Refused):
        tiny.deploy()
    with pytest.raises(Refused, match=says):
        tiny.rollback(to)
    assert tiny.live() == 1


def test_rollback_to_a_release_that_no_longer_answers_is_refused(tiny: Tiny) -> None:
    """A rollback probes before it shifts, as a deploy does."""
    tiny.deploy()
    tiny.repair("second")
    tiny.deploy()
    opened = tiny.open()
    version = opened.ledger.read(1).deployed
    opened.cloud.client("lambda").delete_function(FunctionName=f"{tiny.name}-production", Qualifier=version)
    with pytest.raises(Refused):
        tiny.rollback()
    assert tiny.live() == 2


def test_traffic_moved_by_others_is_not_moved_back(tiny: Tiny) -> None:
    """A shift names the alias revision that it saw, so somebody else's shift in between refuses ours."""
    tiny.deploy()
    opened = tiny.open()
    live = opened.deployer.live()
    opened.cloud.client("lambda").update_alias(
        FunctionName=f"{tiny.name}-production", Name="live", Description="by hand"
    )
    with pytest.raises(Moved, match="the traffic split was changed in the meantime"):
        opened.deployer.shift(live.traffic, live.traffic, "ours")


# -- what is pushed


def test_push_is_idempotent(tiny: Tiny) -> None:
    """The same commit pushed twice travels once, under a key that holds commit and digest."""
    first, second = tiny.push(), tiny.push()
    assert (first.uploaded, second.uploaded) == (True, False)
    assert first.artifact == second.artifact
    assert first.artifact.location == f"artifacts/{tiny.git('rev-parse', 'HEAD')}/{first.artifact.digest[7:]}.zip"


def test_commit_pushed_with_other_bytes_is_refused(tiny: Tiny) -> None:
    """One commit never gets a second artifact."""
    first = tiny.push().artifact
    other = tiny.root / "build/other.zip"
    other.write_bytes((tiny.root / "build/artifact.zip").read_bytes() + b"x")
    digest = "sha256:" + hashlib.sha256(other.read_bytes()).hexdigest()
    manifest = replace(build.last(tiny.root), digest=digest)
    opened = tiny.open()
    with pytest.raises(CloudError, match=f"was pushed before as {first.digest}"):
        store.push(opened.cloud, opened.foundation.bucket, other, manifest)
    assert opened.artifact() == first


def test_altered_archive_is_refused_by_s3(tiny: Tiny) -> None:
    """S3 itself compares the bytes with the digest."""
    manifest = build.build(tiny.config)
    with (tiny.root / "build/artifact.zip").open("ab") as archive:
        archive.write(b"x")
    opened = tiny.open()
    with pytest.raises(CloudError, match=r"BadDigest|checksum"):
        store.push(opened.cloud, opened.foundation.bucket, tiny.root / "build/artifact.zip", manifest)


def test_deploy_without_a_push_says_what_to_run(tiny: Tiny) -> None:
    """A commit that has no artifact is refused before anything happens."""
    with pytest.raises(CloudError, match="has not been pushed") as fault:
        deploying.deploy(tiny.open(), report=lambda step: None)
    branch = "--branch main"
    assert fault.value.next == f"invoke build {branch} && invoke push {branch}, or invoke build --on codebuild {branch}"


def test_artifact_for_another_python_is_refused(tiny: Tiny) -> None:
    """Changing service.python needs a new build."""
    tiny.push()
    opened = tiny.open()
    other = replace(opened.config, service=replace(opened.config.service, python="3.14"))
    with pytest.raises(ConfigError, match="the artifact was built for Python"):
        replace(opened, config=other).artifact()


def test_dirty_tree_is_for_the_embedded_cloud_only(tiny: Tiny) -> None:
    """A changed tree is deployed on the embedded cloud, marked, and refused for AWS."""
    tiny.replace("src/service/handler.py", '"first"', '"dirty"')
    tiny.push()
    with pytest.raises(SourceError, match="there are uncommitted changes"):
        pushing.built(tiny.config, "aws")
    opened = tiny.open()
    opened.cloud.name = "aws"
    with pytest.raises(SourceError, match="there are uncommitted changes"):
        opened.artifact()
    outcome = tiny.deploy()
    assert "-dirty-" in outcome.release.artifact.version
