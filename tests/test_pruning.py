"""Pruning: shown, undone by ``build.keep``, and checked by importing every package from a read-only folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from made_wheels import Wheels

from ml_delivery.artifact import build
from ml_delivery.errors import BuildError
from ml_delivery.packing import import_check, placement, pruning
from ml_delivery.records import Pruned

# Modules that import tests in each way that there is; the tests that these need are a/…/needed….
IMPORTING = """\
from a.core.tests.needed1 import x
from .tests import (  # the first, and
    needed2 as y,
    needed3,
)
from .. import tests
import a.core.tests.needed4 as z, json
def later():
    from a.far.tests import needed5, \\
        needed6
# from a.core.tests.idle1 import x
"""
FILES: dict[str, str | tuple[str, int]] = {
    "a/__init__.py": "",
    "a/core/__init__.py": "",
    "a/sub/__init__.py": "",
    "a/sub/more.py": IMPORTING,
    "a/tests/__init__.py": "",
    "a/tests/idle2.py": "from a.core.tests.idle1 import x\n",
    "a/core/tests/__init__.py": "",
    "a/core/tests/idle1.py": "",
    "a/core/tests/needed1.py": "from .needed7 import x\nx = 1\n",
    "a/core/tests/needed4.py": "",
    "a/core/tests/needed7.py": "x = 1\n",
    "a/sub/tests/__init__.py": "",
    "a/sub/tests/needed2.py": "import b.tests\n",
    "a/sub/tests/needed3.cpython-311-x86_64-linux-gnu.so": "",
    "a/far/tests/needed5.py": "",
    "a/far/tests/needed6/__init__.py": "",
    "a/far/tests/data.json": "{}",
}


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wheels:
    return Wheels(tmp_path, monkeypatch)


def test_tests_that_modules_import_are_kept(made: Wheels) -> None:
    """However a module imports them, from its own package or another, they are packed with what they import; no others are."""
    made.make("a", FILES)
    made.make("b", {"b/__init__.py": "", "b/tests/__init__.py": "", "b/tests/idle.py": ""})
    made.lock()
    build.build(made.service.config)
    found = {path for path in made.packed() if "/tests/" in path and "__pycache__" not in path}
    needed = {path for path in FILES if "needed" in path}
    assert found == needed | {f"{folder}/tests/__init__.py" for folder in ("a", "a/core", "a/sub", "b")}


def test_stubs_that_are_read_at_run_time_are_kept(made: Wheels) -> None:
    """``lazy_loader`` reads a package's names from its stub, as scikit-image and librosa have it do; other stubs go."""
    text = "import lazy_loader as lazy\n__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)\n"
    made.make("a", {"a/__init__.py": "", "a/lazy.py": text, "a/lazy.pyi": "", "a/__init__.pyi": ""})
    made.lock()
    build.build(made.service.config)
    assert [path for path in made.packed() if path.endswith(".pyi")] == ["a/lazy.pyi"]


@pytest.mark.parametrize(
    ("text", "reason", "keep"),
    [
        (
            "import importlib\nimportlib.import_module('a.tests.helper')\n",
            "ModuleNotFoundError: No module named 'a.tests'",
            "a/tests/*",
        ),
        (
            "import pathlib\n(pathlib.Path(__file__).parent / 'a.h').read_text()\n",
            r"FileNotFoundError: \[Errno 2\] No such file or directory: 'a/a\.h'",
            "a/a.h",
        ),
        (
            "import pathlib\nassert len(list(pathlib.Path(__file__).parent.glob('*.h'))) == 1, 'no header'\n",
            "AssertionError: no header",
            "a/*",
        ),
    ],
    ids=["a module", "a file", "no hint"],
)
def test_package_that_pruning_breaks_stops_the_build(made: Wheels, text: str, reason: str, keep: str) -> None:
    """The message names the package and the cause; the command that it names makes the build succeed."""
    made.make("a", {"a/__init__.py": text, "a/tests/__init__.py": "", "a/tests/helper.py": "", "a/a.h": ""})
    made.make("b", {"b.py": "import not_there\n"})
    made.lock()
    says = f"a can't be imported without the files that the build leaves out: a: {reason}"
    for _ in range(2):
        with pytest.raises(BuildError, match=says) as refused:
            build.build(made.service.config)
    assert refused.value.next == f'build.keep = ["{keep}"] in pipeline.toml, then invoke build'
    made.rule("keep", keep)
    found = build.build(made.service.config).differences
    assert [one.module for one in found.unimported] == ["b"]


def test_what_is_left_out_is_shown(made: Wheels) -> None:
    """The build prints how much and by which patterns, largest first; the manifest has each package's part, also as JSON."""
    files: dict[str, str | tuple[str, int]] = {"a.py": "", "a/tests/x.bin": "x" * 3_000_000, "a/y.pyi": "y" * 400_000}
    made.make("a", files)
    made.make("b", {"b.py": "", "tests/x.bin": "x" * 1_000_000, "b/c.h": "x" * 60_000, "b/c.a": "", "b/c.lib": ""})
    made.lock()
    output = made.service.invoke("build")
    shown = "pruned 6 files, 4.5 MB: */tests/* 3.0 MB, tests/* 1.0 MB, *.pyi 0.4 MB, *.h 0.1 MB and 2 more patterns"
    assert shown in output
    assert "2 of 2 packages imported, read-only" in output
    listed = json.loads(made.service.invoke("build", "--json"))["differences"]["pruned"]
    assert listed[0] == {"package": "a", "rule": "*/tests/*", "files": 1, "size": 3_000_000}
    assert Pruned("b", "*.h", 1, 60_000) in build.last(made.service.root).differences.pruned


def test_keep_undoes_the_pruning_and_not_the_exclusion(made: Wheels) -> None:
    """With ``keep = ["*"]`` everything that pip installs is there; what the service excludes stays out."""
    made.make("a", {"a/__init__.py": "", "a/tests/__init__.py": "", "a/tests/x.json": "", "a/y.pyi": "", "a/z.h": ""})
    made.lock()
    build.build(made.service.config)
    assert not [path for path in made.packed() if path.endswith((".json", ".pyi", ".h")) and path.startswith("a/")]
    made.rule("keep", "*")
    made.service.replace("pipeline.toml", "[build]\n", '[build]\nexclude = ["*.h"]\n')
    made.service.commit()
    found = build.build(made.service.config).differences
    assert {"a/tests/x.json", "a/y.pyi"} < made.packed().keys()
    assert found.pruned == (Pruned("a", "*.h", 1, 0),)


def test_own_exclusion_that_breaks_a_package_is_shown_and_allowed(made: Wheels) -> None:
    """A service may leave out what it never imports: that is its own decision, and no fault of pruning."""
    made.make("a", {"a/__init__.py": "import a.big\n", "a/big.py": ""})
    made.lock()
    made.rule("exclude", "a/big.py")
    found = build.build(made.service.config).differences
    assert [one.reason for one in found.unimported] == ["ModuleNotFoundError: No module named 'a.big'"]


def test_packages_are_imported_from_a_read_only_folder(made: Wheels) -> None:
    """A package that writes below its own folder at import fails in the build, also as root, and not first on Lambda."""
    made.make("a", {"a.py": "import pathlib\npathlib.Path(__file__).with_name('cache').write_text('x')\n"})
    made.make("b", {"b/__init__.py": "import os\nos.mkdir(os.path.dirname(__file__) + '/new')\n"})
    made.lock()
    found = build.build(made.service.config).differences.unimported
    assert [(one.module, one.reason.split(":")[0]) for one in found] == [
        ("a", "PermissionError"),
        ("b", "PermissionError"),
    ]


def test_packages_are_imported_once(made: Wheels) -> None:
    """The result is kept with the bundle: the next build, of a changed source, starts no import."""
    marks = made.service.root.parent / "imports"
    made.make("a", {"a.py": f"with open({str(marks)!r}, 'a') as marks: marks.write('x')\n"})
    made.lock()
    first = build.build(made.service.config)
    made.service.replace("src/service/handler.py", '"first"', '"second"')
    assert build.build(made.service.config).differences == first.differences
    assert marks.read_text() == "x"


def test_what_the_target_has_is_there_when_packages_are_imported(made: Wheels) -> None:
    """Lambda's runtime has boto3: it is not packed, and a package that imports it is imported all the same."""
    made.make("boto3", {"boto3/__init__.py": "x = 1\n"})
    made.make("a", {"a.py": "from boto3 import x\n"})
    made.lock()
    found = build.build(made.service.config).differences
    assert not [path for path in made.packed() if path.startswith("boto3")]
    assert (found.imported, found.unimported) == (1, ())


def test_modules_that_are_imported_are_those_that_a_service_imports(made: Wheels) -> None:
    """Top-level modules, and what is in a namespace; no scripts, data, commands, metadata, private or inner modules."""
    files: dict[str, str | tuple[str, int]] = {
        "one.py": "",
        "native.cpython-311-x86_64-linux-gnu.so": "",
        "package/__init__.py": "",
        "package/inner/__init__.py": "",
        "google/cloud/thing/__init__.py": "",
        "google/cloud/_private/__init__.py": "",
        "examples/example.py": "",
        "_private.py": "",
        "setup.py": "",
        "two.libs/x.so": "",
        "NAME.data/data/share/x/__init__.py": "",
        "NAME.data/scripts/run.py": "",
    }
    wheel = made.make("a", files)
    members = placement.place([("a", wheel)]).members.values()
    assert import_check.tops(members) == dict.fromkeys(["google.cloud.thing", "native", "one", "package"], "a")


def test_every_pattern_leaves_something_out() -> None:
    """A pattern that another one covers would be a dead one."""
    for pattern in pruning.PRUNED:
        path = pattern.replace("*/", "a/").replace("*.", "a.").replace("*", "a")
        assert pruning.Rules().pruning(path) == pattern
        assert not pruning.Rules(keep=(pattern,)).pruning(path)
