"""AWS's documented limits and refusals: each row of ``docs/limits.toml`` has its evidence, which is tried.

``nox -s aws`` tries the contracts in a real account, ``nox -s moto`` compares them with moto's server.
"""

from __future__ import annotations

import datetime
import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import contract_balancers
import contract_calls
import contract_checks
import contract_functions
import contract_management
import contract_stacks
import contract_storage
import pytest
from contract import CONTRACTS, VARIABLES, WHERE, Accepted, Account, real, refused

from ml_delivery import plugin

ROOT = Path(__file__).parent.parent
TABLE: list[dict[str, Any]] = tomllib.loads((ROOT / "docs/limits.toml").read_text())["limit"]
ROWS = {row["id"]: row for row in TABLE}
CONTRACT_FILES = (
    contract_balancers,
    contract_calls,
    contract_functions,
    contract_management,
    contract_stacks,
    contract_storage,
)
DIFFERENCES = {row.what for target in ("lambda-zip", "lambda-image") for row in plugin.find(target, ROOT).parity}
HOLDS = {"emulator": set(CONTRACTS), "check": set(contract_checks.CHECKS)}


@pytest.fixture(scope="session")
def at(request: pytest.FixtureRequest) -> Iterator[Account]:
    """The account that ``CONTRACT`` names."""
    if WHERE == "embedded":
        running = request.getfixturevalue("running")
        keys = {"aws_access_key_id": running.access_key, "aws_secret_access_key": running.secret_key}
        account = Account(WHERE, endpoint=running.endpoint, keys=keys)
    elif WHERE == "moto":
        keys = {"aws_access_key_id": "moto", "aws_secret_access_key": "moto"}
        account = Account(WHERE, endpoint=os.environ["CONTRACT_ENDPOINT"], keys=keys)
    else:
        account = real()
    yield account
    account.close()


def marked(row: str) -> Any:
    return pytest.param(row, marks=pytest.mark.contract(validated=ROWS[row]["validated"]))


@pytest.mark.parametrize("row", [marked(row) for row in CONTRACTS if row in ROWS])
def test_contract(row: str, at: Account) -> None:
    """The contract of the row is kept: accepted up to the limit, refused above it."""
    contract = CONTRACTS[row]
    if contract.only and at.kind != "embedded":
        pytest.skip(f"{row}: on the emulator only")
    if contract.runs and at.kind == "moto":
        pytest.skip(f"{row}: moto runs functions in Docker only")
    seen = "agrees"
    try:
        contract.try_in(at)
    except Exception as error:
        if at.kind != "moto":
            raise
        seen = "accepts" if isinstance(error, Accepted) else f"answers {getattr(error, 'code', type(error).__name__)}"
    finally:
        at.tidy()
    if at.kind == "moto":
        assert ROWS[row].get("moto") == seen, f"write moto = {seen!r} into docs/limits.toml"


class TestTable:
    """The table and its evidence."""

    @pytest.mark.parametrize("row", contract_checks.CHECKS)
    def test_check(self, row: str, tmp_path: Path) -> None:
        """What exceeds the limit is refused before anything reaches AWS."""
        contract_checks.CHECKS[row](tmp_path)

    @pytest.mark.parametrize("row", TABLE, ids=lambda row: row["id"])
    def test_row_has_evidence(self, row: dict[str, Any]) -> None:
        """Each way that a row is held has a contract, a check, or its place in the list of differences."""
        assert row["held"]
        for way in row["held"]:
            assert way in DIFFERENCES if way not in HOLDS else row["id"] in HOLDS[way], way
        assert re.fullmatch(r"https://docs\.aws\.amazon\.com/\S+", row["source"])
        contract = CONTRACTS.get(row["id"])
        asked = contract is not None and not contract.runs and not contract.only
        assert ("moto" in row) == asked
        assert ("validated" in row) == (contract is not None)

    def test_evidence_has_rows(self) -> None:
        """Each contract and check belongs to a row that says so, and ids are unique."""
        assert len(ROWS) == len(TABLE)
        for way, ids in HOLDS.items():
            assert ids == {row["id"] for row in TABLE if way in row["held"]}

    def test_validated_is_a_day_that_has_come(self) -> None:
        """A row was validated on a day, or never."""
        for row in TABLE:
            if (day := row.get("validated", "never")) != "never":
                assert datetime.date.fromisoformat(day) <= datetime.datetime.now(datetime.UTC).date()

    def test_contracts_say_what_they_hold(self) -> None:
        """Each has a docstring, and is in a file of its own kind."""
        for contract in CONTRACTS.values():
            assert contract.try_in.__doc__
            assert contract.try_in.__module__ in {module.__name__ for module in CONTRACT_FILES}

    def test_acceptance_and_another_error_fail_a_contract(self, at: Account) -> None:
        """A contract fails when a call is accepted, and when it is refused for another reason."""
        with pytest.raises(Accepted):
            refused(at.client("sts").get_caller_identity, "ValidationError")
        with pytest.raises(AssertionError, match="refused with NoSuchBucket"):
            refused(lambda: at.client("s3").list_objects_v2(Bucket=at.name()), "AccessDenied")

    def test_a_real_account_is_never_taken_by_chance(self, monkeypatch: pytest.MonkeyPatch, at: Account) -> None:
        """Without its number the tests are skipped, naming what to set; with another account's number they fail."""
        for name in VARIABLES:
            monkeypatch.delenv(name, raising=False)
        with pytest.raises(pytest.skip.Exception, match=r"set CONTRACT_ACCOUNT .*AWS_REGION"):
            real()
        for name, value in {
            "AWS_REGION": at.region,
            "AWS_ENDPOINT_URL": str(at.endpoint),
            "AWS_ACCESS_KEY_ID": at.keys["aws_access_key_id"],
            "AWS_SECRET_ACCESS_KEY": at.keys["aws_secret_access_key"],
            "CONTRACT_ACCOUNT": "999999999999",
        }.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(pytest.fail.Exception, match="the credentials are for"):
            real()
        monkeypatch.setenv("CONTRACT_ACCOUNT", at.number)
        assert real().number == at.number
