"""What is packed of wheels: what pip would have installed, but for a pruning that is shown and can be undone."""

from __future__ import annotations

import csv
import hashlib
import json
import subprocess
import sys
import zipfile
from base64 import urlsafe_b64decode
from pathlib import Path

import pytest
from made_wheels import LINK, PLAIN, PRIVATE, RUN, WINDOWS, Wheels

from ml_delivery.artifact import build
from ml_delivery.containers import layers
from ml_delivery.errors import BuildError
from ml_delivery.packing import bundle
from ml_delivery.records import Pruned, Replaced, Unimported

LISTING = """
import importlib.metadata, json, sys
sys.path.insert(0, sys.argv[1])
(entry,) = importlib.metadata.entry_points(group="plugins")
print(json.dumps([importlib.metadata.packages_distributions(), entry.load()]))
"""


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wheels:
    return Wheels(tmp_path, monkeypatch)


def test_modes_are_those_that_pip_gives(made: Wheels) -> None:
    """What a wheel marks as a program is one, scripts always are; all else can be read by every user and written by its owner."""
    files: dict[str, str | tuple[str, int]] = {
        "a/__init__.py": "",
        "a/program": ("#!/bin/sh\n", RUN),
        "a/private.txt": ("x", PRIVATE),
        "a/windows.exe": ("x", WINDOWS),
        "a/link": ("program", LINK),
        "NAME.data/scripts/tool": ("#!/bin/sh\n", PLAIN),
    }
    made.make("a", files)
    made.lock()
    build.build(made.service.config)
    modes = made.modes()
    assert {path for path, mode in modes.items() if mode == RUN} == {"a/program", "bin/tool"}
    assert set(modes.values()) == {RUN, PLAIN}
    assert made.packed()["a/link"] == "program"  # pip makes no links either


def test_image_has_the_same_modes(made: Wheels, tmp_path: Path) -> None:
    """The layer of dependencies lets run what the ZIP does."""
    import tarfile

    made.make("a", {"a/__init__.py": "", "a/program": ("#!/bin/sh\n", RUN)})
    made.lock()
    lock = made.service.root / "requirements/serve.txt"
    found = bundle.make(made.service.config, lock, Path(sys.executable), 34, frozenset())
    with tarfile.open(layers.dependencies(found, "var/task").path) as layer:
        modes = {member.name: member.mode for member in layer if member.isfile()}
    assert modes["var/task/a/program"] == 0o755
    assert modes["var/task/a/__init__.py"] == 0o644


def test_schemes_are_placed_as_by_pip(made: Wheels) -> None:
    """Each folder of ``.data`` goes where a target install puts it, and a script's first line names an interpreter."""
    files: dict[str, str | tuple[str, int]] = {
        "NAME.data/purelib/a/__init__.py": "",
        "NAME.data/platlib/a/more.py": "",
        "NAME.data/data/share/größe.txt": "42",
        "NAME.data/data/lib/liba.so": "x",
        "NAME.data/headers/a.hpp": "x",
        "NAME.data/scripts/tool": "#!python -E\nprint(1)\n",
        "NAME.data/scripts/other": "#!/bin/sh\n#!python\n",
    }
    made.make("a", files)
    made.lock()
    build.build(made.service.config)
    packed = made.packed()
    assert not [path for path in packed if ".data/" in path]
    assert {"a/__init__.py", "a/more.py", "lib/liba.so", "include/python/a/a.hpp"} < packed.keys()
    assert packed["share/größe.txt"] == "42"
    assert packed["bin/tool"] == "#!/usr/bin/env python3\nprint(1)\n"
    assert packed["bin/other"] == "#!/bin/sh\n#!python\n"


@pytest.mark.parametrize("path", ["../a.py", "/a.py", "a/../../a.py", "NAME.data/wrong/a.py", "NAME.data/purelib"])
def test_wheel_that_no_installer_would_place_is_refused(made: Wheels, path: str) -> None:
    """A file outside the folder, or in a scheme that does not exist, is named."""
    made.make("a", {"a/__init__.py": "", path: "x"})
    made.lock()
    with pytest.raises(BuildError, match="which no installer would put anywhere") as refused:
        build.build(made.service.config)
    assert "declare another version of a in pyproject.toml" in refused.value.next


def test_compression_that_lambda_may_not_read_is_replaced(made: Wheels) -> None:
    """A wheel compressed by bzip2 is packed by deflate."""
    made.make("a", {"a/__init__.py": "x = 1\n" * 100}, method=zipfile.ZIP_BZIP2)
    made.lock()
    build.build(made.service.config)
    with zipfile.ZipFile(made.artifact) as opened:
        assert {member.compress_type for member in opened.infolist()} <= {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
    assert made.packed()["a/__init__.py"] == "x = 1\n" * 100


def test_path_of_two_wheels_is_pips_last(made: Wheels) -> None:
    """The same bytes are no news; of other bytes that one is packed which pip installs last, and the loser is shown."""
    made.make("z", {"z.py": "", "same.txt": "1", "notes.txt": "z", "tests/__init__.py": "z"}, needs=("a",))
    made.make("a", {"a.py": "", "same.txt": "1", "notes.txt": "a", "tests/__init__.py": "a"})
    made.make("b", {"b.py": "", "other.txt": "b"})
    made.make("c", {"c.py": "", "other.txt": "c"}, needs=("b; extra == 'all'",))
    made.lock()
    output = made.service.invoke("build")
    packed = made.packed()
    assert (packed["notes.txt"], packed["same.txt"], packed["other.txt"]) == ("z", "1", "b")
    assert "tests/__init__.py" not in packed
    manifest = build.last(made.service.root)
    assert manifest.differences.replaced == (Replaced("notes.txt", "a", "z"), Replaced("other.txt", "c", "b"))
    assert "notes.txt is z's, not a's, which has another file there" in output
    pips = made.service.root.parent / "pips"
    words = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(pips), "a", "b", "c", "z"]
    subprocess.run(words, check=True, capture_output=True)
    assert {name: (pips / name).read_text() for name in ("notes.txt", "other.txt")} == {
        "notes.txt": "z",
        "other.txt": "b",
    }


def test_file_where_another_wheel_has_a_folder_is_refused(made: Wheels) -> None:
    """No installer can write both; the message names both and a way out, which works."""
    made.make("a", {"a.py": "", "docs": "x"})
    made.make("b", {"b.py": "", "docs/index.txt": "x"})
    made.lock()
    with pytest.raises(BuildError, match="a contains a file docs, which is a folder of b") as refused:
        build.build(made.service.config)
    assert 'build.exclude = ["docs"]' in refused.value.next
    made.rule("exclude", "docs")
    build.build(made.service.config)
    assert "docs/index.txt" in made.packed()


def test_services_own_files_replace_those_of_a_dependency(made: Wheels) -> None:
    """A dependency's top-level ``service`` gives no second member, and it is shown."""
    made.make("a", {"a.py": "", "service/__init__.py": "broken = 1\n", "service/theirs.py": "", "release.json": "{}"})
    made.lock()
    manifest = build.build(made.service.config)
    packed = made.packed()
    assert (packed["service/__init__.py"], packed["service/theirs.py"]) == ("", "")
    assert json.loads(packed["release.json"])["commit"] == manifest.commit
    lost = [Replaced(path, "a", "packed") for path in ("release.json", "service/__init__.py")]
    assert list(manifest.differences.replaced) == lost
    again = build.build(made.service.config)
    assert again == manifest


def test_own_file_where_the_build_writes_is_refused(made: Wheels) -> None:
    """A ``release.json`` of the service's own would be a second member."""
    made.service.write("src/release.json", "{}")
    made.service.commit()
    with pytest.raises(BuildError, match=r"src/release\.json is where the build writes a file"):
        build.build(made.service.config)


def test_exclude_holds_for_own_files(made: Wheels) -> None:
    """What ``build.exclude`` names is left out wherever it comes from, and counted; committed bytecode is not packed twice."""
    made.make("a", {"a/__init__.py": "", "a/notes.txt": "12345"})
    made.service.write("src/service/notes.txt", "123")
    made.service.write("src/service/__pycache__/__init__.cpython-311.pyc", "x")
    made.lock()
    made.rule("exclude", "*/notes.txt")
    manifest = build.build(made.service.config)
    assert not [path for path in made.packed() if path.endswith("notes.txt")]
    assert manifest.differences.pruned == (Pruned("a", "*/notes.txt", 1, 5), Pruned("packed", "*/notes.txt", 1, 3))
    assert "pruned 2 files, 0.0 MB: */notes.txt 0.0 MB" in made.service.invoke("build")


def test_record_lists_what_is_there(made: Wheels, tmp_path: Path) -> None:
    """Each package's RECORD has every file of it, with digest and size; what reads metadata at run time finds its own."""
    files: dict[str, str | tuple[str, int]] = {
        "NAME.dist-info/entry_points.txt": "[plugins]\none = a.deep:ANSWER\n",
        "a/__init__.py": "",
        "a/deep.py": "ANSWER = 42\n",
        "a/tests/__init__.py": "",
        "a/x.y.py": "",
        "space, comma.txt": "x",
    }
    made.make("a", files)
    made.make("b", {"google/cloud/b/__init__.py": "", "google/cloud/c/__init__.py": ""})
    made.lock()
    build.build(made.service.config)
    with zipfile.ZipFile(made.artifact) as opened:
        opened.extractall(tmp_path / "task")
    listed = set()
    for name in ("a", "b"):
        assert (tmp_path / f"task/{name}-1.dist-info/INSTALLER").read_text() == "ml-delivery\n"
        for path, digest, size in csv.reader((tmp_path / f"task/{name}-1.dist-info/RECORD").read_text().splitlines()):
            listed.add(path)
            content = (tmp_path / "task" / path).read_bytes()
            if digest:
                assert urlsafe_b64decode(digest.removeprefix("sha256=") + "=") == hashlib.sha256(content).digest()
                assert len(content) == int(size)
    there = {
        path.relative_to(tmp_path / "task").as_posix() for path in (tmp_path / "task").rglob("*") if path.is_file()
    }
    assert {path for path in there - listed if not path.startswith("service/")} == {"release.json", "model.lock"} | {
        path for path in there if path.startswith("models/")
    }
    words = [sys.executable, "-I", "-S", "-c", LISTING, str(tmp_path / "task")]
    found = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    assert (found[0]["a"], found[0]["google"], found[1]) == (["a"], ["b"], 42)


def test_machine_that_cannot_load_the_libraries_imports_none(made: Wheels) -> None:
    """What is built for another architecture is packed, and the manifest says that nothing was imported."""
    made.make("a", {"a.py": "import not_there\n"})
    made.lock()
    made.service.replace("pipeline.toml", "[function]\n", 'architecture = "arm64"\n\n[function]\n')
    made.service.commit()
    differences = build.build(made.service.config).differences
    assert (differences.imported, differences.unimported) == (0, ())


def test_what_cannot_be_imported_here_is_shown(made: Wheels) -> None:
    """A package that needs what this machine lacks, or that ends the process, is packed; the others are imported all the same."""
    made.make("a", {"a.py": "import not_there\n"})
    made.make("b", {"b.py": "import os\nos._exit(3)\n"})
    made.make("c", {"c.py": "import sys\nsys.exit('no')\n"})
    made.make("d", {"d.py": "print('{')\n"})
    made.lock()
    output = made.service.invoke("build")
    found = build.last(made.service.root).differences
    assert found.imported == 4
    assert found.unimported == (
        Unimported("a", "a", "ModuleNotFoundError: No module named 'not_there'"),
        Unimported("b", "b", "the process exited with code 3"),
        Unimported("c", "c", "SystemExit: no"),
    )
    assert "1 of 4 packages imported, read-only" in output
    assert "a of a can't be imported here, pruned or not: ModuleNotFoundError" in output


@pytest.mark.parametrize("dirty", [False, True])
def test_own_programs_can_be_run(made: Wheels, dirty: bool) -> None:
    """What git marks as executable is, in a clean and in a changed tree; other files are not."""
    made.service.write("src/service/program", "#!/bin/sh\n")
    (made.service.root / "src/service/program").chmod(0o755)
    made.service.commit()
    if dirty:
        made.service.replace("src/service/handler.py", '"first"', '"second"')
    assert build.build(made.service.config).dirty == dirty
    assert {path for path, mode in made.modes().items() if mode == RUN} == {"service/program"}
