"""Packages that people put on Lambda: each built by the packer, compared with pip's own tree, imported from a read-only folder.

Promise: what pip would install is there, in name, mode and bytes, but for what pruning leaves out, launchers of console scripts
and pip's own notes; and every module that can be imported from pip's tree can be from the packed one.

It downloads about 3 GB once, needs as much again and an hour, so ``nox -s bench`` runs it only when it is named:

    nox -s bench -- benchmarks/packages.py                      # all, for Python 3.12
    python benchmarks/packages.py --cache ~/packages numpy lxml # some; wheels and locks are kept in that folder

It prints a row per package, and exits with 1 when one of them differs. ``benchmarks/packages.md`` is such a table.
"""

from __future__ import annotations

import argparse
import filecmp
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

from tiny import Tiny
from uv import find_uv_bin

from ml_delivery import config
from ml_delivery.dependencies import envs, locks, wheels
from ml_delivery.errors import PipelineError
from ml_delivery.packing import bundle, import_check, pruning

NAMES = """
aiohttp anthropic argon2-cffi astropy aws-lambda-powertools boto3 catboost cryptography django docutils duckdb faiss-cpu
fastapi gensim geopandas google-cloud-storage grpcio h5py httpx imageio-ffmpeg jinja2 jsonschema langchain-core librosa
lightgbm lxml mangum matplotlib msgpack netcdf4 networkx nltk numba numpy onnxruntime openai
opencv-python-headless openpyxl opentelemetry-exporter-otlp-proto-http opentelemetry-sdk orjson pandas pikepdf pillow
playwright polars prophet protobuf psycopg2-binary psycopg[binary] pyarrow pycryptodome pydantic pymongo pymupdf pymysql pynacl
pyogrio python-jose[cryptography] pyyaml pyzmq rasterio redis reportlab requests ruff scikit-image scikit-learn scipy
sentencepiece sentry-sdk shapely spacy sqlalchemy statsmodels sympy tiktoken tokenizers tornado transformers ujson
weasyprint xgboost-cpu zstandard
""".split()  # noqa: SIM905  # one line each would be a page
ARCHITECTURE, GLIBC = "x86_64", 34
# What pip notes about itself, and the launchers that it makes, whose first line names this machine's interpreter.
NOTES = re.compile(r"[^/]+\.dist-info/(INSTALLER|RECORD|REQUESTED|direct_url\.json)")
SKIPPED = {"__main__", "bin", "conftest", "setup", "test", "tests"}
LAUNCHER = re.compile(rb"sys\.exit\([\w.]+\(\)\)")


@dataclass
class Row:
    """What became of one package with all that it needs; sizes in bytes."""

    name: str
    packages: int = 0
    files: int = 0
    pruned: int = 0
    size: int = 0
    saved: int = 0
    launchers: int = 0
    modules: int = 0
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        numbers = (self.packages, self.files, f"{self.size / 1e6:.1f}", self.pruned, f"{self.saved / 1e6:.1f}")
        words = [self.name, *numbers, self.launchers, self.modules, f"{self.seconds:.0f}"]
        return "| " + " | ".join(map(str, [*words, "; ".join([*self.faults, *self.notes]) or "same"])) + " |"


HEAD = """\
| package | with | files | MB | pruned | MB | launchers | modules | s | result |
|---|---|---|---|---|---|---|---|---|---|"""


def main() -> int:
    """Print the table; returns exit code 1 if a package differs from pip's."""
    parser = argparse.ArgumentParser(description="Compare packed packages with pip's.")
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--python", default="3.12")
    parser.add_argument("--cache", type=Path, default=ROOT / ".pipeline/bench/packages")
    asked = parser.parse_args()
    os.environ["PIPELINE_CACHE"] = str(asked.cache.absolute())
    python = envs.find_python(asked.python)
    print(HEAD, flush=True)
    faults = 0
    for name in asked.names:
        with tempfile.TemporaryDirectory() as scratch:
            row = compared(name, python, asked.python, asked.cache.absolute(), Path(scratch))
        faults += bool(row.faults)
        print(row, flush=True)
    return 1 if faults else 0


def compared(name: str, python: Path, version: str, cache: Path, scratch: Path) -> Row:
    """One package and all that it needs: packed, installed by pip, compared, imported."""
    row = Row(name)
    began = time.perf_counter()
    lock = locked(name, version, cache / "locks")
    (scratch / "state").mkdir()
    tiny = Tiny(scratch / "service", scratch / "state", "packages")
    tiny.replace(
        "pipeline.toml", f'python = "{sys.version_info.major}.{sys.version_info.minor}"', f'python = "{version}"'
    )
    try:
        made = bundle.make(config.load(tiny.root), lock, python, GLIBC, frozenset())
    except PipelineError as error:
        row.faults.append(str(error).replace("\n", " "))
        return row
    pins = locks.for_target(locks.read(lock), version, ARCHITECTURE)
    found = wheels.fetch(pins, wheels.Platform(version, ARCHITECTURE, GLIBC), cache / "wheels")
    ours, theirs = scratch / "ours", scratch / "theirs"
    subprocess.run(["unzip", "-q", str(made.archive), "-d", str(ours)], check=True)
    words = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--no-compile",
    ]
    subprocess.run([*words, "--no-warn-script-location", "--target", str(theirs), *map(str, found)], check=True)
    row.packages, row.files, row.size = len(found), len(made.listed), sum(one.size for one in made.contents)
    row.pruned = sum(one.files for one in made.differences.pruned)
    row.saved = sum(one.size for one in made.differences.pruned)
    row.notes += [f"{one.module}: {one.reason}" for one in made.differences.unimported]
    row.notes += [f"{one.path} is {one.by}'s, not {one.package}'s" for one in made.differences.replaced]
    trees(ours, theirs, row)
    records(ours, row)
    modules(pins[0].name if len(pins) == 1 else re.sub(r"\[.*", "", name), ours, theirs, python, row)
    made.archive.unlink()
    row.seconds = time.perf_counter() - began
    return row


def locked(name: str, version: str, folder: Path) -> Path:
    """The lock of a package, made once."""
    path = folder / f"{re.sub(r'[^a-z0-9]+', '_', name).strip('_')}-{version}.txt"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        words = [
            find_uv_bin(),
            "pip",
            "compile",
            "-",
            "--universal",
            "--generate-hashes",
            "--no-annotate",
            "--no-header",
        ]
        words += [
            "--only-binary",
            ":all:",
            "--python-version",
            version,
            "--no-emit-index-url",
            "--no-emit-find-links",
            "--quiet",
        ]
        path.write_text(subprocess.run(words, input=name, check=True, capture_output=True, text=True).stdout)
    return path


def trees(ours: Path, theirs: Path, row: Row) -> None:
    """Compare name, mode and bytes of each file."""
    mine, pips = ({p.relative_to(top).as_posix() for p in top.rglob("*") if p.is_file()} for top in (ours, theirs))
    rules = pruning.Rules()
    for path in sorted(pips - mine):
        if path.startswith("bin/") and LAUNCHER.search((theirs / path).read_bytes()):
            row.launchers += 1
        elif not (rules.pruning(path) or NOTES.fullmatch(path) or path.endswith(".pyc")):
            row.faults.append(f"lacks {path}")
    for path in sorted(mine - pips):
        if not ("__pycache__/" in path and path.endswith(".pyc")):
            row.notes.append(f"has {path}")
    for path in sorted(mine & pips):
        if NOTES.fullmatch(path) or path.endswith(
            ".pyc"
        ):  # the build compiles anew, as pip does when it is not kept from it
            continue
        if (ours / path).stat().st_mode & 0o777 not in (0o644, 0o755):
            row.faults.append(f"{path} has mode {(ours / path).stat().st_mode:o}")
        if os.access(ours / path, os.X_OK) != os.access(theirs / path, os.X_OK):
            row.faults.append(f"{path} has another mode")
        if not filecmp.cmp(ours / path, theirs / path, shallow=False):
            first = (theirs / path).open("rb").readline()
            if not (path.startswith("bin/") and first.startswith(b"#!")):
                row.faults.append(f"{path} has other bytes")


def records(ours: Path, row: Row) -> None:
    """Each file of each RECORD is there, with its size and digest; and no file is in none."""
    listed = set()
    for found in importlib.metadata.distributions(path=[str(ours)]):
        for file in found.files or ():
            place = ours / str(file)
            listed.add(str(file))
            if not place.is_file() or (file.size is not None and place.stat().st_size != file.size):
                row.faults.append(f"RECORD of {found.name} names {file}, which is not there")
    there = {path.relative_to(ours).as_posix() for path in ours.rglob("*") if path.is_file()}
    row.faults += [f"{path} is in no RECORD" for path in sorted(there - listed)[:3]]


def modules(name: str, ours: Path, theirs: Path, python: Path, row: Row) -> None:
    """Import every module of the package itself; what fails must fail in pip's tree too."""
    own = [
        found
        for found in importlib.metadata.distributions(path=[str(ours)])
        if locks.canonicalize_name(found.name) == name
    ]
    files = [str(file) for found in own for file in found.files or ()]
    wanted = []
    for path in sorted(files):
        stem, _, suffix = path.rpartition("/")[2].partition(".")
        parts = [*path.split("/")[:-1], *([] if stem == "__init__" else [stem])]
        skipped = any(not p.isidentifier() or p in SKIPPED or p.startswith("test_") for p in parts)
        if (
            suffix.endswith(("py", "so"))
            and parts
            and not skipped
            and not (suffix.endswith("so") and "." not in suffix)
        ):
            wanted.append(".".join(parts))
    home = ours.parent / "home"
    home.mkdir()
    row.modules = len(wanted)
    for folder in (ours, theirs):
        for top, _, names in os.walk(folder):
            for each in names:
                place = Path(top, each)
                place.chmod(0o555 if os.access(place, os.X_OK) else 0o444)
        import_check.seal(folder)
    broken = import_check.imports(python, wanted, ours, home, home)
    whole = import_check.imports(python, list(broken), theirs, home, home) if broken else {}
    row.faults += [f"{module}: {fault.reason}" for module, fault in broken.items() if module not in whole]
    for folder in (ours, theirs):
        import_check.seal(folder, open_again=True)
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
