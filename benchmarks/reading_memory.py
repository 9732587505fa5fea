"""Ten million transactions: read, cleaned, trained on, judged and promoted, each within 4 GB.

``nox -s bench -- benchmarks/reading_memory.py``. The rows are those of ``RETAIL_DATA`` (the UCI Online Retail set), or generated
ones, repeated with other invoice numbers and customers. The file is a plain CSV of about 800 MB in the temporary folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TEMPLATE = Path(__file__).parent.parent / "{{cookiecutter.project_slug}}"
PATHS = [str(TEMPLATE / "src"), str(TEMPLATE / "starters/pricing/src")]
sys.path[:0] = PATHS


from service import market, reading

ROWS, LIMIT = 10_000_000, 4096.0
STEPS = {"train": "service.training", "evaluate": "service.report", "promote": "service.promotion"}
READ = "import sys; from service import cleaning, reading; print(cleaning.clean(reading.read(sys.argv[1]))[1])"


def main() -> int:
    """Print a row per step; exit code 1 when one takes more than the limit."""
    source = os.environ.get("RETAIL_DATA", "")
    print(f"{ROWS} rows of {Path(source).name if source else 'generated data'}, repeated")
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        file = root / "large.csv"
        _write(file, source)
        print(f"the file has {file.stat().st_size / 1e6:.0f} MB")
        words = {"read and clean": ["-c", READ, str(file)]}
        words |= {name: ["-m", module, "--root", scratch] for name, module in STEPS.items()}
        words["train"] += ["--data", str(file), "--trials", "1"]
        most = {name: _measure(name, one) for name, one in words.items()}
    return 0 if max(most.values()) <= LIMIT else 1


def _write(file: Path, source: str) -> None:
    frame = reading.read(source) if source else market.generate(7)
    for copy in range(-(-ROWS // len(frame))):
        some = frame.iloc[: ROWS - copy * len(frame)]
        invoice, customer = some["invoice"].astype(str), some["customer"].astype(str)
        marked = some.assign(
            invoice=invoice + f"-{copy}", customer=customer.where(customer == "", customer + f"-{copy}")
        )
        marked.to_csv(file, mode="a", header=copy == 0, index=False)


def _measure(name: str, words: list[str]) -> float:
    """The most memory of a process, in MB."""
    began = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, *words], env={**os.environ, "PYTHONPATH": os.pathsep.join(PATHS)}
    ) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{name} failed")
    most = used.ru_maxrss / 1024
    print(f"{name:<16} {time.perf_counter() - began:6.1f} s   {most:6.0f} MB, limit {LIMIT:g}", flush=True)
    return most


if __name__ == "__main__":
    sys.exit(main())
