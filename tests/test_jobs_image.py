"""The image of jobs, built by this machine's engine from the training lockfile, once for the same packages."""

from __future__ import annotations

from pathlib import Path

import pytest
from emulated import client
from jobs import JOBS, TRAIN
from test_jobs_tune import SETTINGS, TRIAL
from tiny import PYTHON, Tiny

from ml_delivery import emulator
from ml_delivery.containers import engines
from ml_delivery.errors import SetupError
from ml_delivery.jobs import images

SLIM = f"public.ecr.aws/docker/library/python:{PYTHON}-slim"


def service(tiny: Tiny) -> Tiny:
    tiny.write("src/service/training.py", TRAIN)
    tiny.write("requirements/train.txt", "# nothing\n")
    settings = JOBS.format(image="").replace("\nsplit", f'\nbase = "{SLIM}"\nsplit')
    tiny.write("pipeline.toml", (tiny.root / "pipeline.toml").read_text() + settings)
    tiny.commit()
    return tiny


def test_image_is_built_and_pushed_once(tiny: Tiny, engine: engines.Engine) -> None:
    """A training reports that it builds the image, and trains in it; the next one finds it, also after a change of the source."""
    assert engine
    service(tiny)
    printed = tiny.invoke("train", "--on", "sagemaker")
    assert printed.startswith("builds the image of jobs, once for this requirements/train.txt; it takes minutes\n")
    assert (tiny.root / "build/made/a.model").read_text() == "a of none"
    ecr, name = client(emulator.up(tiny.root), "ecr"), f"{tiny.name}-production-jobs"
    (image,) = ecr.describe_images(repositoryName=name)["imageDetails"]
    tiny.write("src/service/rules.py", "")
    tiny.commit()
    found = images.find(tiny.open(), pytest.fail)
    assert found.endswith(f"/{name}@{image['imageDigest']}")
    tiny.write("src/service/trial.py", TRIAL)  # a tuning job runs the image's own program
    tuning = SETTINGS.replace("trials = 6", "trials = 1")
    tiny.write("pipeline.toml", (tiny.root / "pipeline.toml").read_text() + tuning)
    assert "best a: " in tiny.invoke("tune", "--on", "sagemaker", "--kind", "a")
    assert len(ecr.describe_images(repositoryName=name)["imageDetails"]) == 1


def test_without_an_engine_it_says_so(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No engine: the reason of each, before any job."""
    service(tiny)
    opened = tiny.open()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError, match="no container engine answers"):
        images.find(opened)
