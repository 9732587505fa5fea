"""Build and push of an image after one changed source line, without an engine; beside docker, which copies all and installs.

Promises: at most 200 KB travel, at least 5 times faster than the other order, and under 200 MB unpacked above the base. Both
build the same service with the same pinned packages on the same base and push to the same registry; both have done it once
before. Whole processes: ours are ``invoke build`` and ``invoke push``. A third row, without a promise, is ``docker build`` alone of
our own Dockerfile, given the archives that our build has just made, beside all of ``invoke build``, which makes them.
Needs an engine: ``tests/engine.sh make bench``.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

import pip
from base_registry import BaseRegistry
from build_time import HANDLER, NEEDS
from tiny import BASE, PRICING, Tiny

from ml_delivery import emulator
from ml_delivery.containers import engines, packer
from ml_delivery.containers.registry import Registry
from ml_delivery.errors import PipelineError

RUNS = 3
FACTOR = 5
BYTES = 200_000
UNPACKED = 200_000_000
# The other's base has pip, and the certificates of this machine, by which it finds packages.
BENCH_BASE = (
    f"FROM {BASE}\nCOPY pip /var/runtime/pip\nCOPY certificates.crt /certificates.crt\nENV PIP_CERT=/certificates.crt\n"
)
OTHER = """\
FROM bench-base
COPY . /var/task/
RUN python3 -m pip install --no-cache-dir -r requirements.txt --target /var/task
CMD ["service.handler.handler"]
"""


def main() -> int:
    """Print both rows; exit code 1 when a promise is missed."""
    try:
        engine = engines.find()
        engine.inspect(BASE)
    except PipelineError as error:
        sys.exit(f"✗ this needs an engine with {BASE}: {error}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "state").mkdir()
        os.environ["PIPELINE_CACHE"] = str(ROOT / ".pipeline/cache")
        service = Tiny(folder / "service", folder / "state", "bench")
        service.box()
        service.write("src/service/handler.py", HANDLER)
        service.write("requirements/serve.txt", (PRICING / "requirements/serve.txt").read_text())
        bases = BaseRegistry(token=True)
        bases.put_saved("1", BASE)
        base = f"{bases.host}/base:1"
        docker("tag", BASE, base)
        service.write("pipeline.toml", f'{(service.root / "pipeline.toml").read_text()}\n[build]\nbase = "{base}"\n')
        service.commit()
        try:
            return measure(service, folder)
        finally:
            docker("rmi", base)
            bases.close()
            emulator.down(service.root)


def measure(service: Tiny, folder: Path) -> int:
    """Both, one after the other in each round, each with a change of its own."""
    ours(service)
    registry = Registry(service.open())
    other = Other(service, folder / "other", registry)
    other.run(0)
    same(service, folder / "same")
    times: dict[str, list[float]] = {"ours": [], "build": [], "docker": [], "other": []}
    sent: dict[str, list[int]] = {"ours": [], "other": []}
    for number in range(1, RUNS + 1):
        service.write("src/service/handler.py", f"{HANDLER}\nRUN = {number}\n")
        before = service.git("rev-parse", "HEAD")
        service.commit()
        times["build"].append(timed(lambda: service.invoke("build")))
        times["docker"].append(same(service, folder / "same"))
        times["ours"].append(times["build"][-1] + timed(lambda: service.invoke("push")))
        sent["ours"].append(travelled(registry, before, service.git("rev-parse", "HEAD")))
        times["other"].append(timed(lambda number=number: other.run(number)))
        sent["other"].append(travelled(registry, f"other-{number - 1}", f"other-{number}"))
    manifest = json.loads((service.root / "build/manifest.json").read_text())
    median = {name: statistics.median(found) for name, found in times.items()}
    ratio, above = median["other"] / median["ours"], median["docker"] / median["build"]
    for name, words in (("ours", "invoke build, push"), ("other", "copy all, then pip install")):
        print(f"{words:<28} {median[name]:6.2f} s  {max(sent[name]) / 1000:10.1f} KB pushed")
    print(f"{ratio:.1f} times faster (promise: {FACTOR}); {manifest['unzipped'] / 1e6:.1f} MB unpacked above the base")
    given = f"docker build, given the archives: {median['docker']:.2f} s, {above:.1f} times that"
    print(f"{'invoke build, no engine':<28} {median['build']:6.2f} s; {given}")
    good = ratio >= FACTOR and max(sent["ours"]) <= BYTES and manifest["unzipped"] < UNPACKED
    return 0 if good else 1


def ours(service: Tiny) -> None:
    """As a user types it."""
    service.invoke("build")
    service.invoke("push")


def same(service: Tiny, folder: Path) -> float:
    """The seconds of docker for the same Dockerfile, the archives of the last build and its base."""
    manifest = json.loads((service.root / "build/manifest.json").read_text())
    blobs = service.root / "build/image/blobs"
    layers = json.loads((blobs / manifest["digest"].replace(":", "/")).read_text())["layers"]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, layer in zip(packer.ARCHIVES.values(), layers[-len(packer.ARCHIVES) :], strict=True):
        shutil.copy(blobs / layer["digest"].replace(":", "/"), folder / name)
    words = ["build", "--file", str(service.root / "Dockerfile.lambda"), "--tag", "bench-same", str(folder)]
    return timed(lambda: docker(*words, "--build-arg", f"BASE={manifest['base'].partition('@')[0]}"))


class Other:
    """The same service by the other Dockerfile; its image goes into the same repository, under tags of its own."""

    def __init__(self, service: Tiny, folder: Path, registry: Registry) -> None:
        self.service, self.folder, self.registry = service, folder, registry
        self.config = folder.parent / "docker-config"
        self.config.mkdir()
        host = registry.address.partition("/")[0]
        login = {"auths": {host: {"auth": registry._token}}}
        (self.config / "config.json").write_text(json.dumps(login))
        base = folder.parent / "base"
        shutil.copytree(Path(pip.__file__).parent, base / "pip")
        shutil.copy(os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"), base / "certificates.crt")
        (base / "Dockerfile").write_text(BENCH_BASE)
        docker("build", "--tag", "bench-base", str(base))

    def run(self, number: int) -> None:
        """Build and push."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.service.root / "src", self.folder)
        shutil.copytree(self.service.root / "models", self.folder / "models")
        shutil.copy(self.service.root / "model.lock", self.folder)
        (self.folder / "requirements.txt").write_text("\n".join(NEEDS) + "\n")
        (self.folder / "Dockerfile").write_text(OTHER)
        tag = f"{self.registry.address}:other-{number}"
        docker("build", "--network", "host", "--tag", tag, str(self.folder))
        docker("--config", str(self.config), "push", "--quiet", tag)


def docker(*words: str) -> None:
    """Run docker; its last words end this when it fails."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"✗ docker {words[0]}: {(done.stdout + done.stderr)[-1000:]}")


def timed(work: object) -> float:
    """Seconds."""
    began = time.perf_counter()
    work()  # type: ignore[operator]
    return time.perf_counter() - began


def travelled(registry: Registry, old: str, new: str) -> int:
    """The bytes of what the image ``new`` names and ``old`` does not, manifest included."""
    before, after = registry.find(old), registry.find(new)
    assert before is not None
    assert after is not None
    known = {blob["digest"] for blob in (before.manifest["config"], *before.manifest["layers"])}
    blobs = [after.manifest["config"], *after.manifest["layers"]]
    new_bytes: int = sum(blob["size"] for blob in blobs if blob["digest"] not in known)
    return new_bytes + len(json.dumps(after.manifest))


if __name__ == "__main__":
    sys.exit(main())
