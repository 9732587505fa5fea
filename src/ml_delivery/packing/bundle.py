"""All dependencies as one archive, pruned and with bytecode; made once per lockfile, Python and rules, and cached.

A build then only copies it as one block and appends the source, which takes a tenth of a second.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ml_delivery.dependencies import envs
from ml_delivery.errors import BuildError, SetupError
from ml_delivery.packing.archive import Entry, Writer

if TYPE_CHECKING:
    from ml_delivery.config import Config
    from ml_delivery.dependencies.locks import Pin

__all__ = ["Bundle", "Part", "altered", "compiled", "make"]

# Files that a service never opens are left out; if one needs them after all, the deploy's health check fails.
PRUNED = (
    "*/__pycache__/*",
    "*/tests/*",
    "*/test/*",
    "*.pyi",
    "*.pyx",
    "*.pxd",
    "*.h",
    "*.a",
    "*.lib",
    "*.dist-info/RECORD",
    "*.dist-info/WHEEL",
    "*.dist-info/sboms/*",
    # Loaded by C++ programs, never by Python, which has its own copy.
    "onnxruntime/capi/libonnxruntime.so*",
    # For making and converting models, not for running them.
    "onnxruntime/tools/*",
    "onnxruntime/transformers/*",
    "onnxruntime/quantization/*",
)
# ``from numpy._core.tests._natype import …``: the dots of a relative import, and the module up to the folder of tests.
IMPORTS_TESTS = re.compile(rb"^\s*(?:from|import)\s+(\.*)([\w.]*?\btests?\b)", re.M)


@dataclass(frozen=True)
class Part:
    """A member of the bundle, the package that it belongs to, and the sha256 of its content."""

    package: str
    digest: str
    entry: Entry


@dataclass(frozen=True)
class Bundle:
    """A cached archive of dependencies; ``into`` and ``checked`` compare it with its digest.

    Attributes:
        archive: its place in the cache.
        digest: its sha256 in hex when it was made.
        parts: its members.
        sbom: its bill of materials, which ``sbom.complete`` completes.
        interpreter: what compiled the bytecode: ``CPython 3.12.1``.
    """

    archive: Path
    digest: str
    parts: tuple[Part, ...]
    sbom: str
    interpreter: str

    def into(self, writer: Writer) -> None:
        """Start the writer's archive with all parts, in one block.

        Raises:
            BuildError: the archive was altered since it was made; it is removed.
        """
        with self.archive.open("rb") as source:
            try:
                found = writer.adopt(source, [part.entry for part in self.parts])
            except zipfile.BadZipFile:
                found = ""
        if found != self.digest:
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


def make(config: Config, lock: Path, python: Path, glibc: int, provided: frozenset[str]) -> Bundle:
    """The bundle of what ``lock`` holds for the service's Python; made if it is not kept yet.

    Args:
        config: the service's configuration.
        lock: a lockfile.
        python: an interpreter of the service's version, to compile with.
        glibc: the minor version of the glibc 2 that it runs on.
        provided: packages that are left out, since the target has them.

    Raises:
        BuildError: a pin has no wheel for the target, two packages bring the same file, or what was kept is altered.
        SetupError: wheels can't be fetched.
    """
    service = config.service
    folder = envs.cache(config.root)
    interpreter = _interpreter(python)
    try:
        content = hashlib.sha256(lock.read_bytes()).hexdigest()
    except OSError as error:
        from ml_delivery.dependencies.locks import how

        raise BuildError(f"{lock.name} can't be read: {error}", next=how(config.root)) from error
    inputs = [_made_by(), content, service.name, service.python, service.architecture, interpreter]
    key = hashlib.sha256(json.dumps([*inputs, glibc, sorted(provided), *config.build.exclude]).encode()).hexdigest()
    archive, index = (folder / "bundles" / f"{key}{suffix}" for suffix in (".zip", ".json"))
    if not (index.is_file() and archive.is_file()):
        with envs.exclusive(folder / "bundles" / "making.lock"):
            if not (index.is_file() and archive.is_file()):
                # Imported here, since a build that finds its bundle in the cache doesn't need them.
                from ml_delivery.dependencies import locks, wheels
                from ml_delivery.packing import sbom

                pins = locks.for_target(locks.read(lock), service.python, service.architecture)
                pins = [pin for pin in pins if pin.name not in provided]
                found = wheels.fetch(
                    pins, wheels.Platform(service.python, service.architecture, glibc), folder / "wheels"
                )
                known = locks.markers(service.python, service.architecture)
                bill = sbom.make(service.name, pins, found, locks.direct(config.root, lock), known)
                with _appears(archive) as out:
                    digest, parts = _write(out, pins, found, config.build.exclude, python)
                listed = [[p.package, p.digest, list(asdict(p.entry).values())] for p in parts]
                text = json.dumps([digest, listed, bill]).encode()
                with _appears(index) as out:  # last: its presence says that the archive is whole
                    out.write(hashlib.sha256(text).hexdigest().encode() + b"\n" + text)
    seal, _, text = index.read_bytes().partition(b"\n")
    if hashlib.sha256(text).hexdigest().encode() != seal:
        raise altered(index)
    digest, listed, bill = json.loads(text)
    kept = tuple(Part(package, digest, Entry(*entry)) for package, digest, entry in listed)
    return Bundle(archive, digest, kept, bill, interpreter)


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


def _write(
    out: IO[bytes], pins: list[Pin], found: list[Path], exclude: tuple[str, ...], python: Path
) -> tuple[str, list[Part]]:
    """Copy what is kept of each wheel, sorted by path, then its bytecode; the archive's sha256, and what was written."""
    members: dict[str, tuple[str, Path, zipfile.ZipInfo]] = {}
    for pin, wheel in zip(pins, found, strict=True):
        with zipfile.ZipFile(wheel) as opened:
            imported = imported_tests(opened)
            for member in opened.infolist():
                path = _installed(member.filename)
                if path is None or member.is_dir() or left_out(path, exclude, imported):
                    continue
                if path in members and members[path][2].CRC != member.CRC:
                    raise BuildError(
                        f"{members[path][0]} and {pin.name} both contain {path}", next="depend on only one of them"
                    )
                members[path] = (pin.name, wheel, member)
    parts = []
    with Writer(out) as writer:
        for path, (package, wheel, member) in sorted(members.items()):
            with zipfile.ZipFile(wheel) as opened:
                digest = hashlib.sha256()
                with opened.open(member) as content:
                    while chunk := content.read(1 << 20):
                        digest.update(chunk)
                parts.append(Part(package, digest.hexdigest(), writer.copy(path, opened, member)))
        modules = [
            (path, str(wheel), member.filename)
            for path, (_, wheel, member) in sorted(members.items())
            if path.endswith(".py")
        ]
        owner = {path.rpartition("/")[0]: package for path, (package, _, _) in members.items()}
        for path, code in compiled(modules, python):
            package = owner[path.rpartition("/__pycache__/")[0] if "/__pycache__/" in path else ""]
            parts.append(Part(package, hashlib.sha256(code).hexdigest(), writer.add(path, code)))
    return writer.digest.hexdigest(), parts


def left_out(path: str, exclude: tuple[str, ...], imported: frozenset[str] = frozenset()) -> bool:
    """Whether ``PRUNED`` or the service's ``exclude`` leaves ``path`` out; ``PRUNED`` keeps modules in ``imported`` folders."""
    needed = path.endswith(".py") and path.rpartition("/")[0] in imported
    return any(fnmatch.fnmatchcase(path, rule) for rule in (*(() if needed else PRUNED), *exclude))


def imported_tests(wheel: zipfile.ZipFile) -> frozenset[str]:
    """The folders of tests that other modules of the wheel import, as ``numpy.testing`` does ``numpy/_core/tests``."""
    found = set()
    for name in wheel.namelist():
        if name.endswith(".py") and not left_out(name, ()):
            for dots, module in IMPORTS_TESTS.findall(wheel.read(name)):
                package = name.split("/")[: -len(dots)] if dots else []
                found.add("/".join([*package, *module.decode().split(".")]))
    return frozenset(found)


def _installed(name: str) -> str | None:
    """The path of a wheel's member in site-packages; None for scripts, headers and data.

    https://packaging.python.org/en/latest/specifications/binary-distribution-format/
    """
    if match := re.match(r"[^/]+\.data/([^/]+)/(.+)", name):
        return match[2] if match[1] in ("purelib", "platlib") else None
    return name


def _made_by() -> str:
    """The digest of the code that makes a bundle, and of the lockfile of the libraries that write its bill of materials."""
    here = Path(__file__).parent
    code = ("archive.py", "bundle.py", "bytecode.py", "sbom.py", "../locks/delivery.txt")
    return hashlib.sha256(b"".join((here / f).read_bytes() for f in code)).hexdigest()


def _interpreter(python: Path) -> str:
    """Its name with the patch version, by which bytecode may differ: ``CPython 3.12.1``."""
    if python.samefile(getattr(sys, "_base_executable", sys.executable)):
        return f"{platform.python_implementation()} {platform.python_version()}"
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
