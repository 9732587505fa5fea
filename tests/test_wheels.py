"""Wheels: fetched once, by hash, for Lambda; a missing wheel and an index that does not answer give different messages."""

from __future__ import annotations

import re
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from made_wheels import Wheels
from tiny import PRICING

from ml_delivery.dependencies import locks, wheels
from ml_delivery.errors import BuildError, SetupError
from ml_delivery.targets.lambda_zip import TARGET

PINS = locks.for_target(locks.read(PRICING / "requirements/serve.txt"), "3.12", "x86_64")
AL2023 = wheels.Platform("3.12", "x86_64", 34)
CLICK = [pin for pin in PINS if pin.name == "click"]


def test_wheel_is_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second time nothing is asked of the index; a kept file that is gone is fetched again."""
    (first,) = wheels.fetch(CLICK, AL2023, tmp_path)
    assert first.parent.name in CLICK[0].hashes
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    assert wheels.fetch(CLICK, AL2023, tmp_path) == [first]
    first.unlink()
    with pytest.raises(SetupError, match="the wheels could not be fetched") as fault:
        wheels.fetch(CLICK, AL2023, tmp_path)
    assert "check the network" in fault.value.next


def test_wheel_that_was_altered_is_named_and_removed(tmp_path: Path) -> None:
    """The folder's name is not believed: the bytes are hashed; after the refusal the wheel is fetched again."""
    (wheel,) = wheels.fetch(CLICK, AL2023, tmp_path)
    whole = wheel.read_bytes()
    wheel.write_bytes(whole + b"\0")
    with pytest.raises(BuildError, match=f"{wheel.name} was altered after it was fetched; it is removed"):
        wheels.fetch(CLICK, AL2023, tmp_path)
    assert not wheel.exists()
    assert wheels.fetch(CLICK, AL2023, tmp_path) == [wheel]
    assert wheel.read_bytes() == whole


def test_package_without_a_wheel_is_named(tmp_path: Path) -> None:
    """onnxruntime of today has no wheel for Lambda's Python 3.11; the message says so, and does not blame the network."""
    pins = [pin for pin in locks.read(PRICING / "requirements/serve.txt") if pin.name == "onnxruntime"]
    newest = [pin for pin in pins if ">=" in pin.marker]
    with pytest.raises(
        BuildError, match=rf"3\.11 on x86_64 with glibc 2\.26: onnxruntime {newest[0].version}; "
    ) as fault:
        wheels.fetch(newest, wheels.Platform("3.11", "x86_64", 26), tmp_path)
    assert "; onnxruntime has one for Python 3.12, 3.13, 3.14" in fault.value.message
    assert re.match(
        r'set service\.python to "3\.1[234]" in pipeline\.toml, or declare "onnxruntime<=', fault.value.next
    )


INDEX = {
    "only_source-1.0.tar.gz": ("only-source", "no wheel for Python 3.12 on x86_64 with glibc 2.34: only-source 1.0"),
    "newer-1.0-cp313-cp313-manylinux_2_28_x86_64.whl": ("newer", "newer 1.0; newer has one for Python 3.13"),
    "armed-1.0-cp313-cp313-manylinux_2_28_aarch64.whl": (
        "armed",
        "no wheel for Python 3.12 on x86_64 with glibc 2.34: armed 1.0",
    ),
    "other-2.0-py3-none-any.whl": ("other", "other 1.0 is not in the index that pip asks"),
    "stable-1.0-cp313-abi3-manylinux_2_28_x86_64.whl": ("stable", "stable 1.0; stable has one for Python 3.13, 3.14"),
}


@pytest.mark.parametrize("file", [*INDEX, ""])
def test_reason_is_what_the_index_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    """Of a package that only another index has, only as source, or only for other machines, each is named as that."""
    name, message = INDEX.get(file, ("private", "private 1.0 is not in the index that pip asks"))
    (tmp_path / "simple" / name).mkdir(parents=True)
    (tmp_path / f"simple/{name}/index.html").write_text(f'<!DOCTYPE html><a href="{file}">{file}</a>' if file else "")
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
        monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
        with pytest.raises(BuildError) as fault:
            wheels.fetch([locks.Pin(name, "1.0", "", ("0" * 64,))], AL2023, tmp_path / "cache")
        server.shutdown()
    assert message in fault.value.message
    assert ("has one for" in fault.value.message) == ("has one for" in message)
    assert ("PIP_INDEX_URL" in fault.value.next) == ("not in the index" in message)


def test_all_that_lack_a_wheel_are_named_with_the_newest_that_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, so that one change of pyproject.toml is enough; a package without any wheel is named as such."""
    made = Wheels(tmp_path, monkeypatch)
    for name, versions in {"one": "123", "two": "12", "fine": "4"}.items():
        for version in versions:
            whole = made.make(name, {f"{name}.py": ""}, version=version)
            if version == versions[-1] and name != "fine":  # its newest is for a newer glibc
                whole.rename(whole.with_name(f"{name}-{version}-cp312-cp312-manylinux_2_39_x86_64.whl"))
    pins = [locks.Pin(name, version, "", ("0" * 64,)) for name, version in (("one", "3"), ("fine", "4"), ("two", "2"))]
    with pytest.raises(BuildError) as fault:
        wheels.fetch([*pins, locks.Pin("none", "5", "", ("0" * 64,))], AL2023, tmp_path / "cache")
    assert "glibc 2.34: one 3, two 2, none 5" in fault.value.message
    assert fault.value.next.endswith(
        '"one<=2", "two<=1", a version of none that has one in pyproject.toml, then nox -s lock'
    )


def test_other_bytes_than_the_locks_are_refused(tmp_path: Path) -> None:
    """A wheel whose hash is not in the lock is not taken."""
    from dataclasses import replace

    altered = [replace(CLICK[0], hashes=("0" * 64,))]
    with pytest.raises(SetupError):
        wheels.fetch(altered, AL2023, tmp_path)
    assert not list(tmp_path.glob("*/*.whl"))


@pytest.mark.parametrize("target", [("3.11", "x86_64"), ("3.13", "arm64"), ("3.14", "x86_64")])
def test_every_pin_has_a_wheel_for_every_target(tmp_path: Path, target: tuple[str, str]) -> None:
    """The shipped lock can be built for the Pythons and architectures that are offered."""
    pins = locks.for_target(locks.read(PRICING / "requirements/serve.txt"), *target)
    found = wheels.fetch(pins, wheels.Platform(*target, TARGET.glibc(target[0])), tmp_path)
    machine = "aarch64" if target[1] == "arm64" else "x86_64"
    assert len(found) == len(pins)
    assert all(wheel.name.endswith("none-any.whl") or machine in wheel.name for wheel in found)
