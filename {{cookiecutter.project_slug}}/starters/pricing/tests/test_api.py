"""The OpenAPI document is true: generated requests, valid and invalid, are answered as it says."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

import service
from ml_service import models
from service.app import create_app

# Of each operation; the pipeline's own tests ask for more.
EXAMPLES = int(os.environ.get("API_EXAMPLES", "10"))
DOCUMENT = json.loads((Path(service.__file__).parent / "openapi.json").read_text(encoding="utf-8"))
OPERATIONS = [(method, path) for path, methods in DOCUMENT["paths"].items() for method in methods]

answered: list[int] = []


@pytest.fixture(scope="module")
def api(trained: Path) -> Iterator[schemathesis.BaseSchema]:
    """The document, as the service serves it."""
    found = models.find_root
    models.find_root = lambda: trained
    yield schemathesis.openapi.from_wsgi("/openapi.json", create_app())
    models.find_root = found
    print(f"\n{len(answered)} generated requests, {answered.count(200)} answered with 200")


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_document_is_true(api: schemathesis.BaseSchema, method: str, path: str) -> None:
    """Status, headers and body are those that the document promises; wrong requests are refused, none ends with 500."""
    operation = api[path][method]
    cases = st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in GenerationMode))

    @seed(7)
    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=cases, known=st.booleans())
    def ask(case: schemathesis.Case, known: bool) -> None:
        if known:  # else nearly all would end with an unknown product
            _name_known(case)
        response = case.call()
        answered.append(response.status_code)
        # Whether low is below high, no schema can say: such a range is well formed, and answered with 422.
        excluded = [positive_data_acceptance] if response.status_code == 422 else []
        case.validate_response(response, excluded_checks=excluded)
        assert response.status_code < 500
        assert b"Traceback" not in response.content

    ask()


def test_every_route_is_in_the_document(root: Path) -> None:
    """What the service answers, the document names; and what it names, the service answers."""
    found = set()
    for rule in create_app().url_map.iter_rules():
        methods = (rule.methods or set()) - {"HEAD", "OPTIONS"}
        found |= {(method.lower(), rule.rule.replace("<", "{").replace(">", "}")) for method in methods}
    assert found == set(OPERATIONS)


def _name_known(case: schemathesis.Case) -> None:
    """Replace the product of a request, if it names one, by one that exists."""
    if "stockcode" in (case.path_parameters or {}):
        case.path_parameters["stockcode"] = "85111"
    instances = case.body.get("instances") if isinstance(case.body, dict) else None
    for one in instances if isinstance(instances, list) else []:
        # A name that is wrong in itself stays so.
        if isinstance(one, dict) and isinstance(one.get("stockcode"), str) and 1 <= len(one["stockcode"]) <= 64:
            one["stockcode"] = "85111"
