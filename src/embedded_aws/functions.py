"""A function runs on its own runtime's interpreter, alone with its package, and says what went wrong.

What Lambda does: https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
What ministack does otherwise, and this replaces: it runs Python functions on its own interpreter, with its own packages
and its own environment variables visible; unpacks the package anew for each process, starts any number of them, and
keeps one of each version for ever; reports every fault as ``Runtime.HandlerError``; waits 50 ms after each call of a
function that logs nothing.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import io
import json
import os
import queue
import secrets
import shutil
import subprocess
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

from ministack.core import lambda_runtime
from ministack.services import lambda_svc as lambda_

from ml_delivery.dependencies.envs import find_python
from ml_delivery.errors import PipelineError

RUNTIME = Path(__file__).parent / "runtime.py"
# Processes per version; a call beyond them waits for one. AWS would start more, up to a thousand; a laptop can't.
MOST = 2 * (os.cpu_count() or 1)
INIT_SECONDS = 30  # Lambda allows an import 10 s; a laptop that does other things meanwhile needs more
WAIT_SECONDS = 60


class Fault(Exception):
    """What Lambda would report; ``document`` is its payload."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.document = {"errorType": kind, "errorMessage": message}


class Process(lambda_runtime.Worker):
    """One execution environment of one version; ministack's pool leases it to one call at a time."""

    packages: Path
    libraries: Path

    def invoke(self, event: Any, request_id: str, **details: Any) -> dict[str, Any]:
        """Run one call; ``result`` or ``error`` (Lambda's payload as JSON), ``log``, and whether it was a cold start."""
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
            # ministack takes a text; without a trace of its own it would add that text to the log.
            answer |= {"error": json.dumps(answer["error"]), "trace": ""}
        return {**answer, "log": "\n".join(filter(None, (log, self._log())))}

    def _start(self) -> None:
        self._mark = secrets.token_hex(16)
        self._logged: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        runtime = self.config["Runtime"]
        try:
            python = interpreter(runtime.removeprefix("python"))
        except (PipelineError, ImportError) as error:
            raise Fault("Runtime.InvalidRuntime", f"the embedded AWS has no interpreter for {runtime}") from error
        folder = unpack(self.code_zip, self.packages)
        self._proc = subprocess.Popen(
            [
                str(python),
                "-I",
                "-S",
                str(RUNTIME),
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
            raise Fault("Runtime.ExitError", "Runtime exited before it was asked") from error
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
        """All that was logged up to the mark that follows each answer; of a process that has ended, all of it."""
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
        """Packages are shared; ``unpack`` removes what no version needs."""

    def _environment(self, folder: Path) -> dict[str, str]:
        """What Lambda sets, and the function's own variables; nothing of the server's environment.

        https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
        """
        own = self.config.get("Environment", {}).get("Variables", {})
        name, region = self.config["FunctionName"], self.config["FunctionArn"].split(":")[3]
        return {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
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


@functools.cache
def interpreter(version: str) -> Path:
    """Where the interpreter is; looked for until it is found, then remembered."""
    return find_python(version)


_unpacking = threading.Lock()


def unpack(package: bytes, packages: Path) -> Path:
    """The folder of an unpacked package, read-only, one per digest; those that no version needs any more are removed."""
    digest = hashlib.sha256(package).hexdigest()
    folder = packages / digest
    with _unpacking:
        if not folder.exists():
            _sweep(packages)
            temporary = packages / f"{digest}.new"
            shutil.rmtree(temporary, ignore_errors=True)
            with zipfile.ZipFile(io.BytesIO(package)) as archive:
                archive.extractall(temporary)
            for path in [temporary, *temporary.rglob("*")]:
                path.chmod(0o555 if path.is_dir() else 0o444)
            temporary.rename(folder)
    return folder


def _sweep(packages: Path) -> None:
    needed = set()
    for function in list(lambda_._functions._data.values()):
        for record in (function, *function.get("versions", {}).values()):
            if code := record.get("code_zip"):
                needed.add(hashlib.sha256(code).hexdigest())
    for folder in packages.iterdir():
        if folder.name not in needed:
            folder.chmod(0o755)
            for inner in folder.rglob("*"):
                if inner.is_dir():
                    inner.chmod(0o755)
            shutil.rmtree(folder, ignore_errors=True)


def reap(seconds: float = lambda_runtime._LOCAL_WORKER_TTL) -> int:
    """End the processes that had no call for so long, as Lambda does; how many. ministack keeps one of each version."""
    with lambda_runtime._lock:
        idle = [
            worker
            for workers in lambda_runtime._workers.values()
            for worker in workers
            if not worker.in_use and time.time() - worker.last_used >= seconds
        ]
        for workers in lambda_runtime._workers.values():
            workers[:] = [worker for worker in workers if worker not in idle]
    lambda_runtime.kill_workers(idle)
    return len(idle)


def _trace() -> str:
    """A trace that isn't sampled, which is what Lambda gives a function that asks for none."""
    return f"Root=1-{int(time.time()):08x}-{secrets.token_hex(12)};Parent={secrets.token_hex(8)};Sampled=0"


def _follow(stream: Any, lines: queue.SimpleQueue[str]) -> None:
    for line in stream:
        lines.put(line)
    lines.put("")


def lend(folder: Path) -> Path:
    """A folder with what Lambda's Python brings along, which is AWS's SDK, and nothing else of ministack's environment.

    https://docs.aws.amazon.com/lambda/latest/dg/lambda-python.html#python-sdk-included
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("botocore", "dateutil", "jmespath", "six", "urllib3"):
        origin = Path(importlib.util.find_spec(name).origin)
        origin = origin.parent if origin.name == "__init__.py" else origin
        if not (folder / origin.name).exists():
            (folder / origin.name).symlink_to(origin)
    return folder


def mend(tmp: Path) -> None:
    """Let ministack lease and report our processes instead of its own."""
    Process.packages = tmp / "packages"
    Process.packages.mkdir(parents=True, exist_ok=True)
    Process.libraries = lend(tmp / "libraries")
    classes = lambda_runtime._worker_class_for
    acquire, release = lambda_.acquire_worker, lambda_.release_worker
    execute = lambda_._execute_function_warm
    free = threading.Condition()

    def worker_class(config: dict[str, Any]) -> Any:
        return Process if str(config.get("Runtime", "")).startswith("python") else classes(config)

    def acquire_waiting(name: str, config: dict[str, Any], code: bytes, **options: Any) -> Any:
        options["max_concurrency"] = MOST
        end = time.monotonic() + WAIT_SECONDS
        with free:
            while True:
                worker, reason = acquire(name, config, code, **options)
                if worker is not None or not free.wait(max(0.0, end - time.monotonic())):
                    return worker, reason

    def release_telling(worker: Any) -> None:
        release(worker)
        with free:
            free.notify_all()  # which function the next in line waits for is not known

    def execute_faithfully(function: dict[str, Any], event: Any, request_id: str) -> dict[str, Any]:
        result: dict[str, Any] = execute(function, event, request_id)
        if result.get("error"):
            with contextlib.suppress(ValueError, KeyError, TypeError):  # a fault of ministack's own, in its own words
                result["body"] = json.loads(result["body"]["errorMessage"])
        return result

    lambda_runtime._worker_class_for = worker_class
    lambda_.reap_idle_workers = reap
    lambda_.acquire_worker = acquire_waiting
    lambda_.release_worker = release_telling
    lambda_._execute_function_warm = execute_faithfully
