"""The hosts of a job: a container on each, run at the same time, stopped together.

A job that is stopped, or runs too long, gets SIGTERM, and SIGKILL 120 seconds later:
https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_StopTrainingJob.html
Not as there: all hosts of a job share this machine's network, so that each needs ports of its own.
"""

from __future__ import annotations

import contextvars
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from embedded_aws.aws_lambda.image_files import Image
from embedded_aws.sagemaker.containers import Container, NotRunnable, Run
from embedded_aws.sagemaker.logs import Stream
from embedded_aws.sagemaker.roles import Session
from embedded_aws.sagemaker.store import Record

STOP_SECONDS = 120.0
STOPPED, TOO_LONG, OTHER_FAILED = "stopped", "too long", "another host failed"


@dataclass(frozen=True)
class Outcome:
    """Exit codes by host, the first that ended first; ``ended`` says why they were ended, and is empty if it was by themselves."""

    codes: Mapping[str, int]
    ended: str

    @property
    def failure(self) -> int:
        """The first exit code that isn't 0; 0 if all are."""
        return next((code for code in self.codes.values() if code), 0)


class Hosts:
    """The hosts ``algo-1``, ``algo-2``, … of one job, whose folders are below ``folder``."""

    def __init__(self, folder: Path, roots: Path, resources: Record) -> None:
        self.names = [f"algo-{number}" for number in range(1, int(resources["InstanceCount"]) + 1)]
        self._folder, self._roots, self._resources = folder, roots, resources
        self._running: list[Container] = []
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._why = ""

    def folder(self, host: str, name: str) -> Path:
        """A folder of a host, which any user of the image may write to."""
        made = self._folder / host / name
        made.mkdir(parents=True, exist_ok=True)
        made.chmod(0o777)
        return made

    def describe(self, host: str, place: Path) -> None:
        """Write ``resourceconfig.json``, which tells the program of its hosts, into ``place``."""
        kind = self._resources["InstanceType"]
        document = {
            "current_host": host,
            "current_instance_type": kind,
            "current_group_name": "homogeneousCluster",
            "hosts": self.names,
            "instance_groups": [
                {"instance_group_name": "homogeneousCluster", "instance_type": kind, "hosts": self.names}
            ],
            "network_interface_name": "lo",
        }
        place.mkdir(parents=True, exist_ok=True)
        (place / "resourceconfig.json").write_text(json.dumps(document))

    def end(self, why: str) -> None:
        """End all containers, with time to finish; those that aren't started yet don't start."""
        with self._lock:
            if not self._ended.is_set():
                self._why = why
                self._ended.set()
            running = list(self._running)
        for container in running:
            threading.Thread(target=container.stop, args=(STOP_SECONDS,), daemon=True).start()

    @property
    def why(self) -> str:
        """Why the containers were ended; empty if they weren't."""
        return self._why

    def run(
        self,
        image: Image,
        words: Sequence[str],
        variables: Mapping[str, str],
        mounts: Callable[[str], dict[str, Path]],
        seconds: float,
        log: tuple[Session, str, str],
        seen: Callable[[str], None],
    ) -> Outcome:
        """Run the containers until all have ended; when one fails, the others are ended.

        Args:
            log: whose rights write the log, its group, and the job's name.
            seen: called with each line of output.

        Raises:
            NotRunnable: this machine can't run the image.
        """
        session, group, job = log
        hosts_file = self._folder / "hosts"
        names = " ".join(self.names)
        hosts_file.write_text(f"127.0.0.1 localhost\n127.0.0.1 {names}\n")
        codes: dict[str, int] = {}
        errors: list[NotRunnable | OSError] = []

        def one(host: str) -> None:
            stream = Stream(session, group, f"{job}/{host}-{int(time.time())}")

            def write(line: str) -> None:
                stream.write(line)
                seen(line)

            scratch = self._folder / host / "container"
            own = {"/etc/hosts": hosts_file, **mounts(host)}
            try:
                with self._lock:
                    if self._ended.is_set():
                        return
                    run = Run(image, list(words), variables, own, scratch, self._roots)
                    container = Container(run, write)
                    self._running.append(container)
                code = container.wait()
                container.stop(0)  # it has ended: this removes what it leaves
                codes[host] = code or 0
                if code:
                    self.end(OTHER_FAILED)
            except (NotRunnable, OSError) as error:
                errors.append(error)
                self.end(OTHER_FAILED)
            finally:
                stream.close()

        timer = threading.Timer(seconds, self.end, [TOO_LONG])
        timer.daemon = True
        timer.start()
        threads = [threading.Thread(target=contextvars.copy_context().run, args=(one, host)) for host in self.names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        timer.cancel()
        if errors:
            raise NotRunnable(str(errors[0]))
        return Outcome(codes, self._why)
