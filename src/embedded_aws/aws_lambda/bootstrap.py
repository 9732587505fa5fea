"""Lambda's side inside a function's process: imports the handler once, then answers events from standard input.

Run as ``python -I -S bootstrap.py FOLDER MODULE.FUNCTION MARK LIBRARIES``, so that the function can import the standard library,
its own package and the runtime's libraries, and nothing else. Each input line is ``{"event", "context", "trace"}``; each output
line, on a file descriptor that the function's own output can't reach, is ``{"result"}`` or ``{"error"}``. Before each, a line
with only the mark on standard error ends the call's log.

The root logger has a handler before the function's modules are imported, so that ``logging.basicConfig`` has no effect, and its
level stays WARNING: https://docs.aws.amazon.com/lambda/latest/dg/python-logging.html
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import resource
import sys
import time
import traceback

TYPE_CHECKING = False  # importing typing would take several ms of every cold start
if TYPE_CHECKING:
    from typing import Any, TextIO


FILES = 1024  # https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html


class Context:
    """https://docs.aws.amazon.com/lambda/latest/dg/python-context.html"""

    def __init__(self, request_id: str, invoked_function_arn: str, timeout: float) -> None:
        self.aws_request_id = request_id
        self.invoked_function_arn = invoked_function_arn
        self.function_name = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
        self.function_version = os.environ["AWS_LAMBDA_FUNCTION_VERSION"]
        self.memory_limit_in_mb = os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]
        self.log_group_name = os.environ["AWS_LAMBDA_LOG_GROUP_NAME"]
        self.log_stream_name = os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]
        self.identity = self.client_context = None
        self._end = time.monotonic() + timeout

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self._end - time.monotonic()) * 1000))


def obey_permissions() -> None:
    """Give up root's privilege to open every file, which a function on Lambda does not have; its children's too.

    https://man7.org/linux/man-pages/man7/capabilities.7.html
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        return
    import ctypes

    libc = ctypes.CDLL(None)
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    libc.capget(header, sets)
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
        for number in (0, 1):  # effective, permitted
            sets[number] &= ~(1 << capability)
    libc.capset(header, sets)


class Handler(logging.Handler):
    """Writes records to the log, each with the id of the request."""

    request = ""

    def emit(self, record: logging.LogRecord) -> None:
        record.aws_request_id = self.request
        sys.stdout.write(self.format(record))


def handle_logging() -> Handler:
    """Give the root logger Lambda's handler, with its format; returns it."""
    handler = Handler()
    words = "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s\n"
    formatter = logging.Formatter(words, "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logging.getLogger().addHandler(handler)
    return handler


def main() -> None:
    """Serve until standard input ends."""
    obey_permissions()
    sys.path.insert(0, os.path.dirname(__file__))  # -I leaves it out
    importlib.import_module("read_only").restrict()
    del sys.path[0], sys.modules["read_only"]
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))
    answers: TextIO = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # the function's output is its log
    folder, handler, mark, libraries = sys.argv[1:]
    sys.argv = [""]
    sys.path.insert(0, folder)
    sys.path.append(libraries)  # after the package's own
    log = handle_logging()
    module, _, name = handler.rpartition(".")

    def answer(document: str) -> None:
        sys.stdout.flush()
        sys.stderr.write(f"\n{mark}\n")
        sys.stderr.flush()
        answers.write(document + "\n")

    def fault(error: BaseException, kind: str = "") -> dict[str, Any]:
        stack = traceback.format_exc()
        print(stack, end="", file=sys.stderr)
        return {
            "errorMessage": str(error),
            "errorType": kind or type(error).__name__,
            "stackTrace": stack.splitlines(),
        }

    try:
        loaded = importlib.import_module(module.replace("/", "."))
    except BaseException as error:  # an import may raise SystemExit, which Lambda reports too
        kind = "Runtime.ImportModuleError" if isinstance(error, ImportError) else ""
        failed = fault(error, kind)
        if kind:
            failed["errorMessage"] = f"Unable to import module '{module}': {error}"
        answer(json.dumps({"error": failed}))
        return
    function = getattr(loaded, name, None)
    if function is None:
        missing = f"Handler '{name}' missing on module '{module}'"
        answer(json.dumps({"error": {"errorType": "Runtime.HandlerNotFound", "errorMessage": missing}}))
        return
    answer(json.dumps({"result": None}))
    for line in sys.stdin:
        call = json.loads(line)
        os.environ["_X_AMZN_TRACE_ID"] = call["trace"]
        log.request = call["context"]["request_id"]
        try:
            result = function(call["event"], Context(**call["context"]))
        except BaseException as error:
            document = json.dumps({"error": fault(error)})
        else:
            try:
                document = json.dumps({"result": result})
            except (TypeError, ValueError, RecursionError) as error:
                failed = fault(error, "Runtime.MarshalError")
                document = json.dumps({"error": {**failed, "errorMessage": f"Unable to marshal response: {error}"}})
        answer(document)


if __name__ == "__main__":
    main()
