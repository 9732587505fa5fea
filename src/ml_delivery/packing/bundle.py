"""All dependencies as one archive, pruned and with bytecode; made once per lockfile, Python and rules, and cached.

A build then only copies it as one block and appends the source, which takes a tenth of a second.
"""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import json
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
from ml_delivery.errors import BuildError
from ml_delivery.packing.archive import Entry, Writer

if TYPE_CHECKING:
    from ml_delivery.config import Config
    from ml_delivery.dependencies.locks import Pin

__all__ = ["Bundle", "Part", "compiled", "make"]

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
    """A cached archive of dependencies, its members, and the text of its bill of materials."""

    archive: Path
    parts: tuple[Part, ...]
    sbom: str


def make(config: Config, lock: Path, glibc: int, provided: frozenset[str]) -> Bundle:
    """The bundle of the pins in ``lock`` for the service's Python; made if it is not cached yet.

    Args:
        config: the service's configuration.
        lock: a lockfile.
        glibc: the minor version of glibc 2 on the target.
        provided: packages that are left out because the target has them.

    Raises:
        BuildError: a pin has no wheel for the target, or two packages contain the same file.
        SetupError: wheels can't be fetched, or there is no interpreter of the target's version to compile with.
    """
    service = config.service
    folder = envs.cache(config.root)
    python = envs.find_python(service.python)
    try:
        content = hashlib.sha256(lock.read_bytes()).hexdigest()
    except OSError as error:
        from ml_delivery.dependencies.locks import how

        raise BuildError(f"{lock.name} can't be read: {error}", next=how(config.root)) from error
    inputs = [_made_by(), content, service.name, service.python, service.architecture, _full_version(python)]
    key = hashlib.sha256(json.dumps([*inputs, glibc, sorted(provided), *config.build.exclude]).encode()).hexdigest()
    archive, index, bill = (folder / "bundles" / f"{key}{suffix}" for suffix in (".zip", ".json", ".cdx.json"))
    if not index.is_file():
        with envs.exclusive(folder / "bundles" / "making.lock"):
            if not index.is_file():
                # Imported here, since a build that finds its bundle in the cache doesn't need them.
                from ml_delivery.dependencies import locks, wheels
                from ml_delivery.packing import sbom

                pins = locks.for_target(locks.read(lock), service.python, service.architecture)
                pins = [pin for pin in pins if pin.name not in provided]
                found = wheels.fetch(
                    pins, wheels.Platform(service.python, service.architecture, glibc), folder / "wheels"
                )
                with _appears(bill) as out:
                    out.write(sbom.make(service.name, pins, found, key).encode())
                with _appears(archive) as out:
                    parts = _write(out, pins, found, config.build.exclude, python)
                with _appears(index) as out:  # written last: if it exists, the others are complete
                    out.write(
                        json.dumps([[p.package, p.digest, list(asdict(p.entry).values())] for p in parts]).encode()
                    )
    listed = json.loads(index.read_text())
    kept = tuple(Part(package, digest, Entry(*entry)) for package, digest, entry in listed)
    return Bundle(archive, kept, bill.read_text())


def compiled(modules: list[tuple[str, str, str]], python: Path) -> list[tuple[str, bytes]]:
    """The bytecode of ``modules``, which are as in ``bytecode.py``: (path of the ``.pyc``, its bytes) for each."""
    if not modules:
        return []
    if python.samefile(getattr(sys, "_base_executable", sys.executable)):
        from ml_delivery.packing.bytecode import answers  # the same code, without the cost of a process

        try:
            found = answers(modules)
        except SyntaxError as error:
            raise BuildError(str(error), next="correct that line") from error
    else:
        script = Path(__file__).parent / "bytecode.py"
        done = subprocess.run(
            [str(python), "-I", "-S", str(script)], input=json.dumps(modules).encode(), capture_output=True, check=False
        )
        if done.returncode != 0:
            reason = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
            raise BuildError(reason[0] if reason else f"{python} could not compile", next="correct that line")
        found = json.loads(done.stdout)
    return [(path, base64.b64decode(content)) for path, content in found]


def _write(out: IO[bytes], pins: list[Pin], found: list[Path], exclude: tuple[str, ...], python: Path) -> list[Part]:
    """Copy the files of each wheel that are not left out, sorted by path, then their bytecode; returns what was written."""
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
    return parts


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
    """The digest of the code that makes a bundle."""
    here = Path(__file__).parent
    return hashlib.sha256(
        b"".join((here / f).read_bytes() for f in ("archive.py", "bundle.py", "bytecode.py"))
    ).hexdigest()


def _full_version(python: Path) -> str:
    """Identifies the bytecode format."""
    if python.samefile(getattr(sys, "_base_executable", sys.executable)):
        return f"Python {platform.python_version()}"
    done = subprocess.run([str(python), "-I", "-S", "-V"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


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
