"""State is on disk soon after it has changed.

ministack saves on SIGTERM only, so ``kill -9`` or a power cut would lose everything but S3's objects. Here it also
saves in the background, at most once a second, when a request may have changed something. The file ``unsaved`` is
there while the server runs, and its time is that of the last save: who finds it without a server knows what is lost.
"""

from __future__ import annotations

import atexit
import threading
from pathlib import Path
from typing import Any

PAUSE = 1.0  # seconds between a change and the save that holds it, and between saves


def mend(app: Any, home: Path) -> None:
    """Wrap the ASGI application so that a change starts a save."""
    changed = threading.Event()
    serve = app.app
    mark = home / "unsaved"
    mark.touch()

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        await serve(scope, receive, send)
        # A function's call changes nothing but its log; saving after each would cost more than the log is worth.
        if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD") and "/invocations" not in scope["path"]:
            changed.set()

    def save() -> None:
        while True:
            changed.wait()
            threading.Event().wait(PAUSE)  # what comes in a burst is saved once
            changed.clear()
            mark.touch()
            app.save_all(app._build_persistence_save_dict())

    app.app = watched
    threading.Thread(target=save, daemon=True, name="saving").start()
    atexit.register(mark.unlink, missing_ok=True)
