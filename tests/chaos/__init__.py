"""Chaos: deploys, rollbacks and the emulator are killed or cancelled at random moments, while callers use what is live.

It shares nothing with the fault harness in ``faults/``: every command is a process, as a user or a runner starts it, and what
happened is read from what it printed, from the callers, and from S3 and Lambda. ``campaign.py`` says what a round is.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

__all__ = ["LOCK_SECONDS", "Figures"]

LOCK_SECONDS = 60.0


@dataclass
class Figures:
    """What a campaign has found."""

    rounds: Counter[str] = field(default_factory=Counter)
    struck: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    unreachable: int = 0
    early: int = 0
    failed: list[str] = field(default_factory=list)
    tracebacks: list[str] = field(default_factory=list)
    locks: list[str] = field(default_factory=list)
    hands: list[str] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def held(self) -> bool:
        """Whether everything held that must."""
        return bool(self.requests) and not (self.failed or self.tracebacks or self.locks or self.hands)

    def table(self) -> str:
        """The figures as text; what did not hold follows below."""
        lines = [
            f"{'what':<8} {'strategy':<12} {'rounds':>6} {'struck':>6}  exit codes of the commands that were struck"
        ]
        for kind, strategy in sorted(name.split(" ") for name in self.rounds):
            key = f"{kind} {strategy}"
            codes = {name.rpartition(" ")[2]: n for name, n in sorted(self.codes.items()) if name.startswith(f"{key} ")}
            ends = ", ".join(f"{code} × {n}" for code, n in codes.items() if n)
            lines.append(f"{kind:<8} {strategy:<12} {self.rounds[key]:>6} {self.struck[key]:>6}  {ends}")
        early = f"{self.early} commands were cancelled while Python or invoke was still loading, and ended as these do"
        lines += [
            *([early] if self.early else []),
            f"{self.requests} requests were answered or failed, {self.unreachable} found the emulator down (not counted)",
            f"{len(self.failed)} failed requests, {len(self.tracebacks)} tracebacks, {len(self.locks)} locks left over "
            f"{LOCK_SECONDS:.0f} s, {len(self.hands)} states that need a hand; {self.seconds / 60:.0f} minutes",
        ]
        found = [*self.failed[:20], *self.tracebacks, *self.locks, *self.hands]
        lines += [f"refused, {n} ×: {text}" for text, n in self.refusals.most_common()]
        return "\n".join([*lines, *(f"✗ {one}" for one in found)])
