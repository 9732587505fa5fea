"""What every service runs with: releases, verified models, logs that are metrics, problem documents."""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny import ROOT, TEMPLATE

from ml_service import cache, models, problems, release, serving, telemetry

PACKAGE = TEMPLATE / "src/ml_service"


@pytest.mark.parametrize("package", [PACKAGE, ROOT / "src/ml_pages"], ids=lambda path: path.name)
def test_needs_the_standard_library_alone(package: Path) -> None:
    """Nothing is imported but the standard library, the package itself, botocore, which Lambda's Python has, and the service."""
    more = {"secrets.py": {"botocore"}, "invocations.py": {"service"}}
    for path in package.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            outside = {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {package.name}
            assert outside <= more.get(path.name, set()), (path.name, outside)


def test_release_is_what_build_and_deploy_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record is of release.json, RELEASE_NUMBER and RELEASE_DIGEST; what is really open may replace the model's digest."""
    built = {"commit": "c" * 40, "version": "v", "model": "sha256:1", "content": "sha256:2"}
    (tmp_path / "release.json").write_text(json.dumps(built))
    monkeypatch.setattr(release, "__file__", str(tmp_path / "ml_service/release.py"))
    monkeypatch.setenv("RELEASE_NUMBER", "12")
    assert release.read().document() == {"release": 12, **built}
    assert release.read().document("sha256:3") == {"release": 12, **built, "model": "sha256:3"}
    monkeypatch.setenv("RELEASE_DIGEST", "sha256:4")
    assert release.read().document() == {"release": 12, **built, "digest": "sha256:4"}


def test_no_release_finds_another_ones_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same request has another key in Redis for another function, number or content, and the same for the same three."""
    asked = []
    monkeypatch.setattr(cache.Cache, "_begin", lambda self: None)
    monkeypatch.setattr(cache.Cache, "_command", lambda self, *words: asked.append(words[1]))
    monkeypatch.setattr(release, "__file__", str(tmp_path / "ml_service/release.py"))
    monkeypatch.setenv("REDIS_URL", "redis://cache")
    for function, number, content in (
        ("a", "1", "x"),
        ("b", "1", "x"),
        ("a", "2", "x"),
        ("a", "1", "y"),
        ("a", "1", "x"),
    ):
        built = {"commit": "c", "version": "v", "model": "the same", "content": content}
        (tmp_path / "release.json").write_text(json.dumps(built))
        monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", function)
        monkeypatch.setenv("RELEASE_NUMBER", number)
        kept = cache.from_environment(print)
        assert kept is not None
        kept.get("price/1")
        kept.put("price/1", b"2")
    keys = [asked[n] for n in range(0, 10, 2)]
    assert asked[1::2] == keys  # what is put is found
    assert len(set(keys)) == 4
    assert keys[0] == keys[4]


def test_release_of_a_checkout_is_number_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing was built there is a record all the same."""
    monkeypatch.delenv("RELEASE_NUMBER", raising=False)
    assert release.read() == release.Release(0, "unreleased", "unreleased", "", "")


def test_written_models_are_read_and_previous_ones_go(tmp_path: Path) -> None:
    """What was promoted last is what is loaded, first table first; tables without a file are notes."""
    models.write(tmp_path, "primary", b"first", ".json")
    digest = models.write(tmp_path, "primary", b"second", ".json")
    lock = tmp_path / "model.lock"
    lock.write_text(lock.read_text() + '\n[data]\ndigest = "sha256:0"\n')
    (found,) = models.load(tmp_path)
    assert (found.role, found.digest, found.content) == ("primary", digest, b"second")
    assert [path.name for path in (tmp_path / "models").iterdir()] == [Path(found.file).name]


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda root: (root / "model.lock").unlink(), "model.lock can't be read"),
        (lambda root: (root / "model.lock").write_text("[primary"), "model.lock can't be read"),
        (lambda root: (root / "model.lock").write_text("[data]\nrows = 3\n"), "model.lock names no model"),
        (lambda root: next((root / "models").iterdir()).unlink(), "the primary model models/.* can't be read"),
        (
            lambda root: next((root / "models").iterdir()).write_bytes(b"other"),
            "is sha256:.*, model.lock names sha256:",
        ),
    ],
    ids=["no lock", "no TOML", "no model", "no file", "altered"],
)
def test_what_is_not_the_promoted_model_is_not_loaded(tmp_path: Path, harm: object, says: str) -> None:
    """A missing, altered or unnamed model stops the process before anything opens it."""
    models.write(tmp_path, "primary", b"a model", ".json")
    harm(tmp_path)  # type: ignore[operator]
    with pytest.raises(models.ModelFault, match=says):
        models.load(tmp_path)


def test_problem_has_the_members_of_the_rfc() -> None:
    """A problem document has RFC 9457's members, the phrase of its status, and what the service adds."""
    assert problems.document(404, "there is no product 7", request="r") == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "there is no product 7",
        "request": "r",
    }


def test_problem_can_be_sent_whatever_it_quotes() -> None:
    """Half of a surrogate pair, as JSON can bring it, is escaped in every member; text that UTF-8 can express stays as it is."""
    found = problems.document(404, "there is no product \ud800", "Größe \udfff", request="\udbff")
    assert json.dumps(found, ensure_ascii=False).encode()
    assert (found["detail"], found["title"], found["request"]) == (
        "there is no product \\ud800",
        "Größe \\udfff",
        "\\udbff",
    )


def test_line_declares_what_it_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each metric that a line has is declared, with its unit, for the function; other members are only searchable."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "demand-pricing-production")
    line = json.loads(telemetry.line("info", {"Drinks": "Count"}, path="/", Latency=1.5, Drinks=2))
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert directive == {
        "Namespace": telemetry.NAMESPACE,
        "Dimensions": [["Function"]],
        "Metrics": [{"Name": "Latency", "Unit": "Milliseconds"}, {"Name": "Drinks", "Unit": "Count"}],
    }
    assert line["Function"] == "demand-pricing-production"
    assert (line["Latency"], line["Drinks"], line["path"]) == (1.5, 2, "/")


def test_failures_are_also_written_by_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deploy in steps compares versions by this one metric; without a version nothing more is declared."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "demand-pricing-production")
    assert len(json.loads(telemetry.line("info", Failures=0))["_aws"]["CloudWatchMetrics"]) == 1
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_VERSION", "7")
    line = json.loads(telemetry.line("info", Latency=1.5, Failures=1))
    assert line["Version"] == "7"
    assert line["_aws"]["CloudWatchMetrics"][1:] == [
        {
            "Namespace": telemetry.NAMESPACE,
            "Dimensions": [["Function", "Version"]],
            "Metrics": [{"Name": "Failures", "Unit": "Count"}],
        }
    ]
    assert "Version" not in json.loads(telemetry.line("info", Latency=1.5))


def test_pod_compares_versions_by_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster measures nothing by version, so a pod's lines do; those of checks carry no metrics."""
    monkeypatch.setenv("ML_SERVICE_NAME", "demand-pricing-production")
    monkeypatch.setenv("ML_SERVICE_VERSION", "demand-pricing-7")
    line = json.loads(telemetry.line("info", Latency=1.5, Failures=1, Release=7))
    whole, by_version = line["_aws"]["CloudWatchMetrics"]
    assert [metric["Name"] for metric in whole["Metrics"]] == ["Latency", "Failures", "Release"]
    assert [metric["Name"] for metric in by_version["Metrics"]] == ["Latency", "Failures"]
    assert (line["Function"], line["Version"]) == ("demand-pricing-production", "demand-pricing-7")
    with telemetry.unmeasured():
        assert json.loads(telemetry.line("info", Latency=1.5)) == {"level": "info", "Latency": 1.5}
    assert "_aws" in json.loads(telemetry.line("info", Latency=1.5))


def test_checks_of_a_pod_are_no_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kubelet, a load balancer and a deploy ask is answered, and neither counted nor measured; users are."""
    monkeypatch.setenv("ML_SERVICE_NAME", "demand-pricing-production")
    lines = []

    def app(environ: dict[str, object], start_response: Callable[..., object]) -> list[bytes]:
        lines.append(json.loads(telemetry.line("info", Latency=1, Failures=0)))
        start_response("200 OK", [])
        return [b"answer"]

    measured = serving.Measured(app)
    for agent in ("kube-probe/1.33", "ELB-HealthChecker/2.0", "ml-delivery", "curl/8"):
        assert measured({"HTTP_USER_AGENT": agent}, lambda *_: None) == [b"answer"]
    assert ["_aws" in line for line in lines] == [False, False, False, True]
    assert 'http_requests_total{status="200"} 1\n' in measured.text()


def test_process_that_starts_again_is_counted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first start in a pod is none of a process that ended; where no file can be kept, none is."""
    monkeypatch.setenv("ML_SERVICE_NAME", "demand-pricing-production")
    for folder in (tmp_path, tmp_path / "missing"):
        monkeypatch.setattr(serving, "STARTED", folder / "started")
        serving.on_starting(None)
        serving.on_starting(None)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["Restarts"] for line in lines] == [0, 1, 0, 0]
    assert lines[1]["_aws"]["CloudWatchMetrics"][0]["Metrics"] == [{"Name": "Restarts", "Unit": "Count"}]


def test_line_outside_of_functions_and_pods_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where neither runs nothing is declared."""
    monkeypatch.delenv("AWS_LAMBDA_FUNCTION_NAME", raising=False)
    assert json.loads(telemetry.line("info", Latency=1)) == {"level": "info", "Latency": 1}


def test_trace_is_the_root_of_the_header(monkeypatch: pytest.MonkeyPatch) -> None:
    """API Gateway's header comes first, then Lambda's variable; only the root goes into the log."""
    root = "1-5759e988-bd862e3fe1be46a994272793"
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=1-0-0;Sampled=0")
    assert telemetry.trace(f"Self=1-2-3;Root={root};Parent=53995c3f42cd8ad8;Sampled=1") == root
    assert telemetry.trace("") == "1-0-0"
    assert telemetry.trace("nonsense") == ""
