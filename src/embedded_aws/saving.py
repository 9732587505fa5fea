"""State is on disk soon after it has changed.

ministack saves on SIGTERM only, so ``kill -9`` or a power cut would lose everything but S3's objects. Here it also
saves in the background, when a request may have changed something: in a copy of this process, where the state stands still
and the time that writing takes is nobody's; at most once a second, and for at most a tenth of the time, since all of the
state is written anew. The file ``unsaved`` is there while the server runs, and its time is that of the last save: who finds
it without a server knows what is lost.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PAUSE = 1.0  # seconds between a change and the save that holds it, and at least between saves
REST = 9.0  # as long as that many times the last save
# Seconds that a save may take: a lock that another thread held when the copy was made is held there for ever.
LONGEST = 60.0
WATCH = 5.0  # seconds between looks at whether the folder is still there


def mend(app: Any, home: Path, ready: threading.Event) -> None:
    """Wrap the ASGI application so that a change starts a save, once the server is ready.

    No two saves write the same files at once, and none brings back a folder that was removed.
    """
    changed, saving = threading.Event(), threading.Lock()
    serve, save_all = app.app, app.save_all
    mark = home / "unsaved"
    mark.touch()

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        await serve(scope, receive, send)
        # A function's call changes nothing but its log; saving after each would cost more than the log is worth.
        if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD") and "/invocations" not in scope["path"]:
            changed.set()

    def save(services: dict[str, Callable[[], Any]]) -> None:
        with saving:
            if not deserted():
                in_a_copy(lambda: save_all(services))

    def deserted() -> bool:
        """Whether the folder was removed, and perhaps made anew for another server."""
        try:
            return (home / "ready").read_text() != str(os.getpid())
        except FileNotFoundError:
            return True

    def work() -> None:
        ready.wait()
        took = 0.0
        while True:
            due = changed.wait(WATCH)
            if deserted():
                os._exit(0)  # nobody can find this server any more
            if due:
                time.sleep(max(PAUSE, REST * took))  # what comes in a burst is saved once
                changed.clear()
                began = time.time()
                save(app._build_persistence_save_dict())
                took = time.time() - began
                with contextlib.suppress(FileNotFoundError):
                    os.utime(mark, (began, began))

    app.app, app.save_all = watched, save
    threading.Thread(target=work, daemon=True, name="saving").start()
    atexit.register(mark.unlink, missing_ok=True)


def in_a_copy(act: Callable[[], None]) -> None:
    """Do it in a copy of this process, and wait for that; one that takes too long is ended."""
    child = os.fork()
    if child == 0:
        try:
            act()
        finally:  # whatever came, the copy must not go on as a server
            os._exit(0)
    ended = os.pidfd_open(child)
    if not select.select([ended], [], [], LONGEST)[0]:
        os.kill(child, signal.SIGKILL)
    os.close(ended)
    os.waitpid(child, 0)
