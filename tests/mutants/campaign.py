"""Breaks the delivery code and the emulator in one place after the other, and runs the tests that should see it.

``nox -s mutants`` runs all; ``nox -s mutants -- machine watch`` those of the files of these names, ``-- machine:3`` the third of
one. Each runs in a copy of the tree. It ends with a table, and fails if a mutant survives its tests, if one no longer fits the
code, or if its tests fail without it.

A mutant is in a file of ``tests/mutants``, under the path of what it breaks: ``what`` it breaks, the ``old`` text, which the file
has once, the ``new`` one, and the ``tests`` that should see it, as ``deploy::name`` for ``test_name`` in ``tests/test_deploy.py``.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SECONDS = 300  # for the tests of a mutant; all tests together, without one, have twelve times as long
KILLED, SURVIVED, INVALID = "killed", "SURVIVED", "INVALID"
RUNNING: set[int] = set()  # the sessions of tests under way, which a cancel ends


@dataclass(frozen=True)
class Mutant:
    """One change of one file, and the tests that should fail by it."""

    path: str
    number: int
    what: str
    old: str
    new: str
    tests: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{Path(self.path).stem}:{self.number}"


def load(root: Path) -> list[Mutant]:
    """All mutants, in the order of their files."""
    found: list[Mutant] = []
    last: Counter[str] = Counter()  # of the files of one name, which can be in several folders, and in several lists
    for file in sorted((root / "tests/mutants").glob("*.toml")):
        for path, entries in tomllib.loads(file.read_text(encoding="utf-8")).items():
            for entry in entries:
                last[Path(path).stem] += 1
                tests = tuple(map(_node, entry["tests"]))
                found.append(Mutant(path, last[Path(path).stem], entry["what"], entry["old"], entry["new"], tests))
    return found


def _node(short: str) -> str:
    file, _, name = short.partition("::")
    return f"tests/test_{file}.py" + (f"::test_{name}" if name else "")


def fits(mutant: Mutant, root: Path) -> bool:
    """Whether the file has the text once, and the change is one."""
    return mutant.old != mutant.new and (root / mutant.path).read_text(encoding="utf-8").count(mutant.old) == 1


def copy(into: Path) -> None:
    """Copy the tree as git lists it, with what has not been committed; it shares what was fetched for the tests."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().split("\0")[:-1]:
        source, target = ROOT / name, into / name
        if source.is_symlink() or source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target, follow_symlinks=False)
    (into / ".pipeline").mkdir(exist_ok=True)
    (into / ".pipeline/cache").symlink_to(ROOT / ".pipeline/cache")
    subprocess.run(["git", "init", "-q"], cwd=into, check=True)
    subprocess.run(["git", "add", "-A"], cwd=into, check=True)
    words = ["-c", "user.name=mutants", "-c", "user.email=mutants@localhost", "commit", "-qm", "The tree"]
    subprocess.run(["git", *words], cwd=into, check=True, stdout=subprocess.DEVNULL)


def run(tests: tuple[str, ...], tree: Path, workers: int = 0, seconds: float = SECONDS) -> tuple[int, str]:
    """pytest's exit code for ``tests`` in ``tree``, 1 if they take longer than ``seconds``; and the last of what it printed."""
    words = [sys.executable, "-m", "pytest", "-n", str(workers), "-x", "-q", "-p", "no:cacheprovider", *tests]
    with tempfile.TemporaryFile("w+") as out:
        # In a session of its own, so that what a broken test leaves running can be ended.
        process = subprocess.Popen(words, cwd=tree, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
        RUNNING.add(process.pid)
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return 1, f"they took longer than {seconds:.0f} s"
        finally:
            RUNNING.discard(process.pid)
            if process.poll() is None:  # cancelled
                os.killpg(process.pid, signal.SIGTERM)
        out.seek(0)
        return code, out.read()[-2000:]


def judge(mutant: Mutant, tree: Path) -> tuple[str, float]:
    """What came of ``mutant`` in ``tree``, which is left as it was; and the seconds it took."""
    if not fits(mutant, tree):
        return INVALID, 0.0
    began, file = time.monotonic(), tree / mutant.path
    text = file.read_text(encoding="utf-8")
    try:
        file.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
        code, _ = run(mutant.tests, tree)
    finally:
        file.write_text(text, encoding="utf-8")
    return {0: SURVIVED, 1: KILLED}.get(code, INVALID), time.monotonic() - began


def cancel() -> None:
    """End the tests that are under way."""
    for session in tuple(RUNNING):
        with suppress(ProcessLookupError):
            os.killpg(session, signal.SIGTERM)


def main() -> int:
    """Run the mutants that are named, or all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", help="machine, or machine:3")
    parser.add_argument("--workers", type=int, default=2, help="how many run at the same time")
    options = parser.parse_args()
    chosen = [
        one
        for one in load(ROOT)
        if not options.names or {one.name, one.name.partition(":")[0], one.path} & set(options.names)
    ]
    if not chosen:
        print(f"no mutant is named {' or '.join(options.names)}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        trees: queue.Queue[Path] = queue.Queue()
        for number in range(options.workers):
            copy(Path(folder, str(number)))
            trees.put(Path(folder, str(number)))
        tests = tuple(sorted({test for one in chosen for test in one.tests}))
        print(f"{len(tests)} tests without a mutant, then {len(chosen)} mutants", flush=True)
        code, printed = run(tests, Path(folder, "0"), options.workers, 12 * SECONDS)
        if code:
            print(f"{printed}\nthe tests fail without any mutant", file=sys.stderr)
            return 2

        def one(mutant: Mutant) -> str:
            tree = trees.get()
            try:
                result, seconds = judge(mutant, tree)
            finally:
                trees.put(tree)
            print(f"{result:8} {seconds:5.0f} s  {mutant.name:22} {mutant.what}", flush=True)
            return result

        with concurrent.futures.ThreadPoolExecutor(options.workers) as pool:
            try:
                results = Counter(pool.map(one, chosen))
            except KeyboardInterrupt:
                pool.shutdown(wait=False, cancel_futures=True)
                cancel()
                raise
    print(", ".join(f"{results[kind]} {kind.lower()}" for kind in (KILLED, SURVIVED, INVALID)), f"of {len(chosen)}")
    return 0 if results[KILLED] == len(chosen) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("cancelled")
