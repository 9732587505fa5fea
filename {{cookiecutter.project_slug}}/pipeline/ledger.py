"""The record of every release of an environment, and the lock that lets one deploy write it at a time.

Both live beside the artifacts. An event is written once and never changed; what state a release is in is what its last
event says: ``releases/<environment>/<number>/<sequence>-<state>.json``. The lock is ``locks/<environment>.json``. All
writes are conditional, so two writers can never both succeed.
"""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pipeline.cloud import code_of
from pipeline.errors import CloudError, LockHeld
from pipeline.store import LOST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.cloud import Cloud

__all__ = ["FAILED", "ROLLED_BACK", "STAGED", "VERIFIED", "Ledger", "Lock", "Release"]

STAGED, VERIFIED, FAILED, ROLLED_BACK = "staged", "verified", "failed", "rolled-back"
# A holder that neither finished nor wrote within this many seconds is taken for dead.
LOCK_SECONDS = 900


@dataclass(frozen=True)
class Release:
    """Artifact + configuration in one environment, numbered.

    Attributes:
        number: counts up from 1 in its environment.
        state: ``staged``, ``verified``, ``failed`` or ``rolled-back``.
        artifact: its fields, as pushed (``store.Artifact``).
        settings: memory (MB), timeout (s), runtime and the like, as the target was told.
        variables: the function's variables that are ours.
        who, at: who staged it, and when (seconds since 1970).
        version: the target's own name for it, known once it is staged there.
        cause: why it failed or was rolled back.
        seconds: how long each step took.
    """

    number: int
    state: str
    artifact: dict[str, Any]
    settings: dict[str, Any]
    variables: dict[str, str]
    who: str
    at: float
    version: str = ""
    cause: str = ""
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Lock:
    """A held lock; ``tag`` is S3's ETag of it."""

    holder: dict[str, Any]
    tag: str


class Ledger:
    """The ledger of one environment, in its bucket."""

    def __init__(self, cloud: Cloud, bucket: str, environment: str) -> None:
        self._cloud = cloud
        self._bucket = bucket
        self._prefix = f"releases/{environment}/"
        self._lock_key = f"locks/{environment}.json"
        self._environment = environment
        self._known: dict[int, list[str]] | None = None

    # -- releases

    def states(self) -> dict[int, list[str]]:
        """Every release's states in the order they were reached, by number.

        Listed once (one call per thousand events), then kept up to date by what is written here: who holds the lock is
        the only writer, and a conditional write would tell if that were not so.
        """
        if self._known is None:
            self._known = self._list()
        return self._known

    def _list(self) -> dict[int, list[str]]:
        states: dict[int, list[str]] = {}
        with self._cloud.faults():
            pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
            for page in pages:
                for entry in page.get("Contents", []):
                    number, event = entry["Key"].removeprefix(self._prefix).split("/")
                    states.setdefault(int(number), []).append(event.partition("-")[2].removesuffix(".json"))
        return states

    def read(self, number: int) -> Release:
        """Release ``number``: as it was staged, with what each later event adds."""
        events = [self._event(number, i, state) for i, state in enumerate(self.states()[number], start=1)]
        merged: dict[str, Any] = {}
        for event in events:
            merged |= event
        return Release(**merged)

    def latest(self, count: int) -> list[Release]:
        """The ``count`` newest releases, newest first."""
        return [self.read(number) for number in sorted(self.states(), reverse=True)[:count]]

    def stage(self, release: Release) -> Release:
        """Claim the next number for ``release`` and record it as staged; its own number is not looked at."""
        claimed = replace(release, number=max(self.states(), default=0) + 1, state=STAGED)
        self._write(claimed.number, STAGED, asdict(claimed))
        return claimed

    def record(self, number: int, state: str, **changes: Any) -> None:
        """Add the event that ``number`` is now in ``state``; ``changes`` are fields of ``Release``."""
        self._write(number, state, {"state": state, **changes})

    def _event(self, number: int, sequence: int, state: str) -> dict[str, Any]:
        with self._cloud.faults():
            answer = self._s3.get_object(Bucket=self._bucket, Key=self._key(number, sequence, state))
            event: dict[str, Any] = json.loads(answer["Body"].read())
        return event

    def _write(self, number: int, state: str, event: dict[str, Any]) -> None:
        body = json.dumps(event, indent=1, sort_keys=True).encode()
        reached = self.states().setdefault(number, [])
        sequence = len(reached) + 1
        if self._put(self._key(number, sequence, state), body, IfNoneMatch="*") is None:
            raise CloudError(
                f"release {number} of {self._environment} was written by someone else meanwhile", next="invoke releases"
            )
        reached.append(state)

    def _put(self, key: str, body: bytes, **condition: str) -> str | None:
        """Write an object under a condition; its ETag, or None when the condition did not hold."""
        with self._cloud.faults():
            try:
                answer = self._s3.put_object(Bucket=self._bucket, Key=key, Body=body, **condition)
            except Exception as error:
                if code_of(error) in LOST:
                    return None
                raise
            tag: str = answer["ETag"]
            return tag

    def _key(self, number: int, sequence: int, state: str) -> str:
        return f"{self._prefix}{number:06d}/{sequence:03d}-{state}.json"

    @property
    def _s3(self) -> Any:
        return self._cloud.client("s3")

    # -- lock

    @contextmanager
    def locked(self, who: str, reason: str) -> Iterator[Lock]:
        """Hold the environment's lock.

        A lock whose holder's time is up, or whose holder was a process of this machine that is gone, is taken over.

        Raises:
            LockHeld: someone else holds it; names them, since when, and until when at the latest.
        """
        now = time.time()
        holder = {
            "who": who,
            "reason": reason,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "at": now,
            "expires": now + LOCK_SECONDS,
        }
        lock = Lock(holder, self._take(holder))
        self._known = None  # what was listed before the lock was ours may be old
        try:
            yield lock
        finally:
            with self._cloud.faults():
                try:
                    self._s3.delete_object(Bucket=self._bucket, Key=self._lock_key, IfMatch=lock.tag)
                except Exception as error:  # taken over meanwhile: not ours to remove
                    if code_of(error) not in (*LOST, "NoSuchKey"):
                        raise

    def confirm(self, lock: Lock) -> None:
        """Make sure that ``lock`` is still ours.

        Raises:
            LockHeld: it was taken over.
        """
        found = self.holder()
        if found is None or found[1] != lock.tag:
            raise LockHeld(
                f"the lock of {self._environment} was taken over by {found[0]['who'] if found else 'nobody known'}",
                next="invoke status",
            )

    def holder(self) -> tuple[dict[str, Any], str] | None:
        """Who holds the lock, and its ETag; None if it is free."""
        with self._cloud.faults():
            try:
                answer = self._s3.get_object(Bucket=self._bucket, Key=self._lock_key)
            except Exception as error:
                if code_of(error) == "NoSuchKey":
                    return None
                raise
            return json.loads(answer["Body"].read()), answer["ETag"]

    def _take(self, holder: dict[str, Any]) -> str:
        body = json.dumps(holder, indent=1).encode()
        condition: dict[str, str] = {"IfNoneMatch": "*"}
        for _ in range(2):  # once as if it were free, once over a holder that is gone
            if (tag := self._put(self._lock_key, body, **condition)) is not None:
                return tag
            found = self.holder()
            if found is None:
                continue
            other, tag = found
            if not _gone(other):
                break
            condition = {"IfMatch": tag}
        raise self._held()

    def _held(self) -> LockHeld:
        found = self.holder()
        if found is None:
            return LockHeld(f"the lock of {self._environment} changed hands just now", next="run this again")
        other, _ = found
        since, until = (time.strftime("%H:%M:%S", time.localtime(other[key])) for key in ("at", "expires"))
        return LockHeld(
            f"{self._environment} is locked by {other['who']} on {other['host']} (pid {other['pid']}, "
            f"{other['reason']}) since {since}",
            next=f"wait for it; if its process is gone, the lock ends at {until}",
        )


def _gone(holder: dict[str, Any]) -> bool:
    """Whether the holder can't come back: its time is up, or it was a process here that has ended."""
    if holder["expires"] < time.time():
        return True
    if holder["host"] != socket.gethostname():
        return False
    try:
        os.kill(holder["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False
