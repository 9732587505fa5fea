"""What retention removes, over random histories: never what one of the last verified releases needs, never too little."""

from __future__ import annotations

import time

from faults.harness import Service
from hypothesis import given
from hypothesis import strategies as st
from tiny import Tiny

from ml_delivery.artifact import store
from ml_delivery.keys import Deploy
from ml_delivery.records import ROLLED_BACK, VERIFIED, Removed
from ml_delivery.release.head import Kept
from ml_delivery.release.retention import DAY, retained

NOW = 1_000 * DAY
EVENTS = st.lists(st.tuples(st.sampled_from(["good", "bad", "rollback", "prune"]), st.integers(0, 40)), max_size=60)


@given(EVENTS, st.integers(1, 6), st.integers(0, 60))
def test_what_a_rollback_could_need_is_never_removed(events: list[tuple[str, int]], keep: int, days: int) -> None:
    """Through any history, the live release and the last verified ones beside it, as many as asked for, are kept."""
    rules = Deploy(keep=keep, keep_days=days)
    now, number, live = NOW, 0, 0
    kept: tuple[Kept, ...] = ()
    verified: list[int] = []  # the model
    for what, later in events:
        now += later * DAY
        if what in ("good", "bad"):
            number += 1
        if what == "good":
            live = number
            verified.append(number)
            kept = (Kept(number, str(number), f"commit {number}", now, VERIFIED), *kept)
        elif what == "rollback" and (goal := max((n for n in verified if n < live), default=0)):
            assert goal in [one.number for one in kept]
            verified.remove(live)
            kept = tuple(
                Kept(one.number, one.deployed, one.source, one.at, ROLLED_BACK) if one.number == live else one
                for one in kept
            )
            live = goal
        elif what == "prune":
            before, kept = kept, retained(kept, live, rules, now)
            left = {one.number for one in kept}
            assert set([n for n in verified if n != live][-keep:]) <= left
            assert live == 0 or live in left
            assert {one.number for one in before if now - one.at < days * DAY} <= left  # which are fewer than ``MOST``
            for one in kept:  # and nothing stays without a reason
                needed = one.number == live or one.number in [n for n in verified if n != live][-keep:]
                assert needed or now - one.at < days * DAY
            verified = [n for n in verified if n in left]  # what was beyond the last ones may be gone for good
    assert list(kept) == sorted(kept, key=lambda one: -one.number)


def test_old_versions_go_and_rollbacks_still_work(tiny: Tiny) -> None:
    """Of seven releases, the live one and three to go back to stay; a rollback works through all of them and then says no."""
    service = Service(tiny)
    for number in range(7):
        service.deploy(NOTE=str(number))
    assert set(service.open().deployer.deployed().values()) == {4, 5, 6, 7}
    assert [service.rollback().release.number for _ in range(3)] == [6, 5, 4]
    assert service.problems() == []


def test_artifacts_go_when_nothing_needs_them(tiny: Tiny) -> None:
    """An artifact that is old and not of a kept release is removed, its name first; others stay."""
    tiny.deploy()
    first = tiny.git("rev-parse", "HEAD")
    tiny.repair("second")
    tiny.push()
    second = tiny.git("rev-parse", "HEAD")
    opened = tiny.open()
    bucket = opened.foundation.bucket
    assert store.prune(opened.cloud, bucket, {first}, time.time() - 60) == []
    assert store.prune(opened.cloud, bucket, {first}, time.time() + 60) == [Removed("artifact", second)]
    assert store.known(opened.cloud, bucket, second) is None
    assert store.known(opened.cloud, bucket, first) is not None


def test_rollback_works_when_the_newest_objects_are_gone(tiny: Tiny) -> None:
    """Whoever empties the bucket of its newest artifacts, records and head takes nothing from a rollback."""
    tiny.deploy()
    tiny.repair("second")
    tiny.deploy()
    opened = tiny.open()
    s3, bucket = opened.cloud.client("s3"), opened.foundation.bucket
    second = tiny.git("rev-parse", "HEAD")
    for prefix in (f"artifacts/{second}/", "releases/production/00000002/", "releases/production/head.json"):
        for entry in s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", []):
            s3.delete_object(Bucket=bucket, Key=entry["Key"])
    assert tiny.rollback().release.number == 1
    assert tiny.live() == 1
    tiny.repair("third")
    assert tiny.deploy().release.state == "verified"
