"""What a training job leaves: one archive of the model, merged over all hosts, and one of other output; and its checkpoints.

https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-output.html
https://docs.aws.amazon.com/sagemaker/latest/dg/model-checkpoints.html
"""

from __future__ import annotations

import tarfile
import threading
from contextlib import suppress
from pathlib import Path

from embedded_aws.sagemaker import buckets
from embedded_aws.sagemaker.roles import Session

SYNC_SECONDS = 5.0


class Clash(Exception):
    """Two hosts wrote a file of one name."""


def merged(folders: dict[str, Path]) -> dict[str, Path]:
    """The files of all hosts by their names.

    Raises:
        Clash: two hosts wrote one name.
    """
    found: dict[str, tuple[str, Path]] = {}
    for host, folder in folders.items():
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.is_dir() and not path.is_symlink():
                continue
            if name in found:
                raise Clash(
                    f"{found[name][0]} and {host} both wrote {name}; each file must be written by one host only"
                )
            found[name] = host, path
    return {name: path for name, (_, path) in found.items()}


def upload(session: Session, folders: dict[str, Path], uri: str, name: str, *, packed: bool, scratch: Path) -> None:
    """Upload the files of all hosts as the archive ``name`` below ``uri``, or each by itself; nothing if there are none.

    Raises:
        Clash: two hosts wrote one name.
        TransferFailed: the role may not write there.
    """
    files = merged(folders)
    if not packed:
        for inner, path in files.items():
            if path.is_file() and not path.is_symlink():
                buckets.upload_file(session, path, f"{uri}/{name.partition('.')[0]}/{inner}")
        return
    if files:
        archive = scratch / name
        with tarfile.open(archive, "w:gz") as made:
            for inner, path in files.items():
                made.add(path, inner, recursive=False)
        buckets.upload_file(session, archive, f"{uri}/{name}")


class Checkpoints:
    """Folders whose new and changed files are uploaded every few seconds."""

    def __init__(self, session: Session, uri: str, folders: list[Path]) -> None:
        self._session, self._uri, self._folders = session, uri, folders
        self._seen: dict[Path, tuple[int, int]] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def fetch(self) -> None:
        """Download what earlier jobs left, and start to watch."""
        for folder in self._folders:
            with suppress(buckets.TransferFailed):  # there may be none
                buckets.download(self._session, {"S3Uri": self._uri}, folder)
        for folder in self._folders:
            self._seen |= {path: _state(path) for path in folder.rglob("*") if path.is_file()}
        self._thread.start()

    def close(self) -> None:
        """Upload the last changes.

        Raises:
            TransferFailed: the role may not write there.
        """
        self._done.set()
        self._thread.join()
        self._sync()

    def _work(self) -> None:
        while not self._done.wait(SYNC_SECONDS):
            with suppress(buckets.TransferFailed, OSError):  # a file that is being written; the last upload reports it
                self._sync()

    def _sync(self) -> None:
        for folder in self._folders:
            for path in folder.rglob("*"):
                if path.is_file() and self._seen.get(path) != (state := _state(path)):
                    buckets.upload_file(
                        self._session, path, f"{self._uri.rstrip('/')}/{path.relative_to(folder).as_posix()}"
                    )
                    self._seen[path] = state


def _state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size
