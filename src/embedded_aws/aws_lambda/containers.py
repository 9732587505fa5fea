"""One execution environment of a function from an image, with the image's own entrypoint.

Run with docker or podman, which also enforce the memory limit and the read-only root; where neither is installed, root runs
the image in a folder of its own (chroot).
"""

from __future__ import annotations

import contextlib
import os
import queue
import secrets
import subprocess
import threading
from pathlib import Path
from typing import Any

from embedded_aws.aws_lambda.execution import Fault, Killed, Process, require_this_machine, take
from embedded_aws.aws_lambda.image_files import Image, unpacked
from embedded_aws.aws_lambda.runtime_api import RuntimeAPI
from embedded_aws.engine import client, engine, outside

UNPRIVILEGED = 65534  # Lambda runs an image as a user of its own, whatever the image says
KILLED = (137, -9)  # by the kernel, for want of memory; an engine reports the first
QUIET_SECONDS = 0.02  # output that a function printed before its answer arrives within this time


class Container(Process):
    """A container of one version."""

    roots: Path

    def _start(self, seconds: float) -> None:
        self._logged: queue.SimpleQueue[str] = queue.SimpleQueue()
        image = Image(self.config["ImageUri"])
        self._program = engine()
        self._api = RuntimeAPI()
        self._name = f"lambda-{secrets.token_hex(8)}"
        given = self._environment(Path(image.settings["config"].get("WorkingDir") or "/var/task"))
        given |= {"AWS_EXECUTION_ENV": "AWS_Lambda_Image", "AWS_LAMBDA_RUNTIME_API": self._api.address}
        environment = {**given, **image.variables, **self.config.get("Environment", {}).get("Variables", {})}
        environment["AWS_LAMBDA_RUNTIME_API"] = self._api.address
        words, outer = self._engine(image, environment) if self._program else self._chroot(image, environment)
        self._proc = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=outer,
        )
        threading.Thread(target=self._watch, args=(self._proc, self._api), daemon=True).start()
        first = take(self._api.starts, seconds, self._check_memory)
        if "error" in first:
            error = first["error"] or {}
            raise Fault(error.get("errorType", "Runtime.ExitError"), error.get("errorMessage", "Runtime did not start"))

    def _engine(self, image: Image, environment: dict[str, str]) -> tuple[list[str], dict[str, str]]:
        program, number = self._program, image.config_digest.partition(":")[2]
        if client(program, "image", "inspect", number).returncode != 0:
            loaded = client(program, "load", input=image.archive())
            if loaded.returncode != 0:
                raise Fault("Runtime.InvalidImage", loaded.stderr.decode("utf-8", "replace").strip())
        words = [program, "run", "--rm", "--name", self._name, "--network", "host", "--read-only"]
        size = self.config.get("EphemeralStorage", {}).get("Size", 512)
        words += ["--tmpfs", f"/tmp:rw,size={size}m"]  # noqa: S108 # nosec B108 - the container's own
        words += ["--memory", f"{self.config.get('MemorySize', 128)}m", "--user", f"{UNPRIVILEGED}:{UNPRIVILEGED}"]
        # By name only: the client takes the values from its own environment, so that none is visible on a command line.
        words += [word for name in environment if name != "PATH" for word in ("--env", name)]
        return [*words, number], {**environment, **outside()}

    def _chroot(self, image: Image, environment: dict[str, str]) -> tuple[list[str], dict[str, str]]:
        if os.geteuid() != 0:
            message = "neither docker nor podman answers, and only root runs an image without them"
            raise Fault("Runtime.NoEngine", message)
        kind = {"amd64": "x86_64"}.get(image.settings.get("architecture", ""), image.settings.get("architecture", ""))
        require_this_machine({"Architectures": [kind]}, lambda: f"an image for {kind}")
        root, config = unpacked(image, self.roots), image.settings["config"]
        words = [
            "unshare",
            "--pid",
            "--fork",
            "--kill-child",
            f"--root={root}",
            f"--wd={config.get('WorkingDir') or '/'}",
        ]
        return [*words, f"--setgid={UNPRIVILEGED}", f"--setuid={UNPRIVILEGED}", "--", *image.command], environment

    def _ask(self, message: dict[str, Any], seconds: float) -> dict[str, Any]:
        self._api.offer({"event": message["event"], **message["context"]})
        answer = take(self._api.results, seconds, self._check_memory)
        if "exited" in answer:
            if answer["exited"] in KILLED:
                reason = f"RequestId: {self._request} Error: Runtime exited with error: signal: killed"
                raise Killed("Runtime.ExitError", reason)
            raise Fault("Runtime.ExitError", f"Runtime exited with error: exit status {answer['exited']}")
        return answer

    def _check_memory(self) -> None:
        if not self._program:  # which limits the memory itself
            super()._check_memory()

    def _watch(self, process: Any, api: RuntimeAPI) -> None:
        """Collect the output; when the runtime exits, report that to the call that waits for it."""
        for line in process.stdout:
            self._logged.put(line)
        code = process.wait()
        error = {"errorType": "Runtime.ExitError", "errorMessage": f"Runtime exited with error: exit status {code}"}
        api.starts.put({"error": error})
        api.results.put({"exited": code})

    def _log(self) -> str:
        lines: list[str] = []
        with contextlib.suppress(queue.Empty):
            while True:
                lines.append(self._logged.get(timeout=QUIET_SECONDS))
        return "".join(lines).rstrip("\n")

    def _stop(self) -> None:
        super()._stop()
        self._discard_tmpdir()

    def _discard_tmpdir(self) -> None:
        """Close the API and end the container, neither of which ends with the client's process."""
        if api := getattr(self, "_api", None):
            api.close()
            if self._program:
                client(self._program, "kill", self._name)
            del self._api
