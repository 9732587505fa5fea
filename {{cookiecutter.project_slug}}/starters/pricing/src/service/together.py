"""Several hosts learn one model together: each grows the same trees from its own rows (LightGBM's data-parallel learner).

https://lightgbm.readthedocs.io/en/stable/Parallel-Learning-Guide.html. For data that one host takes too long for: the sums of
histograms go over the network, so that small data gain nothing. The model differs from one host's in its last digits, and so has
another digest; the same number of hosts gives the same one.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Hosts"]

# Linux hands out ports from 32768 on its own account.
LOWEST, HIGHEST = 20_000, 32_000
MINUTES = 10  # that a host waits for the others


@dataclass(frozen=True)
class Hosts:
    """The addresses of hosts, which of them this one is, and the first port of each model's connections.

    Attributes:
        addresses: IP addresses, in the same order on all hosts.
        rank: the index of this host.
        ports: of the next models: a connection that has just ended keeps its port for a while.
    """

    addresses: tuple[str, ...]
    rank: int
    ports: Iterator[int] = field(repr=False, compare=False)

    @classmethod
    def of(cls, variables: Mapping[str, str] = os.environ) -> Hosts:
        """The hosts of this job, from ``SM_HOSTS``, ``SM_CURRENT_HOST`` and ``TRAINING_JOB_NAME``.

        Raises:
            ValueError: they are missing, or a host has no address.
        """
        try:
            names = sorted(json.loads(variables["SM_HOSTS"]))
            rank = names.index(variables["SM_CURRENT_HOST"])
            addresses = tuple(map(socket.gethostbyname, names))
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(
                f"--together: the hosts of this job are unknown: {error!r}; it is for jobs alone"
            ) from error
        job = hashlib.sha256(variables.get("TRAINING_JOB_NAME", "").encode()).digest()
        first = LOWEST + int.from_bytes(job[:4]) % (HIGHEST - LOWEST)
        return cls(addresses, rank, itertools.count(first, len(names)))

    @property
    def rows(self) -> slice:
        """Those that this host learns from."""
        return slice(self.rank, None, len(self.addresses))

    def parameters(self) -> dict[str, Any]:
        """LightGBM's, for the next model; the same port on two hosts would not do where they share a network."""
        port = next(self.ports)
        machines = [f"{address}:{port + index}" for index, address in enumerate(self.addresses)]
        return {
            "tree_learner": "data",
            "num_machines": len(machines),
            "machines": ",".join(machines),
            "local_listen_port": port + self.rank,
            "time_out": MINUTES,
        }
