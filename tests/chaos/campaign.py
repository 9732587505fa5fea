"""A round is a command that is struck, a random next command, and then a plain ``invoke deploy``, which must succeed.

``nox -s chaos`` runs all of it; ``make test`` a slice. The seed draws what happens, and at which fraction of a command's usual
duration; the exact moment depends on the machine. A killed command's lock is taken over by the next command of the same
machine, as here; on another machine it expires after 20 minutes, or ``invoke unlock`` releases it.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent.parent), str(Path(__file__).parent.parent.parent / "src")]

from chaos import LOCK_SECONDS, Figures
from chaos.harness import RULES, Callers, Service
from ml_delivery import emulator
from ml_delivery.errors import Unsettled
from ml_delivery.waiting import wait

KINDS = {"kill": 100, "cancel": 40, "crash": 40}  # of the command, of the command as GitHub does it, of the emulator
NEXT = [
    ("deploy",),
    ("deploy", "--resume"),
    ("rollback",),
    ("status",),
    ("releases",),
    ("plan",),
    ("verify",),
    ("call", "/version"),
    ("logs",),
    ("unlock", "--reason", "chaos"),
    ("cloud.status",),
]
CODES = (0, 1, 2, 130, -signal.SIGINT, -signal.SIGKILL)
# What a cancelled command prints before code of the pipeline runs: nothing, by invoke, which exits with 1, or Python's traceback.
LOADING = re.compile(r"(?!.*ml_delivery)(.*\nKeyboardInterrupt)?", re.DOTALL)
GITHUB = ((signal.SIGINT, 7.5), (signal.SIGTERM, 2.5), (signal.SIGKILL, 60.0))  # what a step gets, and for how long


class Chaos:
    """A campaign."""

    def __init__(self, folder: Path, seed: int) -> None:
        (shared := folder / "shared").mkdir()
        self.figures, self._dice, self._seed = Figures(), random.Random(seed), seed
        self.services = [Service(folder, shared, strategy) for strategy in RULES]
        self.root = self.services[0].tiny.root

    def run(self, wanted: dict[str, int], tell: Callable[[str], None]) -> Figures:
        """Strike so often; a command that ended before it was struck is followed by another one."""
        began = time.monotonic()
        self._prepare()
        kinds = [kind for kind, times in wanted.items() for _ in range(times)]
        self._dice.shuffle(kinds)
        self._callers = Callers(self.services, self.figures)
        try:
            number, shown = 0, list[str]()
            while kinds:
                number, kind = number + 1, kinds.pop()
                if not self._round(f"round {self._seed}.{number}", kind):
                    kinds.insert(0, kind)
                found = [*self.figures.tracebacks, *self.figures.locks, *self.figures.hands]
                for one in [one for one in found if one not in shown]:  # at once, should the campaign be ended early
                    tell(f"✗ {one}")
                    shown.append(one)
                left, failed = len(kinds), len(self.figures.failed)
                if not number % 10 or not left:
                    took = time.monotonic() - began
                    tell(f"{number} rounds, {left} to do, {took:.0f} s, {failed} failed, {len(found)} problems")
        except KeyboardInterrupt:  # what was found until then is printed
            tell(f"interrupted, {len(kinds)} to do")
        finally:
            self._callers.stop()
            self.figures.seconds = time.monotonic() - began
        return self.figures

    def _prepare(self) -> None:
        """Two releases of each service, one rolled back to, so that it is known how long that usually takes."""
        for service in self.services:
            for verb, note in (("deploy", "one"), ("deploy", "two"), ("rollback", "")):
                if note:
                    service.change(note)
                began = time.monotonic()
                service.tiny.invoke(verb)
                service.usual[verb] = time.monotonic() - began

    def _round(self, place: str, kind: str) -> bool:
        """One command that is struck, the next one, and then a deploy; returns whether it was struck."""
        dice = self._dice
        service, verb = dice.choice(self.services), dice.choice(["deploy", "deploy", "rollback"])
        moment, follow, bad = dice.random(), dice.choice(NEXT), dice.random() < 0.15
        place = f"{place} ({kind} of {verb}, {service.strategy}, then {' '.join(follow)})"
        if verb == "deploy":
            service.change(place.split(" ")[1], bad=bad)
        key = f"{kind} {service.strategy}"
        began = time.monotonic()
        process = service.start(verb)
        time.sleep(moment * service.usual[verb])
        struck = process.poll() is None
        if kind == "crash":
            self._callers.down.set()
            os.kill(emulator.status(self.root).pid, signal.SIGKILL)
        else:
            for number, seconds in GITHUB if kind == "cancel" else ((signal.SIGKILL, 60.0),):
                if process.poll() is None:
                    os.kill(process.pid, number)
                try:
                    process.wait(seconds)
                    break
                except subprocess.TimeoutExpired:
                    pass
        code = self._judge(f"{place}, the first", process, began)
        self.figures.rounds[key] += 1
        self.figures.struck[key] += struck
        self.figures.codes[f"{key} {code}"] += struck
        if kind == "cancel" and struck and code != -signal.SIGKILL and (holder := service.head()["holder"]):
            self.figures.locks.append(f"{place}: a cancel left the lock to {holder}")
        self._judge(f"{place}, the next", service.start(*follow), time.monotonic())
        running = emulator.up(self.root)
        for one in self.services:
            one.found(running)
        self._callers.down.clear()
        if service.bad:
            service.change(f"{service.note}-repaired")
        self._settle(place, service)
        return struck

    def _judge(self, place: str, process: subprocess.Popen[str], began: float) -> int:
        """Wait for a command; returns its exit code, and records a traceback, and why it was refused."""
        try:
            output = process.communicate(timeout=300)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            output = process.communicate()[0]
            self.figures.hands.append(f"{place}: still ran after {time.monotonic() - began:.0f} s:\n{output}")
        code, refused = process.returncode, [line for line in output.splitlines() if line.startswith("✗")]
        if "(cancel of" in place and code in (1, -signal.SIGINT) and LOADING.fullmatch(output.strip()):
            self.figures.early += 1
        elif (
            re.search(r"Traceback|internal error|Error: |Exception", output)
            or code not in CODES
            or (code == 1 and not refused)
        ):
            self.figures.tracebacks.append(f"{place}: exit code {code}:\n{output}")
        elif code == 1:
            self.figures.refusals[re.sub(r"(?<=http)\S+|{.*|[\da-f]{8,}|\d+|chaos-[a-z-]+", "…", refused[0])[:200]] += 1
        return int(code)

    def _settle(self, place: str, service: Service) -> None:
        """A plain deploy must succeed now, at the latest when a dead command's lock has had its minute."""
        began = time.monotonic()
        while True:
            process = service.start("deploy")
            output = process.communicate(timeout=300)[0]
            if process.returncode == 0 or "locked by" not in output or time.monotonic() - began > LOCK_SECONDS:
                break
            time.sleep(1)
        if process.returncode == 0:
            if wrong := service.inconsistent():
                self.figures.hands.append(f"{place}: {wrong}\n{output}")
        elif "locked by" in output:
            self.figures.locks.append(f"{place}: {output}")
        else:
            self.figures.hands.append(f"{place}: exit code {process.returncode}:\n{output}")


def campaign(folder: Path, seed: int, wanted: dict[str, int], tell: Callable[[str], None] = lambda _: None) -> Figures:
    """Run one in ``folder``, with an emulator of its own, which is stopped afterwards."""
    chaos = Chaos(folder, seed)
    try:
        figures = chaos.run(wanted, tell)
    finally:
        emulator.down(chaos.root)
    log = (folder / "shared/cloud/log.txt").read_text(errors="replace")
    if "Traceback" in log:
        figures.tracebacks.append(f"the emulator's log:\n{log[log.index('Traceback') :][:4000]}")
    with suppress(Unsettled):  # a killed emulator's copy, which saves its state, ends by itself
        wait(lambda: None if _left(folder) else True, what="the last processes", seconds=10)
    figures.hands += [f"a process was left: {line!r}" for line in _left(folder)]
    return figures


def _left(folder: Path) -> list[bytes]:
    """The command lines of processes of the campaign in ``folder``."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        if str(folder).encode() in _environment(process):
            with suppress(OSError):  # it has ended since
                found.append((process / "cmdline").read_bytes())
    return found


def _environment(process: Path) -> bytes:
    try:
        return (process / "environ").read_bytes()
    except OSError:
        return b""


def main() -> int:
    """Print the figures; exit code 1 when something did not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=13)
    for kind, times in KINDS.items():
        parser.add_argument(f"--{kind}s".replace("shs", "shes"), dest=kind, type=int, default=times)
    words = vars(parser.parse_args())
    with tempfile.TemporaryDirectory() as folder:
        wanted = {kind: words[kind] for kind in KINDS}
        figures = campaign(Path(folder), words["seed"], wanted, lambda line: print(line, flush=True))
    print(figures.table())
    return 0 if figures.held else 1


if __name__ == "__main__":
    sys.exit(main())
