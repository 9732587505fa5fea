"""Tries the contracts of ``docs/limits.toml`` on moto's server: ``python tests/moto_server.py MOTO_SERVER [PYTEST'S WORDS]``."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time


def main(server: str, *words: str) -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    running = subprocess.Popen(
        [server, "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + 60
        while time.monotonic() < end and running.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        tests = [
            sys.executable,
            "-m",
            "pytest",
            "-n",
            "0",
            "tests/test_limits.py",
            "-k",
            "test_contract",
            "-rs",
            *words,
        ]
        environment = {**os.environ, "CONTRACT": "moto", "CONTRACT_ENDPOINT": f"http://127.0.0.1:{port}"}
        return subprocess.run(tests, env=environment, check=False).returncode
    finally:
        running.terminate()
        running.wait()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
