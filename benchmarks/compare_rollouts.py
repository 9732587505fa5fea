"""Five broken releases, deployed by kubectl, by Helm and by ``invoke deploy`` to the same cluster, from the same image.

It prints a table: seconds until the command names the cause, or how long it waited without naming it; what serves meanwhile; what
its rollback restores. Run it with ``tests/engine.sh tests/cluster.sh .venv/bin/nox -s bench -- benchmarks/compare_rollouts.py``.
Helm is measured where it is on the PATH.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

from podding import Podded
from tiny import Tiny

from ml_delivery import emulator
from ml_delivery.errors import PipelineError
from ml_delivery.release import deploy

SPACE, NAME = "beside", "beside"
SECONDS = 20  # the time that each tool is given
# What is broken, and what names it.
BROKEN = {
    "image that is not in the registry": "not found|missing|ErrImagePull|ImagePullBackOff",
    "process exits at start": "no such luck|exited with code|CrashLoopBackOff",
    "never ready": "503|not ready after",
    "too little memory": "memory|OOM",
    "quota": "exceeded quota",
}
VARIABLES = {
    "process exits at start": {"BAD": "raises"},
    "never ready": {"BAD": "unready"},
    "too little memory": {"BAD": "hungry"},
}


@dataclass
class Row:
    """What one tool did with one broken release."""

    seconds: float
    named: bool
    serves: str


class Beside:
    """kubectl and Helm, in a namespace of their own beside the service's."""

    def __init__(self, service: Podded, folder: Path, image: str) -> None:
        self.service, self.folder, self.image = service, folder, image
        self.service.client.write("POST", "/api/v1/namespaces", {"metadata": {"name": SPACE}})
        chart = folder / "chart"
        (chart / "templates").mkdir(parents=True)
        (chart / "Chart.yaml").write_text(f"apiVersion: v2\nname: {NAME}\nversion: 0.1.0\n")

    def objects(self, broken: str = "", level: str = "INFO") -> list[dict[str, Any]]:
        """A ConfigMap, a Deployment and a Service as most guides have them."""
        # Always with BAD: a variable that a failed upgrade of Helm has added stays through the next upgrade without it.
        env = {"NOTE": broken or level, "RELEASE_NUMBER": "1", "BAD": "", **VARIABLES.get(broken, {})}
        image = f"{self.image.partition('@')[0]}@sha256:{'0' * 64}" if broken.startswith("image") else self.image
        container = {
            "name": "service",
            "image": image,
            "env": [{"name": key, "value": value} for key, value in env.items()],
            "envFrom": [{"configMapRef": {"name": NAME}}],
            "ports": [{"containerPort": 8080, "protocol": "TCP"}],
            "resources": {"limits": {"memory": "96Mi"}},
            "readinessProbe": {"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 1},
        }
        marks = {"app": NAME}
        spec = {
            "replicas": 1,
            "selector": {"matchLabels": marks},
            "template": {"metadata": {"labels": marks}, "spec": {"containers": [container]}},
        }
        ports = [{"port": 80, "targetPort": 8080, "protocol": "TCP", "name": "http"}]
        kinds: list[tuple[str, str, dict[str, Any]]] = [
            ("v1", "ConfigMap", {"data": {"LOG_LEVEL": level}}),
            ("apps/v1", "Deployment", {"spec": spec}),
            ("v1", "Service", {"spec": {"selector": marks, "ports": ports}}),
        ]
        return [{"apiVersion": api, "kind": kind, "metadata": {"name": NAME}, **rest} for api, kind, rest in kinds]

    def run(self, *words: str) -> tuple[str, bool]:
        """Run a command with a kubeconfig of the cluster's administrator; what it printed, and whether it succeeded."""
        found = self.service.cluster.describe()
        cluster = {"server": found["endpoint"], "certificate-authority-data": found["certificateAuthority"]["data"]}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "x",
            "clusters": [{"name": "x", "cluster": cluster}],
            "users": [{"name": "x", "user": {"token": self.service.cluster.token()}}],
            "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x", "namespace": SPACE}}],
        }
        file = self.folder / "kubeconfig"
        file.touch(0o600)
        file.write_text(json.dumps(config))
        done = subprocess.run(
            words, capture_output=True, text=True, check=False, env={**os.environ, "KUBECONFIG": str(file)}
        )
        return done.stdout + done.stderr, done.returncode == 0

    def kubectl(self, broken: str = "", level: str = "INFO") -> tuple[str, bool]:
        """``kubectl apply``, then ``kubectl rollout status``."""
        file = self.folder / "objects.json"
        file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": self.objects(broken, level)}))
        applied, _ = self.run("kubectl", "apply", "--filename", str(file))
        status, passed = self.run("kubectl", "rollout", "status", f"deployment/{NAME}", f"--timeout={SECONDS}s")
        return applied + status, passed

    def helm(self, broken: str = "", level: str = "INFO") -> tuple[str, bool]:
        """``helm upgrade --install --wait``."""
        for found in self.objects(broken, level):
            (self.folder / f"chart/templates/{found['kind']}.yaml").write_text(json.dumps(found))
        return self.run(
            "helm", "upgrade", "--install", NAME, str(self.folder / "chart"), "--wait", f"--timeout={SECONDS}s"
        )

    def serves(self) -> str:
        """What answers in the namespace, and its LOG_LEVEL."""
        with suppress(PipelineError):
            path = f"/api/v1/namespaces/{SPACE}/services/{NAME}:http/proxy/variables"
            found = self.service.client.get(path) or {}
            return f"{found['NOTE']}, LOG_LEVEL {found['LOG_LEVEL']}"
        return "nothing"


def quota(service: Podded, namespace: str, pods: int) -> None:
    """Let the namespace have so many pods; 0 for any number."""
    path = f"/api/v1/namespaces/{namespace}/resourcequotas"
    service.client.delete(f"{path}/few")
    if pods:
        service.client.write("POST", path, {"metadata": {"name": "few"}, "spec": {"hard": {"pods": str(pods)}}})
        time.sleep(1)  # until its controller has counted: before, pods are refused as of unknown quota, not as too many


def beside(tool: Beside, roll: Callable[..., tuple[str, bool]], undo: list[str]) -> tuple[dict[str, Row], str]:
    """The rows of kubectl or Helm, and what its rollback restores."""
    said, passed = roll()
    assert passed, said
    rows = {}
    for broken, names in BROKEN.items():
        quota(tool.service, SPACE, 1 if broken == "quota" else 0)
        began = time.monotonic()
        said, passed = roll(broken)
        assert not passed, (broken, said)
        rows[broken] = Row(time.monotonic() - began, bool(re.search(names, said)), tool.serves())
        print(f"{undo[0]}, {broken}: {_cell(rows[broken])}", flush=True)
        quota(tool.service, SPACE, 0)
        roll()
        settled, passed = tool.run("kubectl", "rollout", "status", f"deployment/{NAME}", "--timeout=120s")
        assert passed, settled
    roll("", "DEBUG")
    tool.run(*undo)
    tool.run("kubectl", "rollout", "status", f"deployment/{NAME}", "--timeout=60s")
    time.sleep(
        3
    )  # the pod that is replaced still answers while it is being ended, which `rollout status` does not wait for
    restored = tool.serves()
    tool.run("kubectl", "delete", "all,configmaps", "--all", "--wait")
    return rows, restored


def ours(service: Podded) -> tuple[dict[str, Row], str]:
    """The same by ``invoke deploy``, in this process."""
    rows = {}
    for broken, names in BROKEN.items():
        quota(service, service.name, 1 if broken == "quota" else 0)
        opened = service.open(NOTE=broken, **VARIABLES.get(broken, {}))
        ecr, artifact = opened.cloud.client("ecr"), opened.artifact()
        image: Any = {}
        if broken.startswith("image"):
            named = {"repositoryName": service.name, "imageIds": [{"imageTag": artifact.version}]}
            (image,) = ecr.batch_get_image(**named)["images"]
            ecr.batch_delete_image(**named)
        began, said = time.monotonic(), ""
        try:
            deploy.deploy(opened, lambda _: None)
        except PipelineError as error:
            said = error.message
        seconds = time.monotonic() - began
        if image:
            ecr.put_image(repositoryName=service.name, imageManifest=image["imageManifest"], imageTag=artifact.version)
        answer = json.loads(service.deployer.call("/variables").body)
        rows[broken] = Row(seconds, bool(re.search(names, said)), f"{answer['NOTE']}, LOG_LEVEL {answer['LOG_LEVEL']}")
        print(f"invoke deploy, {broken}: {_cell(rows[broken])}", flush=True)
        quota(service, service.name, 0)
    service.deploy(NOTE="DEBUG", LOG_LEVEL="DEBUG")
    service.rollback()
    answer = json.loads(service.deployer.call("/variables").body)
    return rows, f"{answer['NOTE']}, LOG_LEVEL {answer['LOG_LEVEL']}"


def main() -> int:
    """Print the table; exit code 1 where ``invoke deploy`` did not name a cause."""
    if not os.environ.get("PIPELINE_CLUSTER") or not shutil.which("kubectl"):
        print(
            "NOT MEASURED: this machine has no cluster (tests/cluster.sh prepares one), or no kubectl", file=sys.stderr
        )
        return 0
    with tempfile.TemporaryDirectory() as folder:
        (shared := Path(folder, "shared")).mkdir()
        tiny = Tiny(Path(folder, "service"), shared, "compared")
        try:
            service = Podded(tiny, cpu=200)
            service.deploy(NOTE="INFO")
            artifact = service.open().artifact()
            tools = {"invoke deploy": ours(service)}
            tool = Beside(service, Path(folder), artifact.location)
            tools["kubectl"] = beside(tool, tool.kubectl, ["kubectl", "rollout", "undo", f"deployment/{NAME}"])
            if shutil.which("helm"):
                tools["Helm"] = beside(tool, tool.helm, ["helm", "rollback", NAME, "--wait"])
        finally:
            emulator.down(tiny.root)
    print(f"| release | {' | '.join(tools)} |\n|---|{'---|' * len(tools)}")
    for broken in BROKEN:
        cells = [rows[broken] for rows, _ in tools.values()]
        print(f"| {broken} | {' | '.join(_cell(row) for row in cells)} |")
    print(f"| a rollback restores | {' | '.join(restored for _, restored in tools.values())} |")
    return 0 if all(row.named for row in tools["invoke deploy"][0].values()) else 1


def _cell(row: Row) -> str:
    named = f"{row.seconds:.1f} s" if row.named else f"not named in {row.seconds:.0f} s"
    return f"{named}; {row.serves} serves"


if __name__ == "__main__":
    sys.exit(main())
