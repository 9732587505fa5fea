"""Ten builds of one commit, each by someone whose machine differs in all that it may: one digest, one manifest."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import interpreters
import pytest
from tiny import PRICING, PYTHON, ROOT, Tiny

BUILD = """\
import pathlib, sys
from ml_delivery import config
from ml_delivery.artifact import build
build.build(config.load(pathlib.Path(sys.argv[1])))
"""
# Imported by Python at its start: another compressor, as zlib-ng is one.
COMPRESSOR = """\
import zlib
fast, whole = zlib.compressobj, zlib.compress
zlib.compressobj = lambda level=-1, *more, **named: fast(1, *more, **named)
zlib.compress = lambda data, level=-1, wbits=15, **named: whole(data, 1, wbits)
"""
PYTHONS = {
    "PYTHONOPTIMIZE": "2",
    "PYTHONNODEBUGRANGES": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONPYCACHEPREFIX": "/nonexistent/elsewhere",
    "PYTHONHASHSEED": "7",
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "0",
    "PYTHONWARNINGS": "error::SyntaxWarning",
}
PLACES = {"TZ": "Asia/Kolkata", "LC_ALL": "tr_TR.UTF-8", "LANG": "C", "SOURCE_DATE_EPOCH": "7", "TMPDIR": "{scratch}"}
NETWORK = {
    "HTTP_PROXY": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "PIP_INDEX_URL": "http://127.0.0.1:9",
}
GITS = {"GIT_DIR": "/nonexistent/.git", "GIT_INDEX_FILE": "/nonexistent/index", "GIT_WORK_TREE": "/nonexistent"}
# Another user, who may nevertheless read this one's interpreters.
OTHER_USER = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
OTHER_USER += ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]


@dataclass(frozen=True)
class Machine:
    """How one build differs: options of the clone, commands in it, the pipeline's Python, variables, umask, cache, user."""

    clone: tuple[str, ...] = ()
    then: tuple[str, ...] = ()
    python: str = PYTHON
    variables: dict[str, str] = field(default_factory=dict)
    umask: int = 0o022
    warm: bool = False
    other_user: bool = False
    folder: str = "clone"


MACHINES = {
    "a warm cache": Machine(warm=True),
    "CRLF, and a private umask": Machine(clone=("-c", "core.autocrlf=true"), umask=0o077),
    "a sparse checkout, elsewhere in the world": Machine(
        then=("sparse-checkout set --no-cone /pipeline.toml",), variables=PLACES
    ),
    "a shallow clone with a broken network": Machine(clone=("--depth=1",), variables=NETWORK, warm=True),
    "a partial clone, at a tag of the branch's name": Machine(
        clone=("--filter=blob:none", "--no-checkout"), then=("tag main", "checkout --quiet --detach refs/heads/main")
    ),
    "a hook's variables, in a folder with a blank": Machine(variables=GITS, folder="größe and blank"),
    "a hostile Python": Machine(variables=PYTHONS, umask=0o000),
    "another compressor": Machine(variables={"PYTHONPATH": "{scratch}/compressor"}),
    "another user": Machine(other_user=True, umask=0o077),
    **{
        f"a pipeline on {v}": Machine(python=v, variables={**PYTHONS, **PLACES})
        for v in interpreters.VERSIONS
        if v != PYTHON
    },
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A service with a dependency, a model of text, and a module with a name that not every encoding has."""
    folder = tmp_path_factory.mktemp("ten")
    (folder / "state").mkdir()
    made = Tiny(folder / "service", folder / "state", "ten")
    made.model(b"a model\nof two lines\n")
    made.write(
        "src/service/größe.py",
        'WANTED = {"ı", "İ"}\n\n\ndef check(name):\n    """Is it?"""\n    assert name in WANTED\n',
    )
    lines = (PRICING / "requirements/serve.txt").read_text().replace("\\\n", "").splitlines()
    made.write("requirements/serve.txt", "".join(f"{line}\n" for line in lines if line.startswith("click==")))
    made.commit()
    made.git("config", "uploadpack.allowFilter", "true")
    return made


@pytest.fixture(scope="module")
def first(service: Tiny) -> dict[str, object]:
    """The manifest of the first build, whose cache was empty."""
    return built(service.root, service.root.parent / "cache", Machine())


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that another user can reach too."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def built(root: Path, cache: Path, machine: Machine) -> dict[str, object]:
    """The manifest of a build in a process of its own."""
    python = Path(sys.executable) if machine.python == PYTHON else interpreters.require(machine.python)
    scratch = root.parent
    variables = {name: value.format(scratch=scratch) for name, value in machine.variables.items()}
    path = [str(ROOT / "src"), sysconfig.get_path("purelib"), variables.pop("PYTHONPATH", "")]
    hidden = ("PIPELINE_", "PYTHON", "GIT_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    env |= {
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        "PIPELINE_CACHE": str(cache),
        "HOME": str(scratch),
        **variables,
    }
    words = [*(OTHER_USER if machine.other_user else []), str(python), "-c", BUILD, str(root)]
    done = subprocess.run(words, env=env, check=False, capture_output=True, text=True, umask=machine.umask)
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads((root / "build/manifest.json").read_bytes())
    return found


@pytest.mark.parametrize("name", MACHINES)
def test_same_commit_gives_the_same_bytes_whoever_builds(
    service: Tiny, first: dict[str, object], place: Path, name: str
) -> None:
    """Whatever differs between two machines is neither in the artifact, nor in what is recorded of it."""
    machine = MACHINES[name]
    if machine.other_user and (os.geteuid() != 0 or not shutil.which("setpriv")):
        pytest.skip("only root, with setpriv, can build as another user")
    clone, cache = place / machine.folder, place / "cache"
    (place / "compressor").mkdir()
    (place / "compressor/sitecustomize.py").write_text(COMPRESSOR)
    words = ["git", "clone", "--quiet", *machine.clone, f"file://{service.root}", str(clone)]
    subprocess.run(words, check=True)
    for then in machine.then:
        subprocess.run(["git", *then.split()], cwd=clone, check=True)
    kept = service.root.parent / "cache"
    shutil.copytree(kept if machine.warm else kept / "wheels", cache if machine.warm else cache / "wheels")
    if machine.other_user:
        for path in (place, *place.rglob("*")):
            os.chown(path, 65534, 65534, follow_symlinks=False)
    found = built(clone, cache, machine)
    assert found == first
    assert (clone / "build/artifact.zip").read_bytes() == (service.root / "build/artifact.zip").read_bytes()
    assert (clone / "build/artifact.zip").stat().st_uid == (65534 if machine.other_user else os.geteuid())
