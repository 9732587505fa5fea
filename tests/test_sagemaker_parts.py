"""The target sagemaker without an endpoint: names, settings, the requests that its middleware makes, costs."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tiny import TEMPLATE

from ml_delivery.errors import ConfigError
from ml_delivery.targets import eks, sagemaker
from ml_delivery.targets.sagemaker import calls, costs, settings
from ml_delivery.targets.sagemaker.endpoint import State, Variant
from ml_delivery.targets.sagemaker.names import LIVE, OWNER, Names, number_of
from ml_delivery.targets.sagemaker.settings import SagemakerSettings
from ml_delivery.targets.sagemaker.variants import shares_of

LONGEST = Names(f"{'s' * 32}-{'e' * 16}")


def test_longest_names_are_within_sagemakers_limit() -> None:
    """63 characters are allowed: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateModel.html."""
    assert max(len(LONGEST.model("r999999")), len(LONGEST.config([]))) <= 63


def test_only_a_releases_names_are_taken_for_them() -> None:
    """What another service or a person named alike is not counted as a release's, nor swept."""
    names = Names("shop-production")
    found = {
        name: names.variant(name) for name in ("shop-production-r7", "shop-production-r7-old", "my-shop-production-r7")
    }
    assert list(found.values()) == ["r7", "", ""]
    assert [number_of(name) for name in ("r12", "AllTraffic", "r", "xr1")] == [12, 0, 0, 0]
    made = names.config([{"VariantName": "r1"}])
    assert names.is_config(made)
    assert made != names.config([{"VariantName": "r2"}])
    assert not any(map(names.is_config, ("shop-production-canary", "shop-production-r7", f"x{made}")))


@pytest.mark.parametrize(
    ("instance_type", "found"),
    [("ml.m5.large", "x86_64"), ("ml.m6g.large", "arm64"), ("ml.c6gn.xlarge", "arm64"), ("ml.g5.xlarge", "x86_64")],
)
def test_processors_are_known_by_the_instance_type(instance_type: str, found: str) -> None:
    """Graviton has a g after the generation, a family of that letter is something else."""
    assert settings.architecture(instance_type) == found


def test_variables_that_sagemaker_refuses_are_named() -> None:
    """One that is too long, all that are too large together, and one that the target itself sets."""
    own = SagemakerSettings()
    assert own.problems({"A": "x" * 1024}) == []
    assert "A: SageMaker allows 1024 characters" in own.problems({"A": "x" * 1025})[0]
    assert "all variables have" in own.problems({f"A{i}": "x" * 1000 for i in range(33)})[0]
    assert "PING_PATH: this target sets it" in own.problems({"PING_PATH": "/"})[0]


def split(*variants: Variant, live: bool = True, **more: Any) -> State:
    tags = {OWNER: "price-walk", **({LIVE: "release 1"} if live else {})}
    return State("arn", "InService", "c", variants={one.name: one for one in variants}, tags=tags, **more)


def test_traffic_is_what_has_a_weight() -> None:
    """The oldest release gets the rest; a variant without a weight has none; before the first shift nothing counts."""
    old, new, none = Variant("r9", 90, 1), Variant("r10", 10, 1), Variant("r8", 0, 1)
    found = shares_of(split(new, old, none))
    assert found is not None
    assert (found.deployed, found.weights) == ("r9", {"r10": 10})
    assert shares_of(split(old, live=False)) is None
    assert shares_of(split(none)) is None
    assert shares_of(None) is None


def test_an_endpoint_that_lost_its_tags_serves() -> None:
    """Only if all of its variants are releases; another's endpoint of this name is none of this pipeline's."""
    old, other = Variant("r9", 100, 1), Variant("theirs", 100, 1)
    for variants, deployed in (([old], "r9"), ([old, other], None), ([], None)):
        found = shares_of(replace(split(*variants), tags={}))
        assert (found.deployed if found else None) == deployed


def test_revision_changes_with_whatever_changes_the_split() -> None:
    """Weights, configuration and the time of the last change count; so does what is under way."""
    one = split(Variant("r1", 100, 1))
    others = [
        split(Variant("r1", 99, 1)),
        split(Variant("r1", 100, 1), changed="later"),
        State("arn", "Updating", "c", variants=one.variants),
        State("arn", "InService", "d", variants=one.variants),
    ]
    assert len({state.revision for state in (one, *others)}) == 5


@pytest.mark.parametrize(
    ("status", "settled"),
    [("InService", True), ("Failed", True), ("OutOfService", True), ("UpdateRollbackFailed", True)]
    + [(one, False) for one in ("Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting")],
)
def test_only_a_change_under_way_is_waited_for(status: str, settled: bool) -> None:
    """A state that ends by itself is waited for; one that needs a person is not."""
    assert State("arn", status, "c").settled is settled


def test_cost_is_that_of_the_instances() -> None:
    """Whatever the rate of requests; of a type without a price it is not known."""
    found = costs.estimate(5, "ml.m5.large", 2, 0.0)
    assert found is not None
    assert round(found.dollars, 2) == 165.6
    assert costs.estimate(5, "ml.p99.huge", 2, 0.0) is None
    assert costs.monthly([("ml.m5.large", 1), ("ml.c5.large", 2)]) == pytest.approx(229.68)
    assert costs.monthly([("ml.m5.large", 1), ("ml.p99.huge", 1)]) is None
    assert costs.monthly([]) == 0


@pytest.fixture(scope="module")
def invocations() -> ModuleType:
    """The template's middleware."""
    spec = importlib.util.spec_from_file_location("invocations", TEMPLATE / "src/ml_service/invocations.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.mark.parametrize(
    ("path", "attributes", "meant"),
    [
        ("/invocations", "GET /version", ("GET", "/version", "")),
        ("/invocations", "PUT /a%20b?c=d?e", ("PUT", "/a b", "c=d?e")),
        ("/invocations", "POST /%C3%BC", ("POST", "/\u00c3\u00bc", "")),
        ("/invocations", "", ("POST", "/invocations", "")),
        ("/invocations", "user 7", ("POST", "/invocations", "")),
        ("/invocations", "GET version", ("POST", "/invocations", "")),
        ("/invocations", "HEAD /version", ("POST", "/invocations", "")),
        ("/ping", "GET /version", ("GET", "/healthz", "")),
        ("/other", "GET /version", ("POST", "/other", "")),
    ],
)
def test_request_is_the_one_that_is_meant(
    invocations: ModuleType, path: str, attributes: str, meant: tuple[str, str, str]
) -> None:
    """CustomAttributes name method and path, as WSGI has them; anything else reaches the application as it came."""
    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "CONTENT_LENGTH": "4",
        "wsgi.input": io.BytesIO(b"body"),
        "HTTP_X_AMZN_SAGEMAKER_CUSTOM_ATTRIBUTES": attributes,
    }
    found = invocations.meant(environ, "/healthz")
    assert (found["REQUEST_METHOD"], found["PATH_INFO"], found["QUERY_STRING"]) == meant
    assert found["wsgi.input"].read(int(found["CONTENT_LENGTH"])) == (b"" if meant[0] == "GET" else b"body")


APP = """\
def create_app():
    def answer(environ, start_response):
        start_response("200 OK", [])
        through = environ.get("HTTP_X_AMZN_SAGEMAKER_CUSTOM_ATTRIBUTES", "")
        return [f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']} {through}".encode()]
    return answer
"""


@pytest.mark.parametrize(
    ("probe", "through"), [(eks.TARGET.probe, ""), (sagemaker.TARGET.probe, "GET /healthz")], ids=["eks", "sagemaker"]
)
def test_probe_asks_as_the_target_would(tmp_path: Path, probe: Path, through: str) -> None:
    """A cluster's sends the request itself, an endpoint's has the middleware make it; a fault is reported with its place."""
    app, result = tmp_path / "service/app.py", tmp_path / "result.json"
    app.parent.mkdir()
    folders = f"{tmp_path}{os.pathsep}{TEMPLATE / 'src'}"

    def ask() -> Any:
        words = [sys.executable, "-P", "-B", str(probe), str(result), "/healthz"]
        subprocess.run(words, env={**os.environ, "PYTHONPATH": folders}, check=True)
        return json.loads(result.read_text())

    app.write_text(APP)
    assert ask() == {"fault": "", "answers": {"/healthz": [200, f"GET /healthz {through}"]}}
    app.write_text("def create_app():\n    async def asgi(scope, receive, send): ...\n    return asgi\n")
    assert "an application of ASGI, as FastAPI's are, and gunicorn calls WSGI's" in ask()["fault"]
    app.write_text("raise SystemExit(3)")
    assert ask() == {"fault": "SystemExit: 3 (app.py:1)", "answers": {}}


@pytest.mark.parametrize(
    ("method", "headers", "says"),
    [
        (
            "OPTIONS",
            {},
            "--method: 1 problem\n  OPTIONS: the container is asked for GET, POST, PUT, PATCH, DELETE only",
        ),
        ("GET", {"X-One": "1", "Accept": "*/*"}, "x-one: SageMaker passes accept and content-type on, and no other"),
    ],
    ids=["method", "header"],
)
def test_what_an_endpoint_does_not_pass_on_is_refused(method: str, headers: dict[str, str], says: str) -> None:
    """A request that would arrive as another one is not sent."""
    with pytest.raises(ConfigError) as fault:
        calls.call(None, "endpoint", "", method, "/", b"", headers)
    assert says in str(fault.value)
