"""The files of a source: a clean tree's are read from git's objects, a dirty tree's from the disk.

The disk may differ from a clean tree's commit unnoticed, by ``assume-unchanged``, a sparse checkout or line ends that git
converts.
"""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ml_delivery import source
from ml_delivery.errors import SourceError

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from ml_delivery.records import Source

__all__ = ["Files", "opened"]

# Modes of entries in a tree that are no files. https://git-scm.com/docs/git-fast-import#_filemodify
LINK, SUBMODULE = "120000", "160000"
PROGRAM = "100755"
FLAGGED, MISNAMED = "flagged", "misnamed"
REFUSED = {
    LINK: "is a link, which no artifact holds",
    SUBMODULE: "is another repository, which no artifact holds",
    MISNAMED: "does not have a name in UTF-8, as an archive needs it",
}
POINTER = b"version https://git-lfs.github.com/spec/"
AHEAD = 100  # as many requests as surely fit into a pipe, so that git can answer before it is read from


@contextmanager
def opened(root: Path, tree: Source) -> Iterator[Files]:
    """The files of ``tree``, which ``source.read`` found in ``root``, while the context is open.

    Raises:
        SourceError: git can't list them.
    """
    # https://git-scm.com/docs/git-cat-file#_batch_output
    with source.start(root, "cat-file", "--batch") as objects:
        try:
            yield Files(root, tree, objects)
        finally:
            assert objects.stdin
            objects.stdin.close()


class Files:
    """The files of a source, below the service's folder; ``opened`` makes it.

    Attributes:
        time: when the source's commit was made, in seconds since 1970.
        programs: the files that may be run.
    """

    def __init__(self, root: Path, tree: Source, objects: subprocess.Popen[bytes]) -> None:
        self._root, self._tree, self._objects = root, tree, objects
        (about,) = self._blobs([tree.commit])
        committed = re.search(rb"^committer .* (\d+) [-+]\d+$", about, re.M)
        self.time = int(committed[1]) if committed else 0
        self.programs: set[str] = set()
        self._listed = self._on_disk() if tree.dirty else self._committed()

    def below(self, folder: str, without: tuple[str, ...] = ()) -> dict[str, bytes]:
        """What ``folder`` holds, sorted by path, without what is in the folders ``without``, and what git ignores.

        Raises:
            SourceError: one is a link, a submodule or not fetched, or would not be in a dirty tree's name; names it.
        """
        left_out = tuple(f"{name}/" for name in without)
        names = [n for n in sorted(self._listed) if n.startswith(f"{folder}/") and not n.startswith(left_out)]
        entries = [self._entry(name) for name in names]
        if self._tree.dirty:
            return {name: self._fetched(name, self._disk(name)) for name in names}
        return {name: self._fetched(name, data) for name, data in zip(names, self._blobs(entries), strict=True)}

    def one(self, name: str) -> bytes:
        """The content of the file ``name``.

        Raises:
            SourceError: as ``below``; or the tree is clean, and only the disk has it.
            FileNotFoundError: there is none.
        """
        if name not in self._listed:
            content = self._disk(name)
            if self._tree.dirty:
                return content
            raise SourceError(f"{name} is not in the commit", next=f"git add --force {name} && git commit")
        entry = self._entry(name)
        return self._fetched(name, self._disk(name) if self._tree.dirty else self._blobs([entry])[0])

    def pinned(self, name: str) -> bytes:
        """The content of the file ``name``, of which the caller knows the digest, so that git need not have it.

        Raises:
            SourceError, FileNotFoundError: as ``one``.
        """
        return self.one(name) if name in self._listed else self._disk(name)

    def require_same(self, name: str) -> None:
        """Check that the file on the disk, which was read already, is the source's; line ends may differ.

        Raises:
            SourceError: it is not.
        """
        wanted, found = self.one(name), self._disk(name)
        if wanted.replace(b"\r\n", b"\n") != found.replace(b"\r\n", b"\n"):
            raise SourceError(
                f"{name} differs from the commit's, which git does not notice",
                next=f"{_noticed(name)}, then commit it, or git restore it",
            )

    def _entry(self, name: str) -> str:
        """A blob's name, or empty for a file on the disk.

        Raises:
            SourceError: it can't be packed.
        """
        entry = self._listed[name]
        if entry in REFUSED:
            raise SourceError(
                f"{source.encoded(name).decode('utf-8', 'backslashreplace')} {REFUSED[entry]}",
                next="put the files themselves there, rename what is misnamed, and commit",
            )
        if entry == FLAGGED:
            raise SourceError(
                f"git does not look for changes of {name}, so that no name can tell of them",
                next=_noticed(name),
            )
        return entry

    def _committed(self) -> dict[str, str]:
        """What is in the commit, by its path: a blob's name, or a mode that is refused."""
        found = {}
        for line in self._lines("ls-tree", "-r", "-z", self._tree.commit):
            about, _, name = line.partition("\t")
            mode, _, blob = about.split(" ")
            found[name] = mode if mode in REFUSED else blob
            if mode == PROGRAM:
                self.programs.add(name)
        return found | dict.fromkeys(filter(_misnamed, found), MISNAMED)

    def _on_disk(self) -> dict[str, str]:
        """What is on the disk, by its path: empty for a file; or one of ``REFUSED`` or ``FLAGGED``."""
        found = {}
        for line in self._lines("ls-files", "-z", "-v", "--cached", "--others", "--exclude-standard"):
            flag, _, name = line.partition(" ")
            path = source.place(self._root, name)
            if _misnamed(name):
                found[name] = MISNAMED
            elif os.path.islink(path) or os.path.isdir(path):
                found[name] = LINK if os.path.islink(path) else SUBMODULE
            elif flag == "S" or flag.islower():
                found[name] = FLAGGED
            elif os.path.isfile(path):  # else it is deleted, which the tree's name tells
                found[name] = ""
                if os.access(path, os.X_OK):
                    self.programs.add(name)
        return found

    def _lines(self, *words: str) -> list[str]:
        lines = source.raw(self._root, *words)
        if lines is None:
            raise SourceError(f"git {words[0]} can't list the files of {self._tree.commit}", next="git fsck")
        return lines

    def _blobs(self, names: list[str]) -> list[bytes]:
        """The content of each object."""
        requests, answers = self._objects.stdin, self._objects.stdout
        assert requests
        assert answers
        found = []
        for at in range(0, len(names), AHEAD):
            asked = names[at : at + AHEAD]
            requests.write("".join(f"{name}\n" for name in asked).encode())
            requests.flush()
            for name in asked:
                size = answers.readline().rpartition(b" ")[2].strip()
                if not size.isdigit():
                    raise SourceError(f"git has no object {name}", next="git fetch --refetch origin")
                found.append(answers.read(int(size)))
                answers.read(1)
        return found

    def _disk(self, name: str) -> bytes:
        with open(source.place(self._root, name), "rb") as file:
            return file.read()

    def _fetched(self, name: str, data: bytes) -> bytes:
        """``data``, or where it is a pointer of Git LFS, what that points to: the disk's file, by the hash in the pointer.

        https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
        """
        if len(data) >= 1024 or not data.startswith(POINTER):
            return data
        oid = re.search(rb"^oid sha256:([0-9a-f]{64})$", data, re.M)
        try:
            content = self._disk(name)
        except OSError:
            content = b""
        if not oid or hashlib.sha256(content).hexdigest().encode() != oid[1]:
            raise SourceError(f"{name} is a pointer of Git LFS whose file was not fetched", next="git lfs pull")
        return content


def _noticed(name: str) -> str:
    """The commands after which git looks for changes of a file; one command with both flags would clear only the first."""
    return " && ".join(f"git update-index --no-{flag} {name}" for flag in ("assume-unchanged", "skip-worktree"))


def _misnamed(name: str) -> bool:
    return name != name.encode("utf-8", "replace").decode()
