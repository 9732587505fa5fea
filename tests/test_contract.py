"""The contract between a service and its delivery: whole, it is reported as such; each missing piece has its own line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import json_shapes
import pytest
from tiny import HANDLER, ROOT, TEMPLATE, Tiny

from ml_delivery import contract
from ml_delivery.targets.lambda_zip import TARGET
from ml_delivery.tasks.findings import sentence

PAGE = (ROOT / "docs/contract.md").read_text()
TRAIN = '\n[train]\ncommand = ["python", "-m", "service.training"]\n[train.options]\n'


@pytest.fixture
def whole(tiny: Tiny) -> Tiny:
    """A tiny service that keeps the contract, with a model, commands and an own probe path."""
    tiny.write("src/service/promotion.py", "")
    tiny.write("src/service/training.py", "")
    tiny.write("requirements/train.txt", "# nothing\n")
    tiny.write("infra/metrics.toml", "")
    settings = (tiny.root / "pipeline.toml").read_text()
    tiny.write("pipeline.toml", settings + TRAIN + '\n[probe]\npaths = ["/readyz", "/deep"]\n')
    return tiny


def test_whole_contract_is_kept(whole: Tiny) -> None:
    """Each piece is one line, and the exit code is 0; as JSON the same as fields."""
    output = whole.invoke("doctor", "--contract")
    assert "✗" not in output
    for piece in ("train", "evaluate", "promote", "model.lock", "infra/metrics.toml", "handler", "/version", "/deep"):
        assert f"✓ {piece} " in output, piece
    assert "evaluate             no command, so the service does not have this stage" in output
    found = json.loads(whole.invoke("doctor", "--contract", "--json"))
    assert all(finding["ok"] for finding in found)
    json_shapes.check("doctor", found)


def without(path: str) -> Callable[[Tiny], None]:
    return lambda tiny: (tiny.root / path).unlink()


def handler(old: str, new: str) -> Callable[[Tiny], None]:
    return lambda tiny: tiny.replace("src/service/handler.py", old, new)


BROKEN: dict[str, tuple[Callable[[Tiny], None], str, str]] = {
    "no handler": (without("src/service/handler.py"), "handler", "there is no src/service/handler.py"),
    "no function": (handler("def handler(", "def answer("), "handler", "has no attribute 'handler'"),
    "no import": (handler("import json,", "import not_there, json,"), "handler", "No module named 'not_there'"),
    "exit at import": (handler("import json", "raise SystemExit(3)\nimport json"), "handler", "SystemExit: 3"),
    "process dies": (handler("import json", "import os; os._exit(9)\nimport json"), "handler", "exited with 9"),
    "no lock": (without("requirements/serve.txt"), "handler", "there is no requirements/serve.txt"),
    "raises": (handler('    print("asked', "    raise ValueError('x')\n    print(\"asked"), "handler", "ValueError: x"),
    "no JSON": (handler("json.dumps(body)", "'hello'"), "/version", "'hello', which is not a JSON object"),
    "no number": (handler('int(os.environ["RELEASE_NUMBER"])', '"7"'), "/version", 'release is "7", it must be 7'),
    "no release.json": (handler(", **RELEASE", ""), "/version", "commit is missing; version is missing"),
    "other model": (handler("**RELEASE", '**RELEASE, "model": "x"'), "/version", 'model is "x", it must be "sha256:'),
    "version fails": (handler('"statusCode": 200', '"statusCode": 503'), "/version", "/version answers 503, not 200"),
    "probe fails": (
        handler('"statusCode": 200', '"statusCode": 404 if event["rawPath"] == "/deep" else 200'),
        "/deep",
        "/deep answers 404, not 200",
    ),
    "no model": (without("model.lock"), "model.lock", "there is no model yet (no model.lock)"),
    "altered model": (
        lambda tiny: next((tiny.root / "models").iterdir()).write_bytes(b"x") and None,
        "model.lock",
        "is not the model that model.lock names",
    ),
    "no training": (without("src/service/training.py"), "train", "there is no src/service/training.py"),
    "no train lock": (without("requirements/train.txt"), "train", "[train] command needs requirements/train.txt"),
    "no program": (
        lambda tiny: tiny.replace("pipeline.toml", '"python", "-m", "service.training"', '"not-there-at-all"'),
        "train",
        "there is no not-there-at-all",
    ),
    "bad metrics": (
        lambda tiny: tiny.write("infra/metrics.toml", "= 1"),
        "infra/metrics.toml",
        "infra/metrics.toml: 1 problem",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_missing_piece_has_its_line(whole: Tiny, name: str) -> None:
    """What is missing is named, with its fix, and the exit code is 1."""
    harm, piece, says = BROKEN[name]
    harm(whole)
    output = whole.invoke("doctor", "--contract", code=1)
    (line,) = [line for line in output.splitlines() if line.startswith(f"✗ {piece} ")]
    assert says in line
    assert "    fix: " in output


def test_slow_import_is_stopped(whole: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that never comes to an end is a finding, not a hang."""
    monkeypatch.setattr(contract, "SECONDS", 1)
    whole.write("src/service/handler.py", "import time\n\ntime.sleep(60)\n" + HANDLER)
    (found,) = [
        finding
        for finding in contract.check(whole.config, whole.config.environment("main"))
        if finding.check == "handler"
    ]
    assert "did not answer within 1 s" in sentence(found)


def test_page_names_each_piece() -> None:
    """The page says what is checked: paths, fields, files and commands."""
    for word in (
        "service.handler", "/version", "/readyz", "model.lock", "release.json", "RELEASE_NUMBER", contract.METRICS,
        "[train]", "[evaluate]", "[promote]", "requirements/serve.txt", "requirements/train.txt", "invoke doctor --contract",
        "`release`", "`model`", *(f"`{name}`" for name in contract.BUILT),
    ):  # fmt: skip
        assert word in PAGE, word
    for module in (TEMPLATE / "src/ml_service").glob("[a-z]*.py"):
        assert f"`{module.stem}`" in PAGE, module.stem


def test_delivery_knows_no_domain() -> None:
    """No line of the delivery code knows what a price is, but AWS's own."""
    words = re.compile("price|pric(?=[^e])|elastic(?!load)|regret|sales|stockcode|revenue|predict|backup", re.I)
    costs = re.compile(r"list prices?|lambda/pricing|price = dollars_per_gb_second|\* \{price\} / calls")
    package = ROOT / "src/ml_delivery"
    for path in package.rglob("*"):
        name = path.relative_to(package).as_posix()
        own = path.suffix in (".py", ".yaml", ".json", ".toml", ".txt") and not name.startswith(("locks/", "queries/"))
        if own and not name.endswith("/costs.py"):  # what AWS charges
            text = re.sub(
                r"^REPLACED = \{.*?^\}", "", path.read_text(encoding="utf-8"), flags=re.M | re.S
            )  # keys of old
            held = words.findall(costs.sub("", text))
            assert not held, (name, held)


def test_probe_needs_no_delivery() -> None:
    """The script that asks the handler runs where only the service's own packages are."""
    text = TARGET.probe.read_text()
    assert "ml_delivery" not in text
