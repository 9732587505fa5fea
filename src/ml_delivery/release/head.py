"""What an environment is at, in one small object: who holds the lock, what is under way, where a rollback can go.

It is only ever swapped for a new one that names the old one's ETag, so of two writers one loses. All that the ledger
records goes through it: an event lies in ``outbox`` first, in the same write that makes it true, and is copied to its
own object afterwards, by whoever comes first.
"""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

__all__ = ["FAILED", "ROLLED_BACK", "STAGED", "VERIFIED", "Former", "Head", "Holder", "Kept", "Release", "Work"]

STAGED, VERIFIED, FAILED, ROLLED_BACK = "staged", "verified", "failed", "rolled-back"
# A holder that wrote nothing for this many seconds is taken for dead. The longest that a deploy is silent is one probe of a
# function, which may take Lambda's 15 minutes.
LOCK_SECONDS = 1200


@dataclass(frozen=True)
class Release:
    """Artifact + configuration in one environment, numbered.

    Attributes:
        number: counts up from 1 in its environment.
        state: ``staged``, ``verified``, ``failed`` or ``rolled-back``.
        artifact: its fields, as pushed (``store.Artifact``).
        settings: memory (MB), timeout (s), runtime and the like, as the target was told.
        variables: the function's variables that are ours; a secret is a reference, never its value.
        who, at: who staged it, and when (seconds since 1970).
        version: the target's own name for it, known once it is staged there.
        cause: why it failed or was rolled back.
        seconds: how long each step took.
        watched: the numbers that were seen at each look while traffic was moved.
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
    watched: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Holder:
    """Who holds the lock, why, since when, and until when at the latest (seconds since 1970).

    ``boot`` tells machines of one name apart, as those of laptops and of clones are, and this one from before its restart.
    """

    who: str
    reason: str
    host: str
    pid: int
    at: float
    expires: float
    boot: str = ""

    @classmethod
    def me(cls, who: str, reason: str) -> Holder:
        now = time.time()
        return cls(who, reason, socket.gethostname(), os.getpid(), now, now + LOCK_SECONDS, _boot())

    def renewed(self) -> Holder:
        return replace(self, expires=time.time() + LOCK_SECONDS)

    def gone(self) -> bool:
        """Whether it can't come back: its time is up, or it was a process of this machine that has ended."""
        if self.expires < time.time():
            return True
        if (self.host, self.boot) != (socket.gethostname(), _boot()):
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        return False

    def __str__(self) -> str:
        since = time.strftime("%H:%M:%S", time.localtime(self.at))
        return f"{self.who} on {self.host} (pid {self.pid}, {self.reason}) since {since}"


def _boot() -> str:
    """What this machine has been since it was started."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"{uuid.getnode():x}"


@dataclass(frozen=True)
class Former:
    """What served before: its version and release number (0 when it was not one of ours)."""

    version: str
    release: int

    def __str__(self) -> str:
        return f"release {self.release}" if self.release else f"version {self.version}"


@dataclass(frozen=True)
class Kept:
    """A release whose version and artifact are kept: ``verified``, so that a rollback can go to it, or ``rolled-back``.

    ``source`` is what its artifact was built from, ``at`` when it was staged.
    """

    number: int
    version: str
    source: str
    at: float
    state: str

    @classmethod
    def of(cls, release: Release) -> Kept:
        return cls(release.number, release.version, release.artifact["version"], release.at, release.state)


@dataclass(frozen=True)
class Work:
    """A deploy or rollback under way, in all that another process needs to go on with it.

    Attributes:
        verb: ``deploy`` or ``rollback``.
        release: what is to serve.
        former: what served before; None when nothing did.
        plan: digest of the plan that it carries out.
        dropped: variables that were ours and are no longer wanted.
        step: the step that was begun last.
        weight: percent of the traffic that the release was last given, or was about to be.
        since: when it was first given any; seconds since 1970, 0 for never.
        due: until when it holds its weight.
        detached: nobody is at work; ``--resume`` goes on.
    """

    verb: str
    release: Release
    former: Former | None
    plan: str = ""
    dropped: tuple[str, ...] = ()
    step: str = ""
    weight: int = 0
    since: float = 0.0
    due: float = 0.0
    detached: bool = False

    def __str__(self) -> str:
        how = f"{self.verb} of release {self.release.number}, at {self.step or 'its start'}"
        return f"{how}, {self.weight} % of the traffic" if self.weight else how


@dataclass(frozen=True)
class Head:
    """The whole object.

    Attributes:
        revision: counts every write.
        token: counts every taking of the lock; it fences late holders off.
        holder: who holds the lock; None when it is free.
        newest: the last release number that was given.
        live: the release that was verified last; 0 for none.
        kept: releases that retention has not removed, newest first.
        owned: names of variables that we set and that may still be there.
        work: what is under way.
        swept: whether all that retention removes is gone.
        outbox: events that may not have objects of their own yet, by key.
    """

    revision: int = 0
    token: int = 0
    holder: Holder | None = None
    newest: int = 0
    live: int = 0
    kept: tuple[Kept, ...] = ()
    owned: tuple[str, ...] = ()
    work: Work | None = None
    swept: bool = True
    outbox: dict[str, dict[str, Any]] = field(default_factory=dict)

    def encode(self) -> bytes:
        return json.dumps(asdict(self), indent=1, sort_keys=True).encode()

    @classmethod
    def decode(cls, body: bytes) -> Head:
        found: dict[str, Any] = json.loads(body)
        holder, work = found["holder"], found["work"]
        if work:
            release, former = Release(**work["release"]), work["former"]
            changes = {"release": release, "former": former and Former(**former), "dropped": tuple(work["dropped"])}
            work = Work(**{**work, **changes})
        kept, owned = tuple(Kept(**one) for one in found["kept"]), tuple(found["owned"])
        return cls(**{**found, "holder": holder and Holder(**holder), "work": work, "kept": kept, "owned": owned})
