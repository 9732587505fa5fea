"""Users at 200 requests a second, through the alias and through its Function URL, while a deploy starts every 15 seconds.

Promise: in five minutes none fails. Run it with ``nox -s bench -- benchmarks/load_deploys.py``.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from faults.harness import Service
from tiny import Tiny

from ml_delivery import emulator
from ml_delivery.targets.lambda_function.http import http_event

RATE = 200.0
EVERY = 15.0
CALLERS = 32


class Load:
    """Callers that keep a rate together; half of them by alias, half by URL. No try is made twice.

    Who was kept waiting asks the sooner afterwards, so that a slow answer lowers no rate.
    """

    def __init__(self, running: emulator.Running, function: str, url: str) -> None:
        self.failures: list[str] = []
        self.seconds: list[float] = []
        self.stop = threading.Event()
        self._running = running
        self._keys = Credentials(running.access_key, running.secret_key)
        alias = f"/2015-03-31/functions/{function}/invocations?Qualifier=live"
        event = json.dumps(http_event("/version")).encode()
        ways = [("POST", alias, "", event), ("GET", "/version", url.split("/")[2], b"")]
        self._threads = [threading.Thread(target=self._call, args=ways[i % 2]) for i in range(CALLERS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join()

    def _call(self, method: str, path: str, host: str, body: bytes) -> None:
        place = urlsplit(self._running.endpoint).netloc
        connection = http.client.HTTPConnection(place, timeout=60)
        due = time.monotonic()
        while not self.stop.is_set():
            due += CALLERS / RATE
            began = time.monotonic()
            try:
                connection.request(method, path, body or None, self._signed(method, host or place, path, body))
                answer = connection.getresponse()
                text = answer.read()
                if (
                    answer.status != 200
                    or answer.getheader("X-Amz-Function-Error")
                    or b'"release"' not in text.replace(b"\\", b"")
                ):
                    self.failures.append(f"{host or 'alias'}: {answer.status} {text[:100]!r}")
            except Exception as error:
                self.failures.append(f"{host or 'alias'}: {type(error).__name__}: {error}")
                connection.close()
            self.seconds.append(time.monotonic() - began)
            self.stop.wait(max(0.0, due - time.monotonic()))

    def _signed(self, method: str, host: str, path: str, body: bytes) -> dict[str, str]:
        request = AWSRequest(method, f"http://{host}{path}", headers={"Host": host}, data=body)
        SigV4Auth(self._keys, "lambda", "eu-west-1").add_auth(request)
        return {**dict(request.headers.items()), "Host": host}


def main() -> int:
    """Print what users met; exit code 1 when a request failed, or when they were not asked as often as promised."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as folder:
        (shared := Path(folder, "shared")).mkdir()
        service = Service(Tiny(Path(folder, "service"), shared, "load"))
        running = emulator.up(service.tiny.root)
        try:
            service.deploy(NOTE="first")
            client = service.open().cloud.client("lambda")
            made = client.create_function_url_config(FunctionName=service.name, Qualifier="live", AuthType="AWS_IAM")
            child = os.fork()  # users have an interpreter of their own, so that deploys don't hold them up
            if child == 0:
                load, code = Load(running, service.name, made["FunctionUrl"]), 1
                load.start()
                time.sleep(seconds)
                load.end()
                rate, slow = len(load.seconds) / seconds, statistics.quantiles(load.seconds, n=100)
                print(
                    f"{len(load.seconds)} requests in {seconds:.0f} s, {rate:.0f} a second; {len(load.failures)} failed"
                )
                print(f"half within {1000 * slow[49]:.0f} ms, 99 % within {1000 * slow[98]:.0f} ms")
                for failure in load.failures[:10]:
                    print(f"✗ {failure}")
                code = 0 if not load.failures and rate >= 0.99 * RATE else 1
                sys.stdout.flush()
                os._exit(code)
            began, deploys = time.monotonic(), 0
            while time.monotonic() - began + EVERY < seconds:
                time.sleep(max(0.0, began + EVERY * (deploys + 1) - time.monotonic()))
                service.deploy(NOTE=str(deploys))
                deploys += 1
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            print(
                f"{deploys} deploys meanwhile; release {service.live()} serves; {service.problems() or 'all in order'}"
            )
        finally:
            emulator.down(service.tiny.root)
    print(f"promise: none fails at {RATE:.0f} a second: {'kept' if code == 0 else 'MISSED'}")
    return code


if __name__ == "__main__":
    sys.exit(main())
