"""Which files of the dependencies are left out of an artifact: those that a service never opens, and those it excludes."""

from __future__ import annotations

import fnmatch
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_delivery.packing import placement
from ml_delivery.records import Pruned

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ml_delivery.packing.placement import Member

__all__ = ["PRUNED", "Rules", "needed", "split", "totals"]

# Files that a service never opens. If one does, build.keep keeps them.
PRUNED = (
    "tests/*",
    "test/*",
    "*/tests/*",
    "*/test/*",
    "*.pyi",
    "*.pyx",
    "*.pxd",
    "*.h",
    "*.a",
    "*.lib",
    "*.dist-info/sboms/*",
    # Loaded by C++ programs, never by Python, which has its own copy.
    "onnxruntime/capi/libonnxruntime.so*",
    # For making and converting models, not for running them.
    "onnxruntime/tools/*",
    "onnxruntime/transformers/*",
    "onnxruntime/quantization/*",
)
# ``from .tests.runner import run, other as x``, with its dots, module and names; ``import a.b.tests, c as d``.
FROM = re.compile(rb"^[ \t]*from[ \t]+(\.*)([\w.]*)[ \t]+import[ \t]+(\([^)]*\)|[^\n#;(\\]+(?:\\\n[^\n#;\\]+)*)", re.M)
COMMENT = re.compile(rb"#[^\n]*")
IMPORT = re.compile(rb"^[ \t]*import[ \t]+([\w., \t]+)", re.M)
# lazy_loader reads a package's names from its stub. https://github.com/scientific-python/lazy-loader
STUB = b"attach_stub("


@dataclass(frozen=True)
class Rules:
    """The service's own rules, glob patterns of paths: ``exclude`` leaves out, ``keep`` keeps what ``PRUNED`` leaves out."""

    exclude: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()

    def excluding(self, path: str) -> str:
        """The first pattern of ``exclude`` that matches; empty for none."""
        return _first(path, self.exclude)

    def pruning(self, path: str) -> str:
        """The first pattern of ``PRUNED`` that leaves ``path`` out; empty for none."""
        return "" if _first(path, self.keep) else _first(path, PRUNED)


def split(members: Iterable[Member], rules: Rules) -> tuple[list[Member], list[tuple[Member, str]]]:
    """The members that are packed, in their order, and those that are left out, each with the pattern that does it."""
    kept, out, pruned = [], [], []
    for member in members:
        if rule := rules.excluding(member.path):
            out.append((member, rule))
        elif rule := rules.pruning(member.path):
            pruned.append((member, rule))
        else:
            kept.append(member)
    wanted = needed(kept, [member for member, _ in pruned])
    kept += [member for member, _ in pruned if member.path in wanted]
    out += [(member, rule) for member, rule in pruned if member.path not in wanted]
    return sorted(kept, key=lambda member: member.path), out


def totals(left_out: Iterable[tuple[str, str, int]]) -> tuple[Pruned, ...]:
    """The sums of (package, rule, size in bytes), largest first."""
    files: Counter[tuple[str, str]] = Counter()
    sizes: Counter[tuple[str, str]] = Counter()
    for package, rule, size in left_out:
        files[package, rule] += 1
        sizes[package, rule] += size
    found = [Pruned(*which, count, sizes[which]) for which, count in files.items()]
    return tuple(sorted(found, key=lambda one: (-one.size, one.package, one.rule)))


def needed(kept: list[Member], pruned: list[Member]) -> set[str]:
    """The paths among ``pruned`` that modules need: tests that are imported, as ``astropy`` does its own, and lazy stubs."""
    modules = {name: member for member in pruned if (name := _module(member.path))}
    stubs = {member.path for member in pruned if member.path.endswith(".pyi")}
    found: set[str] = set()
    queue = [member for member in kept if member.path.endswith(".py")]
    while queue:
        more = []
        for member, wheel in placement.contents(queue):
            source = member.read(wheel)
            if STUB in source and f"{member.path}i" in stubs:
                found.add(f"{member.path}i")
            for name in _imported(member.path, source):
                for module in _upwards(name):
                    wanted = modules.get(module)
                    if wanted and wanted.path not in found:
                        found.add(wanted.path)
                        more.append(wanted)
        queue = [member for member in more if member.path.endswith(".py")]
    return found


def _imported(path: str, source: bytes) -> Iterator[str]:
    """What a module's text imports, and what it may import by ``from``, as ``a/b/c``."""
    for dots, name, names in FROM.findall(source):
        base = path.split("/")[: -len(dots)] if dots else []
        module = "/".join([*base, *filter(None, name.decode("utf-8", "replace").split("."))])
        yield module
        for each in COMMENT.sub(b"", names.strip(b"()")).replace(b"\\\n", b" ").split(b","):
            if word := each.split()[:1]:
                yield f"{module}/{word[0].decode('utf-8', 'replace')}".lstrip("/")
    for names in IMPORT.findall(source):
        for each in names.split(b","):
            if word := each.split()[:1]:
                yield word[0].decode("utf-8", "replace").replace(".", "/")


def _module(path: str) -> str:
    """``a/b`` for ``a/b.py``, ``a/b/__init__.py`` and ``a/b.cpython-312-x86_64-linux-gnu.so``; empty for what is no module."""
    folder, _, name = path.rpartition("/")
    stem, _, suffix = name.partition(".")
    if not suffix.endswith(("py", "so")):
        return ""
    return folder if stem == "__init__" else f"{folder}/{stem}".lstrip("/")


def _upwards(module: str) -> Iterator[str]:
    """A module and the packages that it is in, which are imported before it."""
    while module:
        yield module
        module = module.rpartition("/")[0]


def _first(path: str, patterns: tuple[str, ...]) -> str:
    return next((pattern for pattern in patterns if fnmatch.fnmatchcase(path, pattern)), "")
