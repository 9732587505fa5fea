"""Users who send so many requests a second whatever the answers take, none of them twice; and deploys under them."""

from __future__ import annotations

import signal
import threading
import time
from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

from faults import kill
from faults.harness import Met, Service, Users, apart

from ml_delivery.errors import Refused

__all__ = ["BACK", "BROKEN", "DEPLOYS", "Steady", "deploys", "kills"]

THREADS = 20
DEPLOYS, BROKEN, BACK = 10, 5, 3  # how many, which one is broken, and after how many each is rolled back


class Steady(Users):
    """A request is late rather than left out."""

    @abstractmethod
    def caller(self, service: Service, path: str) -> Callable[[], str]:
        """What sends one request and returns its failure, empty for none; in the process of the users, for all threads."""

    def use(self, service: Service, rate: float, path: str, told: Callable[[], bool]) -> Met:
        ask, failures = self.caller(service, path), list[str]()
        requests, ended = [0] * THREADS, threading.Event()

        def call(number: int) -> None:
            due = time.monotonic() + number / rate
            while not ended.wait(max(0.0, due - time.monotonic())):
                due += THREADS / rate
                requests[number] += 1
                if failure := ask():
                    failures.append(f"{time.strftime('%H:%M:%S')} {failure}")

        threads = [threading.Thread(target=call, args=(number,)) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        while not told():
            time.sleep(0.1)  # how late they end
        ended.set()
        for thread in threads:
            thread.join()
        return Met(sum(requests), len(failures), failures)


def deploys(service: Service, bad: str) -> tuple[list[float], list[float]]:
    """Deploys, one of them broken by the variable BAD, and rollbacks; how long those took that were verified."""
    took: list[float] = []
    back: list[float] = []
    for number in range(1, DEPLOYS + 1):
        began = time.monotonic()
        if number == BROKEN:
            try:
                service.deploy(NOTE=str(number), BAD=bad)
            except Refused as refusal:
                print(f"refused within {time.monotonic() - began:.1f} s: {refusal.message[:100]}…")
                continue
            raise AssertionError("a broken release was verified")
        service.deploy(NOTE=str(number))
        took.append(time.monotonic() - began)
        if number % BACK == 0:
            began = time.monotonic()
            service.rollback()
            back.append(time.monotonic() - began)
    return took, back


def kills(service: Service, faulty: Callable[[], list[Any]]) -> int:
    """Kill a deploy after each of its writes, one after the other, and deploy again; how many were struck.

    ``faulty`` lists what does not fit together then, or was left.
    """
    at = 0
    while True:
        at += 1
        print(f"kill -9 after write {at}", flush=True)
        before = service.open().ledger.head().newest
        again = partial(service.deploy, NOTE=f"kill {at}")
        code = apart(again, kill(at))[0]
        again()
        assert service.open().ledger.head().newest == before + 1, at
        assert faulty() == [], at
        if code != -signal.SIGKILL:
            return at - 1
