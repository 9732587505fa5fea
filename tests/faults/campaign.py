"""Steps × faults: deploys and rollbacks with one fault each, drawn by a seed, and what became of them.

``nox -s faults`` runs all of it; ``make test`` a slice. After each run the same command is run again without a fault if
it has to be; then what is live, the ledger, the lock and the versions must be as if there had been no fault.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent.parent), str(Path(__file__).parent.parent.parent)]

from tiny import Tiny

from faults import Fault, conflict, cut, error500, expired, kill, lag, lost, throttle, timeout
from faults.harness import Service, Users, apart
from ml_delivery import emulator
from ml_delivery.records import VERIFIED

CALLS = 45  # about as many as a deploy makes; a fault that is drawn for a later one does not strike


@dataclass
class Result:
    """What a campaign has found: per fault the runs, those struck, and those that had to be run again."""

    runs: Counter[str] = field(default_factory=Counter)
    struck: Counter[str] = field(default_factory=Counter)
    again: Counter[str] = field(default_factory=Counter)
    steps: dict[str, Counter[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    requests: int = 0
    failures: list[str] = field(default_factory=list)
    releases: int = 0
    seconds: float = 0.0

    def table(self) -> str:
        lines = [f"{'fault':<22} {'runs':>5} {'struck':>7} {'again':>6}  where"]
        for name in sorted(self.runs):
            where = ", ".join(f"{step} {n}" for step, n in self.steps.get(name, Counter()).most_common(6))
            lines.append(f"{name:<22} {self.runs[name]:>5} {self.struck[name]:>7} {self.again[name]:>6}  {where}")
        total = sum(self.runs.values())
        lines.append(f"{'all':<22} {total:>5} {sum(self.struck.values()):>7} {sum(self.again.values()):>6}")
        lines.append(
            f"{self.requests} requests of users, {len(self.failures)} failed; {self.releases} releases; "
            f"{len(self.problems)} problems (wrong live versions, leaked locks, lost entries, orphans); {self.seconds:.0f} s"
        )
        return "\n".join(lines)


def kinds(service: Service) -> dict[str, Callable[[random.Random], Fault]]:
    """Every kind of fault, drawn: at which call, and for how many tries; botocore makes two."""

    def somewhere(make: Callable[..., Fault]) -> Callable[[random.Random], Fault]:
        return lambda dice: make(at=dice.randint(1, CALLS), times=dice.choice([1, 1, 2, 4]))

    def others(dice: random.Random) -> Fault:
        client = service.open().cloud.client("lambda")
        words = {"FunctionName": service.name, "Description": f"theirs {dice.random()}"}
        if dice.random() < 0.5:
            return conflict(lambda: client.update_alias(Name="live", **words), on="UpdateAlias")
        where = dice.choice(["UpdateFunctionConfiguration", "PublishVersion"])
        return conflict(lambda: client.update_function_configuration(**words), on=where)

    return {
        "kill -9 after": lambda dice: kill(dice.randint(1, 24)),
        "kill -9 before": lambda dice: kill(dice.randint(1, 24), after=False),
        "network cut": somewhere(cut),
        "throttling": somewhere(throttle),
        "error 500": somewhere(error500),
        "time-out": somewhere(timeout),
        "lost answer": somewhere(lost),
        "expired credentials": lambda dice: expired(at=dice.randint(1, CALLS)),
        "lagging reads": lambda dice: lag(dice.choice([0.1, 0.3, 0.6])),
        "change by others": others,
    }


def campaign(service: Service, runs: int, seed: int, tell: Callable[[str], None] = lambda _: None) -> Result:
    """Run it; the service has a verified release when it begins."""
    dice, result, began = random.Random(seed), Result(), time.monotonic()
    service.deploy(NOTE="before")
    users = Users(service, rate=10)
    drawn = kinds(service)
    names = [name for _ in range(runs // len(drawn) + 1) for name in drawn][:runs]
    dice.shuffle(names)
    for number, name in enumerate(names):
        found = one(service, dice, result, name, drawn[name](dice), f"{seed}.{number}")
        result.problems += [f"run {seed}.{number} ({name}): {problem}" for problem in found]
        if found or number % 25 == 24:
            tell(f"{number + 1} runs, {time.monotonic() - began:.0f} s; {found or 'all well'}")
    met = users.stop()
    result.requests, result.failures = met.requests, met.failures
    result.releases, result.seconds = service.open().ledger.head().newest, time.monotonic() - began
    return result


def one(service: Service, dice: random.Random, result: Result, name: str, fault: Fault, note: str) -> list[str]:
    """One deploy or rollback with ``fault``, and the same again if need be; what is wrong afterwards."""
    head = service.open().ledger.head()
    goals = [one.number for one in head.kept if one.state == VERIFIED and one.number < head.live]
    back = bool(goals) and dice.random() < 0.3
    command = service.rollback if back else lambda: service.deploy(NOTE=note)
    code, said = apart(command, fault)
    result.runs[name] += 1
    if (len(said) > 1 and said[1]) or code < 0:
        result.struck[name] += 1
        where = said[1].split(" ")[0] if len(said) > 1 and said[1] else "a write"
        result.steps.setdefault(name, Counter())[where] += 1

    def reached() -> bool:
        opened = service.open()
        now, live = opened.ledger.head(), opened.deployer.live()
        if now.work or live is None:
            return False
        return live.release == goals[0] if back else live.variables.get("NOTE") == note

    problems = []
    if code == 0 and not reached():
        problems.append(f"exit code 0, and something else is live ({'rollback' if back else 'deploy'})")
    if (live := service.live()) not in (head.live, goals[0] if back else head.newest + 1):
        problems.append(f"in between, {live} served")
    if not reached():
        result.again[name] += 1
        try:
            command()
        except Exception as error:
            problems.append(f"run again: {error}; before: {code} {said[0]}")
    if not reached():
        problems.append(f"run again, and something else is live: {code} {said[0]}")
    with service.open().ledger.locked("the next", "look"):  # what a dead process held, anybody can take at once
        pass
    if not service.open().ledger.head().swept:
        service.deploy(**service.open().ledger.read(service.live()).variables)  # nothing to do, but to sweep
    problems += service.problems(since=head.newest)
    if orphans := service.orphans():
        problems.append(f"orphans: {orphans}")
    if problems:
        verb = "rollback" if back else "deploy"
        problems.append(f"{verb} with {fault.name}, from call {fault.at} on, exit code {code}: {said}")
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=20)
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        (shared := Path(folder, "shared")).mkdir()
        tiny = Tiny(Path(folder, "service"), shared, "campaign")
        try:
            result = campaign(Service(tiny), words.runs, words.seed, lambda line: print(line, flush=True))
        finally:
            emulator.down(tiny.root)
    print(result.table())
    for line in [*result.problems, *result.failures]:
        print(f"✗ {line}")
    return 1 if result.problems or result.failures else 0


if __name__ == "__main__":
    sys.exit(main())
