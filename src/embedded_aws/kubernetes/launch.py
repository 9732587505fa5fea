"""Starts the cluster's supervisor, and ends it."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from embedded_aws.kubernetes import existing, machine
from embedded_aws.kubernetes.api import Api

if TYPE_CHECKING:
    from collections.abc import Mapping

STOP_SECONDS = 15


@dataclass(frozen=True)
class Cluster:
    """A cluster that runs."""

    api: Api
    authority: str  # of EKS's endpoint, in PEM
    supervisor: subprocess.Popen[bytes]

    def stop(self) -> None:
        """End it, and wait until nothing of it is left but its folder."""
        self.supervisor.terminate()
        try:
            self.supervisor.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.supervisor.kill()
            self.supervisor.wait()


def start(home: Path, source: str, *, port: int, emulator: int, webhook: str, registries: Mapping[str, str]) -> Cluster:
    """Start a cluster, or start it again with what is in ``home``; it is ready when this returns.

    Args:
        home: its folder.
        source: what ``machine.choose`` takes.
        port: of its API, on loopback.
        emulator: the emulator's port.
        webhook: the address that checks tokens.
        registries: by the host of a registry that the emulator holds: the ``Authorization`` header to pull with.

    Raises:
        NoKubernetes: this machine can't run one, or it failed to start.
    """
    way = machine.choose(source, home.parent / "kubernetes-programs")
    options = {
        "home": str(home),
        way.option: way.value,
        "port": port,
        "emulator": emulator,
        "webhook": webhook,
        "registries": dict(registries),
    }
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    (home / "options.json").touch(0o600)
    (home / "options.json").write_text(json.dumps(options))  # not an argument: other users can see those
    command = [
        sys.executable,
        "-I",
        str(Path(__file__).parent.parent / "__main__.py"),
        way.process,
        str(home),
    ]
    with (home / "supervisor.txt").open("wb") as log:
        supervisor = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True
        )
    assert supervisor.stdout is not None
    report = json.loads(supervisor.stdout.readline() or b'{"failed": "its supervisor ended"}')
    if failed := report.get("failed"):
        supervisor.wait()
        raise machine.NoKubernetes(f"the cluster did not start: {failed}; its logs are in {home / 'log'}")
    ready = report["ready"]
    authority = base64.b64decode(ready["authority"]).decode()
    if way.process == "cluster":
        api = Api(ready["endpoint"], authority, ready["token"])
    else:
        api = existing.read(home / "kubeconfig" if way.process == "container" else Path(way.value), home)
    return Cluster(api, authority, supervisor)
