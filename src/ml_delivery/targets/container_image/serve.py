"""Serves a service's WSGI application by gunicorn on a socket, in a virtual environment with the service's packages.

``python -P serve.py APPLICATION PING FD``: the application as gunicorn takes it, the path that a health check asks for, and a
socket that listens already. If the application can't be loaded, its traceback is printed, and nothing is answered until the
process is ended.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import Any

# As in a pod or an endpoint's container, but for the end, which nothing waits for here: https://gunicorn.org/reference/settings/
SETTINGS = {
    "worker_class": "gthread",
    "threads": 4,
    "timeout": 60,
    "graceful_timeout": 1,
    "loglevel": "warning",
    "control_socket_disable": True,
}


def serve(application: str, descriptor: str) -> None:
    """Serve until the process is ended.

    Raises:
        SystemExit: the application can't be loaded.
    """
    from gunicorn.app.base import BaseApplication
    from gunicorn.util import import_app

    class Serving(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
        def load_config(self) -> None:
            self.cfg.set("bind", f"fd://{descriptor}")
            for name, value in SETTINGS.items():
                if name in self.cfg.settings:  # not every version has each
                    self.cfg.set(name, value)

        def load(self) -> Any:
            return import_app(application)

    Serving().run()


def end_with(parent: int) -> None:
    """End this process, which gunicorn's workers follow, when the one that started it has ended, however it did."""
    while os.getppid() == parent:
        time.sleep(0.1)  # only by asking does a process learn that the one that started it was killed
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Serve; where that fails, wait to be ended, since only a change of the service helps."""
    application, ping, descriptor = sys.argv[1:]
    os.environ.setdefault("PING_PATH", ping)
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    try:
        serve(application, descriptor)
    except ImportError as error:
        print(f"✗ {error}: declare gunicorn in pyproject.toml, then nox -s lock", file=sys.stderr, flush=True)
    except SystemExit as ended:
        if not ended.code:
            raise
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    signal.pause()


if __name__ == "__main__":
    main()
