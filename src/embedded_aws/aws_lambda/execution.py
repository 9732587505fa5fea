"""One execution environment of a function from a ZIP file: a process with the runtime's interpreter and its own package only.

https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
"""

from __future__ import annotations

import json
import os
import queue
import secrets
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from ministack.core import lambda_runtime

from embedded_aws.aws_lambda import interpreters
from embedded_aws.aws_lambda.packages import unpack

BOOTSTRAP = Path(__file__).parent / "bootstrap.py"
INIT_SECONDS = 30  # Lambda allows 10 s for the import; a laptop that is busy with other things needs more


class Fault(Exception):
    """An error as Lambda reports it; ``document`` is the payload."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.document = {"errorType": kind, "errorMessage": message}


class Process(lambda_runtime.Worker):
    """A process of one version; ministack's pool gives it one call at a time."""

    packages: Path
    libraries: Path
    _proc: subprocess.Popen[str] | None

    def invoke(self, event: Any, request_id: str, **details: Any) -> dict[str, Any]:
        """Run one call; returns ``result`` or ``error`` (Lambda's payload as JSON), ``log``, and ``cold_start``."""
        cold = self._proc is None or self._proc.poll() is not None
        log = ""
        arn = details.get("invoked_function_arn") or self.config.get("FunctionArn", "")
        timeout = int(self.config.get("Timeout", 3))
        context = {"request_id": request_id, "invoked_function_arn": arn, "timeout": timeout}
        try:
            if cold:
                self._start()
                log = self._log()
            trace = details.get("trace_id") or _trace()
            answer = self._ask({"event": event, "context": context, "trace": trace}, timeout)
        except Fault as fault:
            answer = {"error": fault.document}
            self._stop()
        answer = {"status": "error" if "error" in answer else "ok", "cold_start": cold, **answer}
        if "error" in answer:
            # ministack expects a string, and adds it to the log unless there is a trace.
            answer |= {"error": json.dumps(answer["error"]), "trace": ""}
        return {**answer, "log": "\n".join(filter(None, (log, self._log())))}

    def _start(self) -> None:
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
        first = self._take(INIT_SECONDS, "Runtime.ExitError", "Runtime exited without providing a reason")
        if "error" in first:
            raise Fault(first["error"]["errorType"], first["error"]["errorMessage"])

    def _ask(self, message: dict[str, Any], timeout: int) -> dict[str, Any]:
        assert self._proc is not None
        assert self._proc.stdin is not None
        try:
            self._proc.stdin.write(json.dumps(message) + "\n")
            self._proc.stdin.flush()
        except OSError as error:
            raise Fault("Runtime.ExitError", "Runtime exited before the call") from error
        return self._take(timeout, "Sandbox.Timedout", f"Task timed out after {timeout}.00 seconds")

    def _take(self, seconds: float, kind: str, message: str) -> dict[str, Any]:
        try:
            line = self._answers.get(timeout=seconds)
        except queue.Empty:
            raise Fault(kind, message) from None
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


def _trace() -> str:
    """The header of a trace that isn't sampled, Lambda's default."""
    return f"Root=1-{int(time.time()):08x}-{secrets.token_hex(12)};Parent={secrets.token_hex(8)};Sampled=0"


def _follow(stream: Any, lines: queue.SimpleQueue[str]) -> None:
    for line in stream:
        lines.put(line)
    lines.put("")
