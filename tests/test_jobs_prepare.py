"""``invoke prepare``: a notebook makes a dataset, kept by its digest; here and as a job; and what a notebook can do wrong."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import distribution, requires
from pathlib import Path

import pytest
from emulated import client
from jobs import Training
from packaging.requirements import Requirement

from ml_delivery import commands
from ml_delivery.cloud import Cloud
from ml_delivery.errors import ModelError
from ml_delivery.jobs import datasets
from ml_delivery.jobs import prepare as preparing

NOTEBOOK = """\
# %% [markdown]
# # A dataset

# %% tags=["parameters"]
source, seed, out = "", 1, "."

# %%
import json, os, urllib.request
from pathlib import Path
from service import rules

print(f"reads {source or 'nothing'} with seed {seed}")

# %%
rows = Path(source).read_text().split() if source else [str(seed)]
kept = [row for row in rows if rules.good(row)]

# %%
Path(out, "data.parquet").write_text(" ".join(kept))
Path(out, "manifest.json").write_text(json.dumps({"rows": len(kept), "dropped": {"bad": len(rows) - len(kept)}}))
"""
RULES = 'def good(row):\n    return "x" not in row\n'


def packages(*names: str) -> dict[str, bytes | Path]:
    """The files of distributions of this environment, and of what they need, below the image's folder of packages."""
    found: dict[str, bytes | Path] = {}
    seen, wanted = set(), list(names)
    while wanted:
        name = wanted.pop()
        if name in seen:
            continue
        seen.add(name)
        for file in distribution(name).files or []:
            path = Path(str(file.locate()))
            if ".." not in file.parts and "__pycache__" not in file.parts and path.is_file():
                found[f"/opt/packages/{file}"] = path
        needs = [Requirement(text) for text in requires(name) or []]
        wanted += [need.name for need in needs if not need.marker or need.marker.evaluate({"extra": ""})]
    return found


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Training:
    import _ssl

    more = packages("ipykernel", "jupytext", "nbclient")
    more[_ssl.__file__] = Path(_ssl.__file__)
    more |= linked(path for path in more.values() if isinstance(path, Path) and ".so" in path.name)
    made = Training(tmp_path_factory.mktemp("prepare") / "service", shared, "jobs-prepare", more)
    made.tiny.write("notebooks/prepare.py", NOTEBOOK)
    made.tiny.write("src/service/rules.py", RULES)
    made.tiny.write("data/raw.txt", "1 2 x3 4")
    settings = '\n[prepare]\nnotebook = "notebooks/prepare.py"\noptions = { source = "data/raw.txt", seed = 3 }\n'
    made.tiny.write("pipeline.toml", (made.tiny.root / "pipeline.toml").read_text() + settings)
    made.tiny.commit()
    return made


def linked(programs: Iterable[Path]) -> dict[str, bytes | Path]:
    """The libraries of this machine that programs are linked with, by their path."""
    words = ["ldd", *map(str, programs)]
    printed = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return {found: Path(found) for found in re.findall(r"=> (/\S+) \(0x", printed) if "/site-packages/" not in found}


@pytest.fixture(autouse=True)
def clean(service: Training, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This environment, which has the same packages, in the place of the service's; and no dataset of another test."""
    monkeypatch.setattr(commands, "environment", lambda config: Path(sys.executable))
    yield
    service.tiny.git("checkout", "--quiet", "--", ".")
    service.tiny.git("clean", "--quiet", "--force", "-dx", "data", "build")


def here(service: Training, **options: str | int) -> datasets.Dataset:
    return preparing.here(service.tiny.config, options, None, print)


def test_notebook_makes_a_dataset_once(service: Training, capsys: pytest.CaptureFixture[str]) -> None:
    """The dataset's place is its digest; the manifest says from what and how; the same again changes nothing."""
    made = here(service)
    digest = hashlib.sha256(b"1 2 4").hexdigest()
    assert (made.digest, made.rows, made.dropped, made.new) == (digest, 3, {"bad": 1}, True)
    assert "reads data/raw.txt with seed 3" in capsys.readouterr().out
    folder = service.tiny.root / "data" / digest
    assert (folder / "data.parquet").read_text() == "1 2 4"
    manifest = json.loads((folder / "manifest.json").read_text())
    (source,) = manifest["sources"]
    raw = hashlib.sha256(b"1 2 x3 4").hexdigest()
    assert source == {"option": "source", "place": "data/raw.txt", "size": 8, "version": "", "etag": f"sha256:{raw}"}
    assert manifest["code"] == f"sha256:{hashlib.sha256(NOTEBOOK.encode()).hexdigest()}"
    assert manifest["options"] == {"source": "data/raw.txt", "seed": 3}
    service.tiny.replace("notebooks/prepare.py", "# # A dataset", "# # The dataset")
    again = here(service)
    assert (again.digest, again.code, again.new) == (digest, made.code, False)
    assert json.loads((folder / "manifest.json").read_text()) == manifest
    assert "?? data/" in service.tiny.git("status", "--porcelain")  # the manifest is for git, the data are not
    assert not re.search("parquet", service.tiny.git("status", "--porcelain", "--untracked-files=all"))


def test_job_makes_the_same_dataset(service: Training) -> None:
    """As a job it reads and writes the same, and the bucket has the dataset, which a job of training then reads."""
    made = here(service)
    service.tiny.git("clean", "--quiet", "--force", "-dx", "data")
    opened = service.tiny.open()
    lines: list[str] = []
    dataset, done = preparing.on_hosts(opened, {}, lines.append)
    assert "reads data/raw.txt with seed 3" in lines
    assert (dataset.digest, dataset.rows, dataset.dropped, dataset.sources) == (
        made.digest,
        made.rows,
        made.dropped,
        made.sources,
    )
    assert done.seconds > 0
    s3, bucket = opened.cloud.client("s3"), opened.foundation.bucket
    keys = [e["Key"] for e in s3.list_objects_v2(Bucket=bucket, Prefix="data/")["Contents"]]
    assert keys == [f"data/{made.digest}/{name}" for name in ("data.parquet", "manifest.json")]
    service.tiny.git("clean", "--quiet", "--force", "-dx", "data")
    service.tiny.invoke("train", "--on", "sagemaker", "--option", f"data={datasets.path(made.digest)}")
    assert service.made()["a.model"] == b"a of 1 2 4"


def test_source_in_s3_has_its_version(service: Training) -> None:
    """The manifest has the version and the ETag of an object; one that does not exist, or no cloud, is refused first."""
    opened = service.tiny.open()
    s3, place = client(service.running, "s3"), f"s3://{opened.foundation.bucket}/raw/rows.txt"
    put = s3.put_object(Bucket=opened.foundation.bucket, Key="raw/rows.txt", Body=b"7 8")
    cloud = Cloud.open(service.tiny.config, opened.environment, "embedded")
    options = {"source": "", "other": place, "codes": "x" * 300}  # the last is no path
    (source,) = preparing.origins(service.tiny.config, options, cloud)
    assert (source.place, source.version, source.etag) == (place, put["VersionId"], put["ETag"].strip('"'))
    with pytest.raises(ModelError, match="other: there is no s3://nowhere"):
        preparing.here(service.tiny.config, {"other": "s3://nowhere-at-all/x"}, cloud, print)
    with pytest.raises(ModelError, match="other: s3://bucket names no object"):
        preparing.here(service.tiny.config, {"other": "s3://bucket"}, cloud, print)
    with pytest.raises(ModelError, match="other is in S3, and no cloud is named"):
        here(service, other=place)


@pytest.mark.parametrize(
    ("line", "printed"),
    [
        ("raise ValueError('no luck')", "ValueError: no luck (in the cell that begins with 'rows = "),
        ("os._exit(3)", "its Python ended"),
    ],
)
def test_notebook_that_fails_makes_nothing(
    service: Training, line: str, printed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A cell that raises, or a Python that ends: the cell and the reason, and no dataset."""
    service.tiny.replace("notebooks/prepare.py", "kept = [", f"{line}\nkept = [")
    with pytest.raises(ModelError, match=r"the notebook notebooks/prepare.py failed"):
        here(service)
    assert printed in capsys.readouterr().out
    assert [path.name for path in (service.tiny.root / "data").iterdir()] == ["raw.txt"]


@pytest.mark.parametrize(
    ("counts", "data", "changed", "says"),
    [
        ('{"rows": 1, "dropped": {}}', "", False, "wrote no data.parquet into the folder out"),
        ('{"rows": 1, "lost": {}}', "rows", False, "wrote no manifest.json with rows and dropped"),
        ('{"rows": 1, "dropped": []}', "rows", False, "wrote no manifest.json with rows and dropped"),
        ("", "rows", False, "wrote no manifest.json with rows and dropped"),
        ('{"rows": 1, "dropped": {}}', "rows", True, "data/raw.txt changed while the notebook read it"),
    ],
)
def test_what_is_no_dataset_is_not_kept(
    service: Training, tmp_path: Path, counts: str, data: str, changed: bool, says: str
) -> None:
    """Data or counts that are missing, counts of another form, and a source that changed meanwhile."""
    config = service.tiny.config
    before = preparing.origins(config, config.prepare.options, None)
    for name, text in (("manifest.json", counts), ("data.parquet", data)):
        if text:
            (tmp_path / name).write_text(text)
    if changed:
        service.tiny.write("data/raw.txt", "9")
    after = preparing.origins(config, config.prepare.options, None)
    with pytest.raises(ModelError, match=re.escape(says)):
        preparing.kept(config, {}, tmp_path, before, after)
    assert [path.name for path in (service.tiny.root / "data").iterdir()] == ["raw.txt"]


def test_job_that_fails_has_the_notebooks_reason(service: Training) -> None:
    """The reason of a job is what the notebook's runner printed last."""
    service.tiny.replace("notebooks/prepare.py", "kept = [", "raise ValueError('no luck')\nkept = [")
    with pytest.raises(ModelError, match=r"failed: .*ValueError: no luck"):
        preparing.on_hosts(service.tiny.open(), {}, print)


def test_service_without_a_notebook_is_refused(service: Training) -> None:
    """No notebook, or one that does not exist."""
    service.tiny.replace("pipeline.toml", 'notebook = "notebooks/prepare.py"', "")
    assert 'next: if it should have one, write [prepare] notebook = "' in service.tiny.invoke("prepare", code=1)
    service.tiny.git("checkout", "--quiet", "--", ".")
    service.tiny.replace("pipeline.toml", "notebooks/prepare.py", "notebooks/other.py")
    assert "there is no notebooks/other.py ([prepare] notebook)" in service.tiny.invoke("prepare", code=1)


def test_environment_without_jobs_starts_nothing(service: Training) -> None:
    """Without an instance type the reason is all that is printed, and no cost of nothing."""
    service.tiny.replace("pipeline.toml", 'instance = "ml.m5.large"', 'instance = ""')
    printed = service.tiny.invoke("prepare", "--on", "sagemaker", code=1)
    assert "jobs.instance: empty, so that there are no jobs" in printed
    assert "runs on" not in printed
