"""Runs in a job's container as ``python3 SOURCE.zip train|prepare``, by the contract of SageMaker's containers.

The archive holds the service's files, and this one as ``__main__.py``. Nothing but Python and the packages of
``requirements/train.txt`` has to be in the image. What is to be done is in ``job.json``, an input of the job.

https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-running-container.html
https://docs.aws.amazon.com/sagemaker/latest/dg/build-your-own-processing-container.html
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections import deque
from pathlib import Path
from typing import Any

ML = Path("/opt/ml")
KEPT_LINES = 5  # of output, in the reason of a failure
NOTEBOOK = ".job-notebook.py"  # the place of notebook.py in the archive


def main() -> int:
    """Do what ``job.json`` says; returns the exit code."""
    home = Path(tempfile.mkdtemp())
    with zipfile.ZipFile(sys.argv[0]) as archive:
        archive.extractall(home)
    return train(home) if sys.argv[1] == "train" else prepare(home)


def train(home: Path) -> int:
    """Run the training command on this host's parts, and leave what it wrote in the model's folder."""
    job = json.loads((ML / "input/data/job/job.json").read_text(encoding="utf-8"))
    _link(home, job["datasets"])
    if job.get("mode") == "trial":
        return trial(home, job)
    hosts = json.loads((ML / "input/config/resourceconfig.json").read_text(encoding="utf-8"))
    host = hosts["current_host"]
    kept = ML / "checkpoints"
    if job["keeps"] and kept.is_dir():
        (home / job["keeps"]).parent.mkdir(parents=True, exist_ok=True)
        (home / job["keeps"]).symlink_to(kept)
    words = list(job["command"])
    if job["parts"]:
        words += [f"--{job['split']}", ",".join(job["parts"][sorted(hosts["hosts"]).index(host)])]
    code, last = run(words, home)
    if code:
        return failed(f"[train] command exited with code {code}: {last}", code)
    made = home / job["writes"]
    files = [path for path in sorted(made.rglob("*")) if path.is_file()] if made.is_dir() else []
    if not files:
        return failed(f"[train] command wrote nothing into {job['writes']} ([jobs] writes)", 1)
    for path in files:  # below a folder for each host, since the archive of the model has one place for each name
        place = ML / "model" / host / path.relative_to(made)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
    return 0


def trial(home: Path, job: dict[str, Any]) -> int:
    """Evaluate the values of a trial of a tuning job, whose own hyperparameters begin with an underscore."""
    values = json.loads((ML / "input/config/hyperparameters.json").read_text(encoding="utf-8"))
    words = [*job["command"]]
    for name, value in sorted(values.items()):
        if not name.startswith("_"):
            words += [f"--{name}", value]
    code, last = run(words, home)
    return failed(f"[tune] command exited with code {code}: {last}", code) if code else 0


def _link(home: Path, datasets: list[str]) -> None:
    """Put the datasets where their paths lead, below the service's folder."""
    for digest in datasets:
        (home / "data" / digest).mkdir(parents=True, exist_ok=True)
        (home / "data" / digest / "data.parquet").symlink_to(ML / "input/data" / digest / "data.parquet")


def prepare(home: Path) -> int:
    """Run the notebook."""
    job = ML / "processing/job/job.json"
    words = ["python", str(home / NOTEBOOK), str(job), str(ML / "processing/out")]
    code, last = run(words, home)
    (ML / "output").mkdir(exist_ok=True)
    if code:
        (ML / "output/message").write_text(last[-1000:], encoding="utf-8")
    return code


def run(words: list[str], home: Path) -> tuple[int, str]:
    """Run a command in the service's folder; its exit code, and its last lines. A request to stop is passed on."""
    path = [str(home / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "PYTHONUNBUFFERED": "1"}
    last: deque[str] = deque(maxlen=KEPT_LINES)
    if words[0] == "python":
        words = [sys.executable, *words[1:]]
    with subprocess.Popen(
        words, cwd=home, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        # The first process of a container ignores SIGTERM unless it has a handler.
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        assert process.stdout
        for line in process.stdout:
            print(line, end="", flush=True)
            last.append(line.strip())
    code = process.returncode
    return code if code >= 0 else 128 - code, " | ".join(filter(None, last))


def failed(reason: str, code: int) -> int:
    """Leave the reason where the platform reads it; returns the exit code."""
    print(f"✗ {reason}", flush=True)
    (ML / "output").mkdir(exist_ok=True)
    (ML / "output/failure").write_text(reason[:1000], encoding="utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main())
