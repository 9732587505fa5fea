"""The record of every release of an environment, beside its artifacts.

``releases/<environment>/head.json`` is what the environment is at (``head.py``). An event,
``releases/<environment>/<number>/<revision>-<state>.json``, is the whole release as it was then; it is written once and
never changed. However many releases there are, a deploy reads the head and those releases that it names.
"""

from __future__ import annotations

import json
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, TypeVar

from ml_delivery.artifact import store
from ml_delivery.cloud import code_of
from ml_delivery.errors import CloudError, LockHeld, Refused
from ml_delivery.release.head import VERIFIED, Head, Holder, Kept, Release

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ml_delivery.cloud import Cloud

__all__ = ["Lease", "Ledger"]

MISSING = ("NoSuchKey", "404")
POLL_SECONDS = 1.0
T = TypeVar("T")


class Lease:
    """The lock, held: the one way to write.

    Attributes:
        head: the environment as of our last write.
    """

    def __init__(self, ledger: Ledger, head: Head, tag: str) -> None:
        self.head = head
        self._ledger = ledger
        self._tag = tag
        self._unpublished: dict[str, Any] = {}
        self._swept = False

    def write(self, *events: Release, **changes: Any) -> None:
        """Change the head, record ``events`` with the same stroke, and renew the lock.

        Raises:
            LockHeld: the lock was taken over; nothing was written.
        """
        revision = self.head.revision + 1
        outbox = self._unpublished | {self._ledger.key(event, revision): asdict(event) for event in events}
        holder = self.head.holder and self.head.holder.renewed()
        if self._swept:
            changes, self._swept = {"swept": True, **changes}, False
        new = replace(self.head, **{"revision": revision, "holder": holder, "outbox": outbox, **changes})
        tag = self._ledger.swap(new, self._tag)
        if tag is None:
            raise self._ledger.taken_over()
        self.head, self._tag, self._unpublished = new, tag, outbox
        self._ledger.publish(new)
        self._unpublished = {}

    def swept(self) -> None:
        """All is removed that had to be; the next write says so."""
        self._swept = True

    def refresh(self) -> None:
        """Learn what became of a write that ended without a word: it may have taken effect.

        Raises:
            LockHeld: the lock was taken over.
        """
        head, tag = self._ledger.load()
        if head.token != self.head.token:
            raise self._ledger.taken_over()
        self.head, self._tag, self._unpublished = head, tag, head.outbox


class Ledger:
    """The ledger of one environment, in its bucket."""

    def __init__(self, cloud: Cloud, bucket: str, environment: str) -> None:
        self._cloud = cloud
        self._bucket = bucket
        self._prefix = f"releases/{environment}/"
        self._head = f"{self._prefix}head.json"
        self._environment = environment

    # -- looking

    def head(self) -> Head:
        """What the environment is at. One call."""
        return self.load()[0]

    def load(self) -> tuple[Head, str]:
        """The head and its tag, which the next one must name."""
        with self._cloud.faults():
            body, tag = self._get(self._head, missing=b"")
        return (_read(self._head, Head.decode, body), tag) if body else (self._rebuilt(), "")

    def find(self, number: int) -> Release | None:
        """Release ``number``, as its last event says; None when there is none. Two calls."""
        with self._cloud.faults():
            listed = self._s3.list_objects_v2(Bucket=self._bucket, Prefix=f"{self._prefix}{number:08d}/")
            keys = sorted(entry["Key"] for entry in listed.get("Contents", []))
            return _read(keys[-1], _release, self._get(keys[-1])[0]) if keys else None

    def read(self, number: int) -> Release:
        """Release ``number``.

        Raises:
            Refused: there is none.
        """
        if (found := self.find(number)) is None:
            raise Refused(f"{self._environment} has no release {number}", next="invoke releases")
        return found

    def latest(self, count: int) -> list[Release]:
        """The ``count`` newest releases, newest first, but those whose objects are gone."""
        newest = self.head().newest
        found = (self.find(number) for number in range(newest, max(0, newest - count), -1))
        return [release for release in found if release]

    # -- writing

    @contextmanager
    def locked(self, who: str, reason: str, wait: float = 0.0) -> Iterator[Lease]:
        """Hold the environment's lock.

        A lock whose holder's time is up, or whose holder was a process of this machine that is gone, is taken over.

        Args:
            who: whom others are told of.
            reason: why, for them.
            wait: seconds to wait for another holder to end.

        Raises:
            LockHeld: someone else holds it; names them, since when, and until when at the latest.
        """
        lease = self._take(who, reason, wait)
        try:
            yield lease
        except BaseException:
            with suppress(CloudError, LockHeld):  # what went wrong first is what is told
                lease.refresh()
                lease.write(holder=None)
            raise
        with suppress(LockHeld):  # taken over meanwhile: not ours to free
            lease.write(holder=None)

    def unlock(self, who: str, reason: str) -> Holder | None:
        """Take the lock from whoever holds it; who that was. What they had under way stays, for the next to settle.

        If something is under way, the release's record tells who took the lock, and why.

        Raises:
            LockHeld: the lock changed hands meanwhile.
        """
        head, tag = self.load()
        if head.holder is None:
            return None
        revision, outbox = head.revision + 1, dict(head.outbox)
        if head.work:
            note = replace(head.work.release, cause=f"unlocked by {who}: {reason}; was held by {head.holder}")
            outbox[self.key(note, revision)] = asdict(note)
        new = replace(head, revision=revision, token=head.token + 1, holder=None, outbox=outbox)
        if self.swap(new, tag) is None:
            raise self.taken_over()
        self.publish(new)
        return head.holder

    def key(self, event: Release, revision: int) -> str:
        """Where ``event`` lies, if the head's ``revision`` made it true."""
        return f"{self._prefix}{event.number:08d}/{revision:08d}-{event.state}.json"

    def publish(self, head: Head) -> None:
        """Give each event of the outbox its object, unless somebody has."""
        for key, event in head.outbox.items():
            self._put(key, json.dumps(event, indent=1, sort_keys=True).encode(), IfNoneMatch="*")

    def swap(self, new: Head, tag: str) -> str | None:
        """Put ``new`` in the place of the head that had ``tag``; its own tag, or None when there was another by now."""
        body = new.encode()
        condition = {"IfMatch": tag} if tag else {"IfNoneMatch": "*"}
        for _ in range(3):
            if (written := self._put(self._head, body, **condition)) is not None:
                return written
            with self._cloud.faults():
                found, there = self._get(self._head, missing=b"")
            if found == body:  # it was us: the answer was lost on the way, and botocore asked again
                return there
            if there != tag:
                return None
        return None  # S3 was busy with somebody else's write each time

    def taken_over(self) -> LockHeld:
        holder = self.head().holder
        return LockHeld(
            f"the lock of {self._environment} was taken over by {holder or 'somebody who has gone again'}",
            next="invoke status",
        )

    # -- private

    def _take(self, who: str, reason: str, wait: float) -> Lease:
        end = time.monotonic() + wait
        while True:
            head, tag = self.load()
            if head.holder is None or head.holder.gone():
                if head.outbox:  # whoever wrote it may have died before these were copied
                    self.publish(head)
                mine = replace(
                    head, revision=head.revision + 1, token=head.token + 1, holder=Holder.me(who, reason), outbox={}
                )
                if (taken := self.swap(mine, tag)) is not None:
                    return Lease(self, mine, taken)
            elif time.monotonic() >= end:
                until = time.strftime("%H:%M:%S", time.localtime(head.holder.expires))
                raise LockHeld(
                    f"{self._environment} is locked by {head.holder}",
                    next=f"wait for it (--wait SECONDS); if its process is gone, the lock ends at {until}, "
                    "or with invoke unlock --reason WHY",
                )
            else:
                time.sleep(min(POLL_SECONDS, max(0.0, end - time.monotonic())))

    def _rebuilt(self) -> Head:
        """The head as the events tell it: empty for a new environment, and good enough when the object was lost."""
        last: dict[int, tuple[int, str, str]] = {}
        with self._cloud.faults():
            pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
            for key in (entry["Key"] for page in pages for entry in page.get("Contents", [])):
                number, _, event = key.removeprefix(self._prefix).partition("/")
                if not event:  # the head, which someone has written since
                    continue
                revision, _, state = event.removesuffix(".json").partition("-")
                last[int(number)] = (int(revision), state, key)
            revision = max((event[0] for event in last.values()), default=0)
            names = [last[number][2] for number in sorted(last, reverse=True) if last[number][1] == VERIFIED]
            releases = [_read(name, _release, self._get(name)[0]) for name in names[:100]]
        kept = tuple(map(Kept.of, releases))
        owned = tuple(sorted({name for release in releases[:1] for name in release.variables}))
        return Head(revision=revision, token=revision, newest=max(last, default=0), kept=kept, owned=owned)

    def _get(self, key: str, missing: bytes | None = None) -> tuple[bytes, str]:
        try:
            answer = self._s3.get_object(Bucket=self._bucket, Key=key)
        except Exception as error:
            if missing is None or code_of(error) not in MISSING:
                raise
            return missing, ""
        return answer["Body"].read(), answer["ETag"]

    def _put(self, key: str, body: bytes, **condition: str) -> str | None:
        """Write an object under a condition; its ETag, or None when the condition did not hold."""
        with self._cloud.faults():
            return store.put(self._s3, self._bucket, key, body, **condition)

    @property
    def _s3(self) -> Any:
        return self._cloud.client("s3")


def _release(body: bytes) -> Release:
    return Release(**json.loads(body))


def _read(key: str, decode: Callable[[bytes], T], body: bytes) -> T:
    """What an object of the ledger holds.

    Raises:
        CloudError: it is damaged, or of a later version of this pipeline.
    """
    try:
        return decode(body)
    except (ValueError, TypeError, KeyError) as error:
        raise CloudError(
            f"{key} can't be read: {type(error).__name__}: {error}",
            next="cruft update, if a later version of this pipeline wrote it; S3 keeps its former versions",
        ) from error
