"""The list of mutants fits the code, and the campaign notices what survives."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from mutants import campaign

ROOT = campaign.ROOT
MUTANTS = campaign.load(ROOT)
LEAST = 150


def test_list_is_long_and_names_each_mutant_once() -> None:
    """No two of one file break the same thing in the same way, or have one name."""
    assert len(MUTANTS) >= LEAST
    assert len({(one.path, one.old, one.new) for one in MUTANTS}) == len(MUTANTS)
    assert len({(one.path, one.what) for one in MUTANTS}) == len(MUTANTS)
    assert len({one.name for one in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("path", sorted({one.path for one in MUTANTS}))
def test_each_mutant_fits_the_code(path: str) -> None:
    """Its text is there once, what it makes of it compiles, and the tests that should see it exist."""
    for one in (mutant for mutant in MUTANTS if mutant.path == path):
        assert campaign.fits(one, ROOT), f"{one.name}: {one.what}: {one.old!r}"
        compile((ROOT / path).read_text(encoding="utf-8").replace(one.old, one.new), path, "exec")
        for test in one.tests:
            file, _, name = test.partition("::")
            text = (ROOT / file).read_text(encoding="utf-8")
            assert not name or re.search(rf"^def {name}\(", text, re.MULTILINE), f"{one.name}: there is no {test}"


def test_campaign_notices_what_survives(tmp_path: Path) -> None:
    """A mutant that its test sees, one that it does not see, one that does not fit, and one whose test is broken itself."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "code.py").write_text("def twice(x):\n    return 2 * x\n")
    (tmp_path / "tests/test_code.py").write_text("import code_under_test\n")
    (tmp_path / "tests/test_twice.py").write_text(
        "import importlib.util, pathlib\n"
        "spec = importlib.util.spec_from_file_location('doubled', pathlib.Path(__file__).parent.parent / 'code.py')\n"
        "module = importlib.util.module_from_spec(spec)\nspec.loader.exec_module(module)\n\n\n"
        "def test_two(): assert module.twice(2) == 4\n"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    one = campaign.Mutant("code.py", 1, "it adds", "2 * x", "3 * x", ("tests/test_twice.py",))
    found = {
        name: campaign.judge(mutant, tmp_path)[0]
        for name, mutant in {
            "seen": one,
            "not seen": replace(one, new="2 + x"),
            "no fit": replace(one, old="4 * x"),
            "broken": replace(one, tests=("tests/test_code.py",)),
        }.items()
    }
    assert found == {
        "seen": campaign.KILLED,
        "not seen": campaign.SURVIVED,
        "no fit": campaign.INVALID,
        "broken": campaign.INVALID,
    }
    assert (tmp_path / "code.py").read_text() == "def twice(x):\n    return 2 * x\n"


def test_copy_has_what_is_not_committed(tmp_path: Path) -> None:
    """The mutants are of the working tree, in a repository of its own."""
    campaign.copy(tmp_path / "tree")
    listed = subprocess.run(["git", "ls-files"], cwd=tmp_path / "tree", capture_output=True, text=True, check=True)
    assert "tests/mutants/campaign.py" in listed.stdout.splitlines()
    assert (tmp_path / "tree/noxfile.py").read_bytes() == (ROOT / "noxfile.py").read_bytes()
