"""One execution environment of a function from a ZIP file: a process with the runtime's interpreter and its own package only.

https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
"""

from __future__ import annotations

import json
import math
import os
import platform
import queue
import secrets
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ministack.core import lambda_runtime

from embedded_aws.aws_lambda import interpreters, memory, reports
from embedded_aws.aws_lambda.packages import native, unpack

T = TypeVar("T")
BOOTSTRAP = Path(__file__).parent / "bootstrap.py"
# Then it is started again, within the timeout of the call:
# https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html#runtimes-lifecycle-ib
INIT_SECONDS = 10.0
MACHINES = {"x86_64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}  # Lambda's names
LOOK_SECONDS = 0.05  # between two readings of the memory that a call uses


class Fault(Exception):
    """An error as Lambda reports it; ``document`` is the payload."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.document = {"errorType": kind, "errorMessage": message}


class Killed(Fault):
    """The process held more memory than the function may; its REPORT says so, the error itself does not."""


class Late(Exception):
    """Neither an answer nor an error came in time."""


class Process(lambda_runtime.Worker):
    """A process of one version; ministack's pool gives it one call at a time."""

    packages: Path
    libraries: Path
    _proc: subprocess.Popen[str] | None
    _init: float | None
    _used: int
    _request: str

    def invoke(self, event: Any, request_id: str, **details: Any) -> dict[str, Any]:
        """Run one call; returns ``result`` or ``error`` (Lambda's payload as JSON), ``log``, and ``cold_start``."""
        cold = self._proc is None or self._proc.poll() is not None
        log, status, self._used, self._init = "", "", 0, None
        self._request = request_id
        arn = details.get("invoked_function_arn") or self.config.get("FunctionArn", "")
        timeout = int(self.config.get("Timeout", 3))
        began, left = time.monotonic(), float(timeout)
        try:
            if cold:
                log, left = self._initialize(timeout)
                began = time.monotonic()
            trace = details.get("trace_id") or _trace()
            context = {"request_id": request_id, "invoked_function_arn": arn, "timeout": left}
            answer = self._ask({"event": event, "context": context, "trace": trace}, left)
            self._check_memory()
        except Late:
            answer = {"error": Fault("Sandbox.Timedout", f"Task timed out after {timeout}.00 seconds").document}
            status = "timeout"
            self._stop()
        except Fault as fault:
            answer = {"error": fault.document}
            kind = "Runtime.OutOfMemory" if isinstance(fault, Killed) else fault.document["errorType"]
            status = f"error\tError Type: {kind}"
            self._stop()
        duration = (time.monotonic() - began) * 1000
        reports.current.set(reports.Report(duration, self._init, math.ceil(self._used / 2**20), status))
        answer = {"status": "error" if "error" in answer else "ok", "cold_start": cold, **answer}
        if "error" in answer:
            # ministack expects a string, and adds it to the log unless there is a trace.
            answer |= {"error": json.dumps(answer["error"]), "trace": ""}
        return {**answer, "log": "\n".join(filter(None, (log, self._log())))}

    def _initialize(self, timeout: int) -> tuple[str, float]:
        """Start the process; returns what it logged, and what is left of the call's timeout.

        Raises:
            Late: it took more than ``INIT_SECONDS``, and at the second start longer than the timeout.
        """
        began = time.monotonic()
        try:
            self._start(INIT_SECONDS)
            self._init = (time.monotonic() - began) * 1000
            return self._log(), float(timeout)
        except Late:
            self._stop()
        line = f"INIT_REPORT Init Duration: {INIT_SECONDS * 1000:.2f} ms\tPhase: init\tStatus: timeout"
        log, began = "\n".join(filter(None, (self._log(), line))), time.monotonic()
        self._start(timeout)
        return "\n".join(filter(None, (log, self._log()))), timeout - (time.monotonic() - began)

    def _check_memory(self) -> None:
        """Raises a Fault when the process holds more than the function's memory, for which Lambda kills it."""
        if self._proc is not None:
            self._used = max(self._used, memory.used(self._proc.pid))
        if self._used > int(self.config.get("MemorySize", 128)) * 2**20:
            message = f"RequestId: {self._request} Error: Runtime exited with error: signal: killed"
            raise Killed("Runtime.ExitError", message)

    def _start(self, seconds: float) -> None:
        self._mark = secrets.token_hex(16)
        self._logged: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        runtime = self.config["Runtime"]
        try:
            python = interpreters.find(runtime.removeprefix("python"))
        except interpreters.NotFound as error:
            raise Fault(
                "Runtime.InvalidRuntime", f"the embedded AWS has no interpreter for {runtime}: {error}"
            ) from error
        folder = unpack(self.code_zip, self.packages)
        require_this_machine(self.config, lambda: native(folder, MACHINES.get(platform.machine(), "")))
        self._proc = subprocess.Popen(
            [
                str(python),
                "-I",
                "-S",
                str(BOOTSTRAP),
                str(folder),
                self.config["Handler"],
                self._mark,
                str(self.libraries),
            ],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=self._environment(folder),
        )
        for stream, lines in ((self._proc.stdout, self._answers), (self._proc.stderr, self._logged)):
            threading.Thread(target=_follow, args=(stream, lines), daemon=True).start()
        first = self._take(seconds)
        if "error" in first:
            raise Fault(first["error"]["errorType"], first["error"]["errorMessage"])

    def _ask(self, message: dict[str, Any], seconds: float) -> dict[str, Any]:
        assert self._proc is not None
        assert self._proc.stdin is not None
        try:
            self._proc.stdin.write(json.dumps(message) + "\n")
            self._proc.stdin.flush()
        except OSError as error:
            raise Fault("Runtime.ExitError", "Runtime exited before the call") from error
        return self._take(seconds)

    def _take(self, seconds: float) -> dict[str, Any]:
        line = take(self._answers, seconds, self._check_memory)
        if not line:
            raise Fault("Runtime.ExitError", "Runtime exited with error")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _log(self) -> str:
        """What was logged up to the mark that precedes each answer; of a process that has ended, everything."""
        lines = []
        ended = self._proc is None
        while True:
            try:
                line = self._logged.get(timeout=0.2 if ended else 2.0)
            except queue.Empty:
                break
            if not line or line.strip() == self._mark:
                break
            lines.append(line)
        while lines and not lines[-1].strip():
            lines.pop()
        return "".join(lines).rstrip("\n")

    def _stop(self) -> None:
        process, self._proc = self._proc, None
        if process is not None:
            process.kill()
            process.wait()

    def _discard_tmpdir(self) -> None:
        """Nothing: packages are shared, and ``unpack`` removes unused ones."""

    def _environment(self, folder: Path) -> dict[str, str]:
        """The variables that Lambda sets, and the function's own; none of the server's.

        https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
        """
        own = self.config.get("Environment", {}).get("Variables", {})
        name, region = self.config["FunctionName"], self.config["FunctionArn"].split(":")[3]
        return {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            "LD_LIBRARY_PATH": f"{folder}:{folder}/lib",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{os.environ['GATEWAY_PORT']}",
            **own,
            **lambda_runtime.execution_credentials(self.config),
            "AWS_REGION": region,
            "AWS_DEFAULT_REGION": region,
            "AWS_EXECUTION_ENV": f"AWS_Lambda_{self.config['Runtime']}",
            "AWS_LAMBDA_FUNCTION_NAME": name,
            "AWS_LAMBDA_FUNCTION_VERSION": self.config.get("Version", "$LATEST"),
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(self.config.get("MemorySize", 128)),
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": time.strftime("%Y/%m/%d/") + secrets.token_hex(16),
            "LAMBDA_TASK_ROOT": str(folder),
        }


def take(source: queue.SimpleQueue[T], seconds: float, look: Callable[[], None]) -> T:
    """The next of ``source``; until it comes, ``look`` is called every ``LOOK_SECONDS``.

    Raises:
        Late: none came within ``seconds``.
    """
    end = time.monotonic() + seconds
    while True:
        left = end - time.monotonic()
        try:
            return source.get(timeout=max(0.0, min(left, LOOK_SECONDS)))
        except queue.Empty:
            look()
            if left <= 0:
                raise Late from None


def require_this_machine(config: dict[str, Any], foreign: Callable[[], str]) -> None:
    """Raises a Fault for a function of another architecture whose ``foreign`` code, by name, this machine can't run."""
    wanted, here = (config.get("Architectures") or ["x86_64"])[0], MACHINES.get(platform.machine(), "")
    if wanted != here and (name := foreign()):
        message = f"the function is for {wanted}, and the embedded AWS runs on {here or platform.machine()}"
        raise Fault("Runtime.InvalidArchitecture", f"{message}, which can't run {name}")


def _trace() -> str:
    """The header of a trace that isn't sampled, Lambda's default."""
    return f"Root=1-{int(time.time()):08x}-{secrets.token_hex(12)};Parent={secrets.token_hex(8)};Sampled=0"


def _follow(stream: Any, lines: queue.SimpleQueue[str]) -> None:
    for line in stream:
        lines.put(line)
    lines.put("")
