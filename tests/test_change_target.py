"""A service changes its target: the files come by ``invoke upgrade --target``, the release into an environment of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import json_shapes
import pytest
from bake import ROOT, commit, cruft, git, invoke, repository, start
from test_bake_update import change
from tiny import Tiny

from ml_delivery.containers import engines
from ml_delivery.errors import Refused

SHIPPED = "{{cookiecutter.project_slug}}"


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A service that was made from a template, which has a newer version since."""
    folder = tmp_path_factory.mktemp("old")
    template = repository(folder / "cookiecutter-ml-service")
    made = cruft(folder / "made", template, starter="blank")
    start(made)
    change(template / SHIPPED / "Makefile", "## this list", "## the list")
    commit(template, "Newer")
    return made


@pytest.fixture
def service(old: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of that service."""
    shutil.copytree(old, tmp_path / old.name, symlinks=True)
    return tmp_path / old.name


def test_another_targets_files_come_beside_those_that_are_there(service: Path) -> None:
    """A build without them names the command; it brings them alone, of this version, though the template has a newer one."""
    change(service / "pipeline.toml", 'target = "lambda-zip"', 'target = "lambda-image"')
    commit(service, "An image")
    refused = invoke(service, "build", code=1)
    assert "✗ there is no Dockerfile.lambda, from which the target lambda-image builds" in refused
    assert "\n  next: invoke upgrade --target lambda-image\n" in refused
    assert "there is no Dockerfile.lambda" in invoke(service, "build", "--update-base", code=1)
    before = json.loads((service / ".cruft.json").read_text())
    printed = invoke(service, "upgrade", "--target", "lambda-image")
    assert '\nnext: commit, then write target = "lambda-image"' in printed
    assert git(service, "diff", "--name-only", "HEAD").split() == [".cruft.json", "Dockerfile.lambda"]
    assert (service / "Dockerfile.lambda").read_bytes() == (ROOT / SHIPPED / "Dockerfile.lambda").read_bytes()
    after = json.loads((service / ".cruft.json").read_text())
    assert (after["commit"], after["checkout"]) == (before["commit"], before["checkout"])
    commit(service, "Its files")
    for target, more in (
        ("sagemaker", ["Dockerfile.sagemaker", "src/ml_service/invocations.py"]),
        ("eks", ["Dockerfile", "src/ml_service/serving.py"]),
    ):
        done = json.loads(invoke(service, "upgrade", "--target", target, "--json"))
        json_shapes.check("upgrade", done)
        assert done["update"]["changed"] == [".cruft.json", *more]
        commit(service, "And these")
    assert "## the list" not in (service / "Makefile").read_text()
    invoke(service, "upgrade")
    assert "## the list" in (service / "Makefile").read_text()
    assert {path.name for path in service.glob("Dockerfile*")} == {
        "Dockerfile",
        "Dockerfile.lambda",
        "Dockerfile.sagemaker",
    }
    assert (service / "src/ml_service/invocations.py").is_file()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["eks-fargate"], "'eks-fargate' is not one of eks, lambda-image, lambda-zip, sagemaker"),
        (["lambda-zip"], "the service was made for lambda-zip, with its files"),
        (["eks", "--check"], "stands alone, without --check, --to or --pull-request"),
    ],
    ids=["unknown", "its own", "with --check"],
)
def test_target_that_brings_nothing_is_refused(service: Path, words: list[str], says: str) -> None:
    """And nothing is changed."""
    assert says in invoke(service, "upgrade", "--target", *words, code=1)
    assert git(service, "status", "--porcelain") == ""


def test_own_file_of_that_name_is_kept_and_named(service: Path) -> None:
    """A Dockerfile of the owner's is not overwritten."""
    (service / "Dockerfile").write_text("FROM mine\n")
    commit(service, "Mine")
    printed = invoke(service, "upgrade", "--target", "eks", code=1)
    assert "✗ the update conflicts with your changes:\n  Dockerfile" in printed
    assert "FROM mine" in (service / "Dockerfile").read_text()


def test_image_is_beside_the_zip_in_an_environment_of_its_own(tiny: Tiny, engine: engines.Engine) -> None:
    """Lambda never changes a function's package type; that is said with the way round it, which works; the ZIP serves on."""
    tiny.deploy()
    tiny.box()
    with pytest.raises(
        Refused, match="created with the package type Zip, which Lambda never changes to Image"
    ) as refusal:
        tiny.deploy()
    assert "an environment of its own" in str(refusal.value)
    assert tiny.live() == 1
    tiny.replace("pipeline.toml", 'target = "lambda-image"', 'target = "lambda-zip"')
    tiny.repair("zip again")
    tiny.deploy()
    assert tiny.live() == 3

    images = '[environments.images]\nbranch = "images"\ntarget = "lambda-image"\n\n[environments.staging]'
    tiny.replace("pipeline.toml", "[environments.staging]", images)
    tiny.git("switch", "--quiet", "--create", "images")
    tiny.commit("An environment of its own")
    tiny.deploy()
    assert tiny.live() == 1
    tiny.git("switch", "--quiet", "main")
    assert tiny.live() == 3
