"""State is on disk soon after it has changed.

ministack saves on SIGTERM only, so ``kill -9`` or a power cut would lose everything but S3's objects. Here functions and
images are saved before a change of them is acknowledged (``durable``), and all else in the background after a request that
may have changed something. The save is done in a forked copy of this process, where the state does not change while it is
written and no request waits; at most once a second, and for at most a twentieth of the time, since each save writes all of the
state. The file ``unsaved`` exists while the server runs, and its modification time is that of the last save: if there is the
file and no server, later changes may be lost.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from embedded_aws.server import durable

PAUSE = 1.0  # seconds between a change and the save that holds it, and at least between saves
REST = 19.0  # pause after a save, in multiples of the time that it took
# Seconds that a save may take: a lock that another thread held during the fork is never released in the copy.
LONGEST = 60.0
WATCH = 5.0  # seconds between checks that the folder still exists


def patch(app: Any, home: Path, ready: threading.Event) -> None:
    """Wrap the ASGI application so that a change starts a save, once the server is ready.

    Saves never overlap, and never restore a folder that was removed.
    """
    from ministack.core import persistence

    persistence.json = SimpleNamespace(**{**vars(json), "dump": dump})
    changed, saving = threading.Event(), threading.Lock()
    serve, save_all = app.app, app.save_all
    mark = home / "unsaved"
    mark.touch()

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        async def answer(message: Any) -> None:
            if message["type"] == "http.response.start" and not deserted():
                durable.keep(app)
            await send(message)

        kept = scope["type"] == "http" and durable.concerned(app, scope)
        await serve(scope, receive, answer if kept else send)
        # A function call changes only its log, which is not worth a save after each call.
        if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD") and "/invocations" not in scope["path"]:
            changed.set()

    def save(services: dict[str, Callable[[], Any]]) -> None:
        with saving:
            if not deserted():
                in_a_copy(lambda: save_all(services))

    def deserted() -> bool:
        """Whether the folder was removed, or belongs to another server by now."""
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
                os._exit(0)  # no command can find this server any more
            if due:
                time.sleep(max(PAUSE, REST * took))  # one save for a burst of changes
                changed.clear()
                began = time.time()
                services = app._build_persistence_save_dict()
                save({name: state for name, state in services.items() if name not in durable.SERVICES})
                with saving:
                    if not deserted():
                        durable.keep(app)  # a stack changes them, too
                took = time.time() - began
                with contextlib.suppress(FileNotFoundError):
                    os.utime(mark, (began, began))

    app.app, app.save_all = watched, save
    threading.Thread(target=work, daemon=True, name="saving").start()
    atexit.register(mark.unlink, missing_ok=True)


def dump(content: Any, file: Any, **options: Any) -> None:
    """Write what ``json.dump`` writes, but by the encoder in C, which makes the text at once and takes a fraction of the time."""
    file.write(json.dumps(content, **options))


def in_a_copy(act: Callable[[], None]) -> None:
    """Call ``act`` in a forked copy of this process, and wait for it; the copy is killed after ``LONGEST`` seconds."""
    child = os.fork()
    if child == 0:
        try:
            act()
        finally:  # whatever happened, the copy must not continue as a server
            os._exit(0)
    ended = os.pidfd_open(child)
    if not select.select([ended], [], [], LONGEST)[0]:
        os.kill(child, signal.SIGKILL)
    os.close(ended)
    os.waitpid(child, 0)
