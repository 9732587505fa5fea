"""Hosts that learn one model together, each a process as in a job's container: one is this process."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from service import dataset, models, registry, together, training

KINDS = {"algo-1": "lightgbm,elasticnet", "algo-2": "lightgbm,network,svr"}


def test_hosts_learn_one_model_together(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both write the same model, which is as good as one host's and another; with the other kinds it makes one training."""
    hosts = tmp_path / "sitecustomize.py"  # what a job's /etc/hosts does
    hosts.write_text("import socket\nsocket.gethostbyname = lambda name: '127.0.0.1'\n")
    monkeypatch.setattr(socket, "gethostbyname", lambda name: "127.0.0.1")
    monkeypatch.setattr(together, "MINUTES", 1)  # that this process waits, if the other one fails
    monkeypatch.setenv("SM_HOSTS", json.dumps(list(KINDS)))
    monkeypatch.setenv("TRAINING_JOB_NAME", f"job-{os.getpid()}-{time.time_ns()}")
    words = ["--trials", "2", "--data", str(small)]
    mine, other = (
        [*words, "--together", "lightgbm", "--root", str(tmp_path / host), "--kinds", kinds]
        for host, kinds in KINDS.items()
    )
    monkeypatch.setenv("SM_CURRENT_HOST", "algo-2")
    path = {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    with subprocess.Popen(
        [sys.executable, "-m", "service.training", *other],
        env={**os.environ, **path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        monkeypatch.setenv("SM_CURRENT_HOST", "algo-1")
        if failed := training.main(mine):
            process.kill()  # it waits for this one
        printed = process.communicate(timeout=120)[0]
    assert (failed, process.returncode) == (0, 0), printed
    merged = tmp_path / "merged"
    for host in KINDS:
        shutil.copytree(tmp_path / host / registry.FOLDER, merged / registry.FOLDER, dirs_exist_ok=True)
    assert training.main(["--root", str(merged), "--collect"]) == 0
    run, _ = registry.last_run(merged)
    made = {known["kind"]: known for _, known in (registry.read(merged, digest) for digest in run.models)}
    assert set(made) == set(models.KINDS)
    assert made["lightgbm"]["hosts"] == 2
    assert training.main(["--root", str(tmp_path / "one"), *words, "--kinds", "lightgbm"]) == 0
    (record,) = (tmp_path / "one" / registry.FOLDER).glob("run-*.json")
    (digest,) = json.loads(record.read_text())["models"]
    assert digest not in run.models
    alone = registry.read(tmp_path / "one", digest)[1]
    assert made["lightgbm"]["score"] == pytest.approx(alone["score"], rel=0.03)


@pytest.mark.parametrize(
    ("words", "variables", "says"),
    [
        (["--together", "svr"], {}, "only lightgbm learns on several hosts together, not svr"),
        (["--together", "lightgbm"], {}, "the hosts of this job are unknown: KeyError('SM_HOSTS')"),
        (["--together", "lightgbm"], {"SM_HOSTS": "algo-1"}, "the hosts of this job are unknown: JSONDecodeError"),
        (["--together", "lightgbm"], {"SM_HOSTS": '["a"]', "SM_CURRENT_HOST": "b"}, "ValueError"),
        (["--together", "lightgbm"], {"SM_HOSTS": '["a.invalid"]', "SM_CURRENT_HOST": "a.invalid"}, "gaierror"),
    ],
)
def test_unknown_hosts_are_refused(
    words: list[str],
    variables: dict[str, str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Outside a job, or with a kind that can't: exit code 1 and the reason, before anything is learned."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert training.main(["--root", str(tmp_path), *words]) == 1
    assert says in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_each_model_has_ports_of_its_own() -> None:
    """Hosts agree on the addresses; none listens on one port twice, also where they share an address."""
    variables = {"SM_HOSTS": '["localhost", "127.0.0.1"]', "TRAINING_JOB_NAME": "job"}
    both = [together.Hosts.of({**variables, "SM_CURRENT_HOST": name}) for name in ("127.0.0.1", "localhost")]
    assert [hosts.rank for hosts in both] == [0, 1]
    seen = [hosts.parameters() for _ in range(50) for hosts in both]
    assert len({one["local_listen_port"] for one in seen}) == 100
    assert all(one["machines"] == other["machines"] for one, other in zip(seen[::2], seen[1::2], strict=True))
    assert all(f"127.0.0.1:{one['local_listen_port']}" in one["machines"].split(",") for one in seen)
    rows = np.arange(7)
    assert sorted(np.concatenate([rows[hosts.rows] for hosts in both])) == rows.tolist()


def test_study_of_several_hosts_is_another(small: Path) -> None:
    """What one host has tried is not continued by two, whose scores differ."""
    found = dataset.load(str(small), 7)
    hosts = together.Hosts.of({"SM_HOSTS": '["localhost", "127.0.0.1"]', "SM_CURRENT_HOST": "localhost"})
    names = {training._study(found, "lightgbm", 7, {}, several) for several in (None, hosts)}
    assert len(names) == 2
