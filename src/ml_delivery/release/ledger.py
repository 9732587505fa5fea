"""The record of every release of an environment, in the same bucket as its artifacts.

``releases/<environment>/head.json`` is the environment's current state (``head.py``). An event,
``releases/<environment>/<number>/<revision>-<state>.json``, is the whole release as it was then; it is written once and
never changed. Those of an A/B are in ``releases/<environment>/experiments/``, by its own number. However many releases there
are, a deploy reads only the head and the releases that the head names.
"""

from __future__ import annotations

import json
import re
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ml_delivery import formats, objects
from ml_delivery.errors import CloudError, LockHeld, Refused
from ml_delivery.records import VERIFIED, Experiment
from ml_delivery.release import words
from ml_delivery.release.head import Head, Holder, Kept
from ml_delivery.signals import uninterrupted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ml_delivery.cloud import Cloud
    from ml_delivery.records import Release

__all__ = ["Lease", "Ledger"]

POLL_SECONDS = 1.0
EVENT = re.compile(r"(experiments/)?(\d{8})/(\d{8})-([a-z-]+)\.json")  # what ``Ledger.key`` makes


class Lease:
    """The lock while it is held: the only way to write.

    Attributes:
        head: the environment's state as of the last write.
    """

    def __init__(self, ledger: Ledger, head: Head, etag: str) -> None:
        self.head = head
        self._ledger = ledger
        self._etag = etag
        self._unpublished: dict[str, Any] = {}
        self._swept = False

    def write(self, *events: Release | Experiment, **changes: Any) -> None:
        """Change the head, record ``events`` in the same write, and renew the lock. An A/B is also the head's.

        Raises:
            LockHeld: the lock was taken over; nothing was written.
        """
        revision = self.head.revision + 1
        outbox = self._unpublished | {self._ledger.key(event, revision): formats.plain(event) for event in events}
        for event in events:
            if isinstance(event, Experiment):
                changes = {"experiment": event, **changes}
        holder = self.head.holder and self.head.holder.renewed()
        if self._swept:
            changes, self._swept = {"swept": True, **changes}, False
        new = replace(self.head, **{"revision": revision, "holder": holder, "outbox": outbox, **changes})
        etag = self._ledger.swap(new, self._etag)
        if etag is None:
            raise self._ledger.taken_over()
        self.head, self._etag, self._unpublished = new, etag, outbox
        self._ledger.publish(new)
        self._unpublished = {}

    def swept(self) -> None:
        """Note that retention has removed everything that it should; the next write records it."""
        self._swept = True

    def refresh(self) -> None:
        """Read the head again after a write whose response was lost: it may have taken effect.

        Raises:
            LockHeld: the lock was taken over.
        """
        head, etag = self._ledger.load()
        if head.token != self.head.token:
            raise self._ledger.taken_over()
        self.head, self._etag, self._unpublished = head, etag, head.outbox


class Ledger:
    """The ledger of one environment, in its bucket.

    Args:
        cloud: the environment's cloud.
        bucket: the bucket's name.
        environment: the environment's name.
        where: the options by which a command reaches it, such as ``--branch main --cloud aws``.
    """

    def __init__(self, cloud: Cloud, bucket: str, environment: str, where: str) -> None:
        self._cloud = cloud
        self._bucket = bucket
        self._prefix = f"releases/{environment}/"
        self._head = f"{self._prefix}head.json"
        self._environment = environment
        self._where = where
        self._wanted: Holder | None = None

    # -- looking

    def head(self) -> Head:
        """The environment's current state. One call."""
        return self.load()[0]

    def load(self) -> tuple[Head, str]:
        """The head and its ETag, which the next write must name; the ETag is empty when there is no head yet."""
        found = objects.get(self._cloud, self._bucket, self._head)
        if found is None:
            return self._rebuilt(), ""
        with objects.described(self._cloud, self._bucket, self._head):
            return Head.decode(self._head, found[0]), found[1]

    def find(self, number: int) -> Release | None:
        """Release ``number`` as of its last event; None when there is none. Two calls."""
        with self._cloud.faults():
            listed = self._s3.list_objects_v2(Bucket=self._bucket, Prefix=f"{self._prefix}{number:08d}/")
        keys = sorted(entry["Key"] for entry in listed.get("Contents", []) if self._parsed(entry["Key"]))
        return self._event(keys[-1]) if keys else None

    def read(self, number: int) -> Release:
        """Release ``number``.

        Raises:
            Refused: there is none.
        """
        if (found := self.find(number)) is None:
            raise Refused(f"{self._environment} has no release {number}", next=f"invoke releases {self._where}")
        return found

    def latest(self, count: int, damaged: list[CloudError]) -> list[Release]:
        """The ``count`` newest releases, newest first; those whose objects no longer exist are omitted.

        Args:
            count: how many.
            damaged: gets an error for each that can't be read, which is omitted, too.
        """
        newest, found = self.head().newest, []
        for number in range(newest, max(0, newest - count), -1):
            try:
                found.append(self.find(number))
            except formats.Damaged as error:
                damaged.append(error)
        return [release for release in found if release]

    # -- writing

    @contextmanager
    def locked(self, who: str, reason: str, wait: float = 0.0) -> Iterator[Lease]:
        """Hold the environment's lock.

        A lock that has expired, or whose holder was a process of this machine that has ended, is taken over.

        Args:
            who: the holder's name, which other commands print.
            reason: why it is held, which other commands print.
            wait: seconds to wait for another holder to release the lock.

        Raises:
            LockHeld: another command holds it; names its user, since when it is held, and when it expires.
        """
        lease = None
        try:
            lease = self._take(who, reason, wait)
            yield lease
            with uninterrupted(), suppress(LockHeld):  # taken over in the meantime: not ours to release
                lease.write(holder=None)
        except BaseException:
            with uninterrupted(), suppress(CloudError, LockHeld):  # the first error is the one to report
                if lease := lease or self._taken_unnoticed():
                    lease.refresh()
                    if lease.head.holder:
                        lease.write(holder=None)
            raise

    def unlock(self, who: str, reason: str) -> Holder | None:
        """Release the lock by force, and return its holder. The next deploy or rollback finishes what was under way.

        If something is under way, the release's record names who released the lock, and why.

        Raises:
            LockHeld: the lock was released or taken over in the meantime.
        """
        head, etag = self.load()
        if head.holder is None:
            return None
        revision, outbox = head.revision + 1, dict(head.outbox)
        if head.work:
            note = replace(
                head.work.release, cause=f"unlocked by {who}: {reason}; was held by {words.holder(head.holder)}"
            )
            outbox[self.key(note, revision)] = formats.plain(note)
        new = replace(head, revision=revision, token=head.token + 1, holder=None, outbox=outbox)
        if self.swap(new, etag) is None:
            raise self.taken_over()
        self.publish(new)
        return head.holder

    def key(self, event: Release | Experiment, revision: int) -> str:
        """The key of ``event``, which the head's ``revision`` made true."""
        folder = f"{self._prefix}experiments/" if isinstance(event, Experiment) else self._prefix
        return f"{folder}{event.number:08d}/{revision:08d}-{event.state}.json"

    def publish(self, head: Head) -> None:
        """Write each event of the outbox to its own object, unless that exists already."""
        for key, event in head.outbox.items():
            objects.create(self._cloud, self._bucket, key, json.dumps(event, indent=1, sort_keys=True).encode())

    def swap(self, new: Head, etag: str) -> str | None:
        """Replace the head that had ``etag`` by ``new``; returns the new ETag, or None if the head has changed since."""
        body = new.encode()
        condition = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}
        for _ in range(3):
            if (written := objects.put(self._cloud, self._bucket, self._head, body, **condition)) is not None:
                return written
            found, there = objects.get(self._cloud, self._bucket, self._head) or (b"", "")
            if found == body:  # this very write: its response was lost, and botocore retried
                return there
            if there != etag:
                return None
        return None  # each time, S3 was busy with another write

    def taken_over(self) -> LockHeld:
        holder = self.head().holder
        return LockHeld(
            f"the lock of {self._environment} was taken over"
            + (f" by {words.holder(holder)}" if holder else ", and released again"),
            next=f"invoke status {self._where}",
        )

    # -- private

    def _take(self, who: str, reason: str, wait: float) -> Lease:
        end = time.monotonic() + wait
        while True:
            head, etag = self.load()
            if head.holder is None or head.holder.gone():
                if head.outbox:  # the command that wrote it may have exited before these were copied
                    self.publish(head)
                self._wanted = Holder.me(who, reason)
                mine = replace(head, revision=head.revision + 1, token=head.token + 1, holder=self._wanted, outbox={})
                if (taken := self.swap(mine, etag)) is not None:
                    return Lease(self, mine, taken)
            elif time.monotonic() >= end:
                until = time.strftime("%H:%M:%S", time.localtime(head.holder.expires))
                raise LockHeld(
                    f"{self._environment} is {f'still locked after {wait:g} s' if wait else 'locked'} "
                    f"by {words.holder(head.holder)}",
                    next=f"wait for it (--wait SECONDS); if its process has ended, the lock expires at {until}, "
                    f"or is released by invoke unlock --reason WHY {self._where}",
                )
            else:
                time.sleep(min(POLL_SECONDS, max(0.0, end - time.monotonic())))

    def _taken_unnoticed(self) -> Lease | None:
        """The lock that a write took whose response was not awaited, as after Ctrl-C; None if it did not take it."""
        head, etag = self.load()
        return Lease(self, head, etag) if head.holder and head.holder == self._wanted else None

    def _rebuilt(self) -> Head:
        """The head, rebuilt from the events: empty for a new environment, and sufficient if the object was lost."""
        last: dict[int, tuple[int, str, str]] = {}
        compared: tuple[int, str] | None = None  # the revision and key of the newest A/B
        with self._cloud.faults():
            pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
            for key in (entry["Key"] for page in pages for entry in page.get("Contents", [])):
                if event := self._parsed(key):
                    number, revision, state = event
                    last[number] = (revision, state, key)
                elif found := EVENT.fullmatch(key.removeprefix(self._prefix)):
                    compared = (int(found[3]), key)  # they are listed in their order
        revision = max([event[0] for event in last.values()] + ([compared[0]] if compared else []), default=0)
        names = [last[number][2] for number in sorted(last, reverse=True) if last[number][1] == VERIFIED]
        releases = [self._event(name) for name in names[:100]]
        kept = tuple(Kept.of(release) for release in releases if release)
        newest = self._event(last[max(last)][2]) if last else None  # a deploy that failed has set its variables, too
        owned = tuple(sorted({name for one in (newest, *releases[:1]) if one for name in one.variables}))
        experiment = self._experiment(compared[1]) if compared else None
        return Head(
            revision=revision,
            token=revision,
            newest=max(last, default=0),
            kept=kept,
            owned=owned,
            experiment=experiment,
        )

    def _parsed(self, key: str) -> tuple[int, int, str] | None:
        """An event's release, revision and state; None for the head, for an A/B's, and for what is not the ledger's."""
        found = EVENT.fullmatch(key.removeprefix(self._prefix))
        return (int(found[2]), int(found[3]), found[4]) if found and not found[1] else None

    def _event(self, key: str) -> Release | None:
        found = objects.get(self._cloud, self._bucket, key)
        with objects.described(self._cloud, self._bucket, key):
            return formats.release(key, formats.read(key, found[0])) if found else None

    def _experiment(self, key: str) -> Experiment | None:
        found = objects.get(self._cloud, self._bucket, key)
        with objects.described(self._cloud, self._bucket, key):
            return formats.experiment(key, formats.read(key, found[0])) if found else None

    @property
    def _s3(self) -> Any:
        return self._cloud.client("s3")
