"""Runs in a job's container as ``python3 SOURCE.zip train|prepare|judge``, by the contract of SageMaker's containers.

The archive holds the service's files, and this one as ``__main__.py``. Nothing but Python and the packages of
``requirements/train.txt`` has to be in the image. What is to be done is in ``job.json``, an input of the job.

https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-running-container.html
https://docs.aws.amazon.com/sagemaker/latest/dg/build-your-own-processing-container.html
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections import deque
from pathlib import Path
from typing import Any

ML = Path("/opt/ml")
KEPT_LINES = 5  # of output, in the reason of a failure
KEPT_OF_GATE = 400  # of the gate's output, which the data team gets
NO_PROGRAM = 127  # the exit code of shells for a program that is not there
NOTEBOOK = ".job-notebook.py"  # the place of notebook.py in the archive


def main() -> int:
    """Do what ``job.json`` says; returns the exit code."""
    # The first process of a container ignores SIGTERM unless it has a handler, and would be waited for two minutes.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    home = Path(tempfile.mkdtemp())
    shutil.unpack_archive(sys.argv[0], home, "zip")
    return {"train": train, "prepare": prepare, "judge": judge}[sys.argv[1]](home)


def train(home: Path) -> int:
    """Run the training command on this host's parts, and leave what it wrote in the model's folder."""
    job = json.loads((ML / "input/data/job/job.json").read_text(encoding="utf-8"))
    _link(home, job["datasets"], ML / "input/data")
    if job.get("mode") == "trial":
        return trial(home, job)
    hosts = json.loads((ML / "input/config/resourceconfig.json").read_text(encoding="utf-8"))
    host = hosts["current_host"]
    kept = ML / "checkpoints"
    if job["keeps"] and kept.is_dir():
        (home / job["keeps"]).parent.mkdir(parents=True, exist_ok=True)
        (home / job["keeps"]).symlink_to(kept)
    if "tuned" in job:
        chosen = best(ML / "input/data/trials", job)
        (home / job["tuned"]).parent.mkdir(parents=True, exist_ok=True)
        (home / job["tuned"]).write_text(json.dumps({"best": chosen}, indent=1), encoding="utf-8")
    words = list(job["command"])
    if job["parts"]:
        words += [f"--{job['split']}", ",".join(job["parts"][sorted(hosts["hosts"]).index(host)])]
        if job["together"]:
            words += ["--together", ",".join(job["together"])]
    # As AWS's own toolkit names them: https://github.com/aws/sagemaker-training-toolkit/blob/master/ENVIRONMENT_VARIABLES.md
    os.environ.update(SM_HOSTS=json.dumps(sorted(hosts["hosts"])), SM_CURRENT_HOST=host)
    code, lines = run(words, home)
    if code:
        return failed(f"[train] command exited with code {code}: {_last(lines)}", code)
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
    code, lines = run(words, home, KEPT_OF_GATE)
    if code:
        return failed(f"[tune] command exited with code {code}: {_last(lines)}", code)
    if "metric" in job:  # of a pipeline, in which the training reads the trials
        scores = re.findall(job["metric"], "\n".join(lines))
        tried = {name: value for name, value in values.items() if name in job["spaces"][values["kind"]]}
        document = {"kind": values["kind"], "score": float(scores[-1]) if scores else None, "values": tried}
        (ML / "model/trial.json").write_text(json.dumps(document), encoding="utf-8")
    return 0


def best(folder: Path, job: dict[str, Any]) -> dict[str, Any]:
    """The best trial of each kind of model, with its values as the kind's space has them."""
    found: dict[str, Any] = {}
    sign = 1 if job["goal"] == "minimize" else -1
    for archive in sorted(folder.rglob("model.tar.gz")):
        with tarfile.open(archive) as opened:
            content = opened.extractfile("trial.json")
            tried: dict[str, Any] = json.loads(content.read()) if content else {"score": None}
        if tried["score"] is None:
            continue
        space = job["spaces"][tried["kind"]]
        tried["values"] = {name: _typed(value, space[name]) for name, value in tried["values"].items()}
        known = found.get(tried["kind"])
        if known is None or sign * tried["score"] < sign * known["score"]:
            found[tried["kind"]] = tried
    return found


def _typed(text: str, space: dict[str, Any]) -> Any:
    """A value of a trial, which is a string, as its space has it."""
    if "choices" in space:
        return next((choice for choice in space["choices"] if str(choice) == text), text)
    return int(float(text)) if space.get("whole") else float(text)


def _link(home: Path, datasets: list[str], where: Path) -> None:
    """Put the datasets where their paths lead, below the service's folder."""
    for digest in datasets:
        (home / "data" / digest).mkdir(parents=True, exist_ok=True)
        (home / "data" / digest / "data.parquet").symlink_to(where / digest / "data.parquet")


def prepare(home: Path) -> int:
    """Run the notebook."""
    job = ML / "processing/job/job.json"
    words = ["python", str(home / NOTEBOOK), str(job), str(ML / "processing/out")]
    code, lines = run(words, home)
    made = ML / "processing/out/data.parquet"
    if code or not made.is_file():
        return message(_last(lines), code)
    return message(hashlib.sha256(made.read_bytes()).hexdigest(), 0)


def judge(home: Path) -> int:
    """Run the gate on what the hosts trained; its verdict is the job's message, which a pipeline's condition reads.

    That is the digest of the first model that was promoted, or ``refused``. What the gate printed is in ``evaluation.json``, what
    it wrote in ``model.tar.gz``.
    """
    job = json.loads((ML / "processing/job/job.json").read_text(encoding="utf-8"))
    _link(home, job["datasets"], ML / "processing")
    for name, content in _together(ML / "processing/model/model.tar.gz"):
        place = home / job["writes"] / name
        if place.exists() and place.read_bytes() != content:
            return message(f"two hosts wrote {name}, with different content", 1)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    for what in ("collect", "evaluate"):
        if job[what]:
            code, lines = run(job[what], home)
            if code:
                return message(f"[{what}] command exited with code {code}: {_last(lines)}", code)
    before = _files(home, job["writes"])
    code, lines = run(job["promote"], home, KEPT_OF_GATE)
    after = _files(home, job["writes"])
    wrote = {} if code else {name: content for name, content in after.items() if before.get(name) != content}
    named = re.search(r'^digest *= *"(sha256:[0-9a-f]{64})"', after.get("model.lock", b"").decode(), re.M)
    if not code and not named:
        return message("[promote] command passed, but named no model in model.lock", 1)
    verdict = "refused" if code or not named else named[1]
    removed = [] if code else sorted(set(before) - set(after))
    document = {"verdict": verdict, "printed": lines, "wrote": sorted(wrote), "removed": removed}
    out = ML / "processing/evaluation"
    (out / "evaluation.json").write_text(json.dumps(document, indent=1), encoding="utf-8")
    with tarfile.open(out / "model.tar.gz", "w:gz") as archive:
        for name in sorted(wrote):
            archive.add(home / name, name)
    return message(verdict, 0)


def _together(archive: Path) -> list[tuple[str, bytes]]:
    """What the hosts of a training left, each below a folder with the host's name, which is left out."""
    found = []
    with tarfile.open(archive) as opened:
        for entry in opened:
            name = entry.name.partition("/")[2]
            content = opened.extractfile(entry) if entry.isfile() else None
            if content and name and not name.startswith("/") and ".." not in Path(name).parts:
                found.append((name, content.read()))
    return found


def _files(home: Path, without: str) -> dict[str, bytes]:
    """The service's files, except for datasets, what is compiled and what training wrote."""
    found = {}
    for path in home.rglob("*"):
        name = path.relative_to(home).as_posix()
        skipped = name.startswith((f"{without}/", "data/")) or "__pycache__" in path.parts
        if path.is_file() and not skipped:
            found[name] = path.read_bytes()
    return found


def message(text: str, code: int) -> int:
    """Leave a message where the platform reads it; returns the exit code."""
    (ML / "output").mkdir(exist_ok=True)
    (ML / "output/message").write_text(text[-1000:], encoding="utf-8")
    return code


def run(words: list[str], home: Path, kept: int = KEPT_LINES) -> tuple[int, list[str]]:
    """Run a command in the service's folder; its exit code, and its last lines. A request to stop is passed on."""
    path = [str(home / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "PYTHONUNBUFFERED": "1"}
    last: deque[str] = deque(maxlen=kept)
    if words[0] == "python":
        words = [sys.executable, *words[1:]]
    output: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "errors": "replace"}
    try:
        process = subprocess.Popen(words, cwd=home, env=variables, **output)
    except OSError as error:
        return NO_PROGRAM, [f"{words[0]} can't be run in this image: {error.strerror}"]
    with process:
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        assert process.stdout
        for line in process.stdout:
            print(line, end="", flush=True)
            last.append(line.rstrip())
    code = process.returncode
    return code if code >= 0 else 128 - code, list(last)


def _last(lines: list[str]) -> str:
    """The last lines as one, for a reason."""
    return " | ".join(filter(None, map(str.strip, lines[-KEPT_LINES:])))


def failed(reason: str, code: int) -> int:
    """Leave the reason where the platform reads it; returns the exit code."""
    print(f"✗ {reason}", flush=True)
    (ML / "output").mkdir(exist_ok=True)
    (ML / "output/failure").write_text(reason[:1000], encoding="utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main())
