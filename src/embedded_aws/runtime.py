"""Lambda's side inside a function's process: imports the handler once, then answers events from standard input.

Run as ``python -I -S runtime.py <folder> <module.function> <mark> <libraries>``, so that the function sees the standard library and
its own package, nothing else. Each line in is ``{"event", "context", "trace"}``; each line out, on a descriptor that the
function's own prints can't reach, is ``{"result"}`` or ``{"error"}``. Before each, a line of nothing but the mark on
standard error ends what was logged.
"""

import importlib
import json
import os
import sys
import time
import traceback


class Context:
    """https://docs.aws.amazon.com/lambda/latest/dg/python-context.html"""

    def __init__(self, request_id, invoked_function_arn, timeout):
        self.aws_request_id = request_id
        self.invoked_function_arn = invoked_function_arn
        self.function_name = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
        self.function_version = os.environ["AWS_LAMBDA_FUNCTION_VERSION"]
        self.memory_limit_in_mb = os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]
        self.log_group_name = os.environ["AWS_LAMBDA_LOG_GROUP_NAME"]
        self.log_stream_name = os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]
        self.identity = self.client_context = None
        self._end = time.monotonic() + timeout

    def get_remaining_time_in_millis(self):
        return max(0, int((self._end - time.monotonic()) * 1000))


def main():
    """Load the handler, and answer one event a line until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what the function prints is its log
    folder, handler, mark, libraries = sys.argv[1:]
    sys.argv = [""]
    sys.path.insert(0, folder)
    sys.path.append(libraries)  # the package's own come first
    module, _, name = handler.rpartition(".")

    def answer(document):
        sys.stdout.flush()
        sys.stderr.write(f"\n{mark}\n")
        sys.stderr.flush()
        answers.write(document + "\n")

    def fault(error, kind=""):
        stack = traceback.format_exc()
        print(stack, end="", file=sys.stderr)
        return {
            "errorMessage": str(error),
            "errorType": kind or type(error).__name__,
            "stackTrace": stack.splitlines(),
        }

    try:
        loaded = importlib.import_module(module.replace("/", "."))
    except BaseException as error:  # an import may end in SystemExit, and Lambda reports that too
        kind = "Runtime.ImportModuleError" if isinstance(error, ImportError) else ""
        said = fault(error, kind)
        if kind:
            said["errorMessage"] = f"Unable to import module '{module}': {error}"
        answer(json.dumps({"error": said}))
        return
    function = getattr(loaded, name, None)
    if function is None:
        missing = f"Handler '{name}' missing on module '{module}'"
        answer(json.dumps({"error": {"errorType": "Runtime.HandlerNotFound", "errorMessage": missing}}))
        return
    answer(json.dumps({"result": None}))
    for line in sys.stdin:
        asked = json.loads(line)
        os.environ["_X_AMZN_TRACE_ID"] = asked["trace"]
        try:
            document = json.dumps({"result": function(asked["event"], Context(**asked["context"]))})
        except BaseException as error:
            document = json.dumps({"error": fault(error)})
        answer(document)


main()
