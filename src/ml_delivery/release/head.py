"""The current state of an environment, in one small object: the lock's holder, what is under way, possible rollbacks.

It is only replaced by compare-and-swap on its ETag, so one of two concurrent writers fails. Everything that the ledger
records goes through it: an event is first put into ``outbox``, in the same write that makes it true, and is then copied to
its own object, by this command or the next one.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_delivery import formats
from ml_delivery.records import RETIRED

if TYPE_CHECKING:
    from ml_delivery.records import Experiment, Release

__all__ = ["COMPARE", "DECIDE", "Head", "Holder", "Kept", "Previous", "Work"]

# A holder that wrote nothing for this many seconds is considered dead. The longest time without a write is one request of a
# health check, for which a target may allow 15 minutes.
LOCK_SECONDS = 1200
COMPARE, DECIDE = "compare", "decide"  # how an A/B begins and ends, as ``Work.verb``


@dataclass(frozen=True)
class Holder:
    """Who holds the lock, why, since when, and until when at the latest (seconds since 1970).

    ``boot`` distinguishes machines with the same host name, and this machine from itself before a restart; ``space`` its
    containers, each of which may number processes in a PID namespace of its own; ``began`` processes with the same number.
    """

    who: str
    reason: str
    host: str
    pid: int
    at: float
    expires: float
    boot: str = ""
    space: str = ""
    began: str = ""

    @classmethod
    def me(cls, who: str, reason: str) -> Holder:
        now, pid = time.time(), os.getpid()
        return cls(who, reason, socket.gethostname(), pid, now, now + LOCK_SECONDS, _boot(), _space(), _began(pid))

    def renewed(self) -> Holder:
        return replace(self, expires=time.time() + LOCK_SECONDS)

    def gone(self) -> bool:
        """Whether it has exited for good: its lease has expired, or it was a process of this machine that has ended."""
        if self.expires < time.time():
            return True
        if (self.host, self.boot, self.space) != (socket.gethostname(), _boot(), _space()):
            return False
        return _began(self.pid) != self.began


def _boot() -> str:
    """Identifies this machine since its last restart."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"{uuid.getnode():x}"


def _space() -> str:
    """Identifies this process's PID namespace: https://man7.org/linux/man-pages/man7/pid_namespaces.7.html."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _began(pid: int) -> str:
    """When a process began, in the kernel's ticks since the machine did; empty if it has ended.

    Where there is no /proc, as on macOS, ``running`` stands for any start.
    """
    if not Path("/proc/self/stat").exists():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return ""
        except PermissionError:
            pass
        return "running"
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] == "Z" else fields[19]  # a zombie has ended, though its number is still in use


@dataclass(frozen=True)
class Previous:
    """What served before: its deployed version and release number (0 when it was not deployed by this pipeline)."""

    deployed: str
    release: int


@dataclass(frozen=True)
class Kept:
    """A release whose deployed version and artifact are kept.

    Attributes:
        number: the release's.
        deployed: its deployed version.
        source: what its artifact was built from (``Source.version``).
        at: when it was staged; seconds since 1970.
        state: ``verified``, so that a rollback can go to it, ``rolled-back``, or ``retired``: then its artifact alone is kept.
    """

    number: int
    deployed: str
    source: str
    at: float
    state: str

    @classmethod
    def of(cls, release: Release) -> Kept:
        """What is kept of ``release``."""
        return cls(release.number, release.deployed, release.artifact.version, release.at, release.state)


@dataclass(frozen=True)
class Work:
    """A deploy, a rollback, or the start or end of an A/B, that is under way, with all that another process needs to continue it.

    Attributes:
        verb: ``deploy``, ``rollback``, ``compare`` (``release`` gets its share in an A/B) or ``decide`` (an A/B ends, and
            ``release`` gets all traffic).
        release: the one that is to serve.
        previous: what served before; None when nothing did.
        plan: digest of the plan that it carries out.
        dropped: variables that this pipeline set and that are no longer wanted.
        step: the step that was started last.
        weight: percent of the traffic that the release was last given, or was about to be given.
        since: when it was first given traffic; seconds since 1970, 0 for never.
        due: until when it holds its weight; seconds since 1970.
        detached: paused; ``invoke deploy --resume`` continues.
    """

    verb: str
    release: Release
    previous: Previous | None
    plan: str = ""
    dropped: tuple[str, ...] = ()
    step: str = ""
    weight: int = 0
    since: float = 0.0
    due: float = 0.0
    detached: bool = False


@dataclass(frozen=True)
class Head:
    """The whole object.

    Attributes:
        revision: counts every write.
        token: the fencing token: counts how often the lock was taken, so that a late holder can't write.
        holder: who holds the lock; None when it is free.
        newest: the last release number that was assigned.
        live: the release that was verified last; 0 for none, or if it was retired.
        kept: releases that retention has not removed, newest first.
        owned: names of variables that this pipeline set and that may still exist.
        work: what is under way.
        swept: whether everything that retention removes has been removed.
        experiment: the newest A/B, which may have ended; None where there was none.
        outbox: events as JSON, by key, that may not have been copied to their own objects yet.
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
    experiment: Experiment | None = None
    outbox: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def retired(self) -> int:
        """The release that served until the environment was retired; 0 if it was not, or if a release was verified since."""
        return 0 if self.live else max((one.number for one in self.kept if one.state == RETIRED), default=0)

    def encode(self) -> bytes:
        """The head as the object's bytes."""
        return formats.dump(self, sort=True)

    @classmethod
    def decode(cls, place: str, body: bytes) -> Head:
        """Decode the object at ``place``, in any format.

        Raises:
            CloudError: it is damaged, or was written by a newer package.
        """
        found = formats.read(place, body)
        try:
            holder, work, experiment = found["holder"], found["work"], found.get("experiment")
            listed = [{_NOW.get(name, name): value for name, value in one.items()} for one in found["kept"]]
            formats.require_known(place, cls, found)
            formats.require_known(place, Holder, holder or {})
            for one in listed:
                formats.require_known(place, Kept, one)
            kept = tuple(Kept(**one) for one in listed)
            return cls(
                **found
                | {
                    "holder": holder and Holder(**holder),
                    "work": work and _work(place, work),
                    "kept": kept,
                    "owned": tuple(found["owned"]),
                    "experiment": experiment and formats.experiment(place, experiment),
                }
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise formats.damaged(place, error) from error


# The names in format 1, and today's.
_NOW = {"version": "deployed", "former": "previous"}


def _work(place: str, found: dict[str, Any]) -> Work:
    known = {_NOW.get(name, name): value for name, value in found.items()}
    formats.require_known(place, Work, known)
    previous = known["previous"]
    if previous:
        previous = Previous(**{_NOW.get(name, name): value for name, value in previous.items()})
    release = formats.release(place, known["release"])
    step, _ = formats.step(known.get("step") or "")
    return Work(**{**known, "release": release, "previous": previous, "dropped": tuple(known["dropped"]), "step": step})
