"""All dependencies as one archive, pruned and with bytecode; made once per lockfile, Python and rules, and cached.

A build then only copies it as one block and appends the source, which takes a tenth of a second.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ml_delivery import formats
from ml_delivery.dependencies import envs
from ml_delivery.errors import BuildError, SetupError
from ml_delivery.packing.archive import Writer
from ml_delivery.packing.shares import shares
from ml_delivery.records import Content

if TYPE_CHECKING:
    from ml_delivery.config import Config
    from ml_delivery.records import Differences

__all__ = ["Bundle", "altered", "compiled", "make"]

MADE_BY = (
    "archive.py",
    "assembly.py",
    "bundle.py",
    "bytecode.py",
    "import_check.py",
    "importing.py",
    "placement.py",
    "pruning.py",
    "sbom.py",
    "shares.py",
    "../locks/delivery.txt",
)


@dataclass(frozen=True)
class Bundle:
    """A cached archive of dependencies; ``into`` and ``checked`` compare it with its digest.

    Attributes:
        archive: its place in the cache.
        digest: its sha256 in hex when it was made.
        listed: the sha256 of each member, by its path.
        contents: the size of each package.
        sbom: its bill of materials, which ``sbom.complete`` completes.
        interpreter: what compiled the bytecode: ``CPython 3.12.1``.
        differences: from what pip would install.
    """

    archive: Path
    digest: str
    listed: dict[str, str]
    contents: tuple[Content, ...]
    sbom: str
    interpreter: str
    differences: Differences

    def into(self, writer: Writer) -> None:
        """Start the writer's archive with all parts, in one block.

        Raises:
            BuildError: the archive was altered since it was made; it is removed.
        """
        with self.archive.open("rb") as source:
            if not writer.adopt(source, self.digest):
                raise altered(self.archive)

    def checked(self) -> Path:
        """The archive, as it was made.

        Raises:
            BuildError: as ``into``.
        """
        from ml_delivery.dependencies import wheels

        if wheels.sha256(self.archive) != self.digest:
            raise altered(self.archive)
        return self.archive


def altered(kept: Path) -> BuildError:
    """The fault of a cached file that was altered; the file is removed."""
    kept.unlink(missing_ok=True)
    return BuildError(
        f"{kept} was altered after it was made; it is removed",
        next="find out what writes to the cache, then invoke build, which makes it again",
    )


def make(
    config: Config,
    lockfile: Path,
    python: Path,
    glibc: int,
    provided: frozenset[str],
    own: frozenset[str] = frozenset(),
) -> Bundle:
    """The bundle of what ``lockfile`` holds for the service's Python; made if it is not kept yet.

    Args:
        config: the service's configuration.
        lockfile: where the packages are locked.
        python: an interpreter of the service's version, to compile with.
        glibc: the minor version of the glibc 2 that it runs on.
        provided: packages that are left out, since the target has them.
        own: paths of the service's own files, which replace those of dependencies.

    Raises:
        BuildError: a pin has no wheel for the target, a wheel can't be installed, a package can't be imported because of what
            is left out, or what was kept is altered.
        SetupError: wheels can't be fetched.
    """
    made = _make(config, lockfile, python, glibc, provided, frozenset())
    taken = own & made.listed.keys()
    return _make(config, lockfile, python, glibc, provided, taken) if taken else made


def _make(
    config: Config, lockfile: Path, python: Path, glibc: int, provided: frozenset[str], without: frozenset[str]
) -> Bundle:
    """``make``, without the paths ``without``."""
    service = config.service
    folder = envs.cache(config.root)
    interpreter = _interpreter(python)
    try:
        content = hashlib.sha256(lockfile.read_bytes()).hexdigest()
    except OSError as error:
        from ml_delivery.dependencies.locks import how

        raise BuildError(f"{lockfile.name} can't be read: {error}", next=how(config.root)) from error
    inputs = [_made_by(), content, service.name, service.python, service.architecture, interpreter, glibc]
    inputs += [sorted(provided), config.build.exclude, config.build.keep, sorted(without)]
    key = hashlib.sha256(json.dumps(inputs).encode()).hexdigest()
    archive, index = (folder / "bundles" / f"{key}{suffix}" for suffix in (".zip", ".json"))
    if not (index.is_file() and archive.is_file()):
        with envs.exclusive(folder / "bundles" / "making.lock"):
            if not (index.is_file() and archive.is_file()):
                # Imported here, since a build that finds its bundle in the cache doesn't need them.
                from ml_delivery.dependencies import locks, wheels
                from ml_delivery.packing import assembly, pruning, sbom

                pins = locks.for_target(locks.read(lockfile, config.root), service.python, service.architecture)
                target = wheels.Platform(service.python, service.architecture, glibc)
                fetched = dict(zip(pins, wheels.fetch(pins, target, folder / "wheels"), strict=True))
                there = {pin.name: wheel for pin, wheel in fetched.items() if pin.name in provided}
                ours = {pin: wheel for pin, wheel in fetched.items() if pin.name not in provided}
                known = locks.markers(service.python, service.architecture)
                direct = locks.direct(lockfile)
                bill = sbom.make(service.name, list(ours), list(ours.values()), direct, known)
                rules = pruning.Rules(config.build.exclude, config.build.keep)
                named = {pin.name: wheel for pin, wheel in ours.items()}
                chosen = assembly.choose(named, rules, without, service.name)
                with _appears(archive) as out:
                    digest, parts = assembly.write(out, chosen, functools.partial(compiled, python=python))
                differences = asdict(assembly.check(archive, chosen, there, python, service.architecture))
                listed = {part.entry.path: part.digest for part in parts}
                contents = shares((part.package, part.entry.size, part.entry.zipped) for part in parts)
                sizes = [list(asdict(content).values()) for content in contents]
                text = json.dumps([digest, listed, sizes, bill, differences]).encode()
                with _appears(index) as out:  # last: its presence says that the archive is whole
                    out.write(hashlib.sha256(text).hexdigest().encode() + b"\n" + text)
    seal, _, text = index.read_bytes().partition(b"\n")
    if hashlib.sha256(text).hexdigest().encode() != seal:
        raise altered(index)
    digest, listed, sizes, bill, differing = json.loads(text)
    contents = tuple(Content(*size) for size in sizes)
    return Bundle(archive, digest, listed, contents, bill, interpreter, formats.differences(differing))


def compiled(modules: list[tuple[str, str, str]], python: Path) -> list[tuple[str, bytes]]:
    """Bytecode of ``modules``, as ``bytecode.py`` describes them: (path of the ``.pyc``, its bytes) of each.

    Always of a process of its own, that nothing of the pipeline's reaches: neither its Python nor its variables.

    Raises:
        BuildError: a file of the service's own does not compile.
    """
    if not modules:
        return []
    done = _clean(
        python,
        str(Path(__file__).parent / "bytecode.py"),
        said="".join(f"{word}\0" for module in modules for word in module).encode(),
    )
    if done.returncode != 0:
        reason = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise BuildError(reason[0] if reason else f"{python} could not compile", next="correct that line")
    found, at = [], 0
    while at < len(done.stdout):  # path, size and bytes of each
        path, size = done.stdout[at : at + 8192].split(b"\0", 2)[:2]
        at += len(path) + len(size) + 2
        found.append((path.decode(), done.stdout[at : at + int(size)]))
        at += int(size)
    return found


def _clean(python: Path, *words: str, said: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run the interpreter without site-packages and variables, but for where the system's loader finds its library."""
    env = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH") if name in os.environ}
    asked = [str(python), "-I", "-S", "-X", "utf8", *words]
    return subprocess.run(asked, input=said, capture_output=True, env=env, check=False)


def _made_by() -> str:
    """The digest of the code that makes a bundle, and of the lockfile of the libraries that write its bill of materials."""
    here = Path(__file__).parent
    return hashlib.sha256(b"".join((here / name).read_bytes() for name in MADE_BY)).hexdigest()


def _interpreter(python: Path) -> str:
    """Its name with the patch version, by which bytecode may differ: ``CPython 3.12.1``."""
    if python.samefile(getattr(sys, "_base_executable", sys.executable)) and sys.implementation.name == "cpython":
        return (
            f"CPython {sys.version.split()[0]}"  # as platform has it, whose import would take longer than the rest here
        )
    asked = "import platform; print(platform.python_implementation(), platform.python_version())"
    done = _clean(python, "-c", asked)
    if done.returncode != 0:
        raise SetupError(f"{python} does not run: {done.stderr.decode('utf-8', 'replace').strip()}")
    return done.stdout.decode().strip()


@contextmanager
def _appears(path: Path) -> Iterator[IO[bytes]]:
    """Write a file atomically: it is complete, or does not exist."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.new")
    try:
        with temporary.open("wb") as out:
            yield out
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
