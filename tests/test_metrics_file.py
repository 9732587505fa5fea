"""The service's own panels and alarms, in ``infra/metrics.toml``: what is refused, and what they can be."""

from __future__ import annotations

import json
import re

import pytest
from tiny import Tiny

from ml_delivery.errors import ConfigError
from ml_delivery.monitoring import definition, stack
from ml_delivery.monitoring.template import dashboard
from ml_delivery.observed import Observed, Place


def at(tiny: Tiny) -> Place:
    return Place(tiny.config, tiny.config.environment("main"), "123456789012")


def seen(tiny: Tiny) -> Observed:
    return definition.observed(at(tiny))


WRONG = {
    "not TOML": ("[queries", "not TOML"),
    "unknown table": ("[panel.x]\n", "panel: unknown table; did you mean panels?"),
    "no table": ("[panels]\nx = 1\n", "panels.x: 1 is not a table; write [panels.x]"),
    "unknown key": ('[queries.x]\nmetrics = "X"\n', "queries.x.metrics: unknown key; did you mean metric?"),
    "neither": ('[queries.x]\nlabel = "x"\n', "queries.x: write either a metric or an expression"),
    "both": ('[queries.x]\nmetric = "X"\nexpression = "1"\n', "queries.x: write either a metric or an expression"),
    "statistic": ('[queries.x]\nmetric = "X"\nstatistic = "Mean"\n', "queries.x.statistic: 'Mean' is not allowed"),
    "a name": ('[queries.X]\nmetric = "X"\n', "queries.X: not an allowed name"),
    "reference": (
        '[queries.x]\nexpression = "100 * y"\n',
        "refers to 'y', which is not a query above it; write one of good, most",
    ),
    "itself": ('[queries.x]\nexpression = "100 * x"\n', "refers to 'x', which is not a query above it"),
    "panel's query": (
        "[panels.p]\nqueries = ['goo']\n",
        "panels.p.queries: 'goo' is not one of [queries]; did you mean good?",
    ),
    "panel of nothing": ("[panels.p]\n", "panels.p: write either queries or log"),
    "panel's log": ("[panels.p]\nlog = 'none'\n", "panels.p.log: infra/queries/none.txt does not exist"),
    "panel's unit": ("[panels.p]\nunit = 'euro'\nqueries = ['good']\n", "panels.p.unit: 'euro' is not one of count"),
    "a panel twice": (
        "[panels.requests]\nqueries = ['good']\n",
        "panels.requests: there is already a panel with this name",
    ),
    "an alarm twice": ("[alarms.errors]\n", "alarms.errors: there is already an alarm with this name"),
    "alarm's query": (
        "[alarms.a]\nquery = 'god'\n",
        "alarms.a.query: 'god' is not one of [queries]; did you mean good?",
    ),
    "alarm without": ("[alarms.a]\nquery = ''\n", "alarms.a.query: '' is not allowed"),
    "a threshold": ("[alarms.a]\nthreshold = '5'\n", "alarms.a.threshold: '5' is not a number; write a number: 5"),
    "a switch": ("[alarms.a]\nbelow = 1\n", "alarms.a.below: 1 is neither true nor false"),
    "periods": ("[alarms.a]\nperiods = 1\nneeded = 2\n", "alarms.a.needed: 2 is more than alarms.a.periods, 1"),
    "period": ("[alarms.a]\nperiod = 61\n", "alarms.a.period: 61 is not 10, 30 or a multiple of 60"),
    "a day": ("[alarms.a]\nperiod = 120\nperiods = 1000\n", "alarms.a.periods: together they are longer than"),
    "missing": ("[alarms.a]\nmissing = 'ok'\n", "alarms.a.missing: 'ok' is not one of notBreaching, breaching"),
    "function": (
        "[alarms.a]\nquery = 'most'\n",
        "alarms.a.query: calls MAX; an alarm's expressions can call only ABS, FILL, LOG",
    ),
}
RIGHT = '[queries]\ngood = { metric = "Good" }\nmost = { expression = "MAX(good)" }\n'
PANEL = "row = 'R'\ntitle = 'T'\nabout = 'A.'\n"
ALARM = {"title": "'T'", "means": "'M.'", "then": "'invoke status'", "query": "'good'", "threshold": "1"}


def whole(text: str) -> str:
    """``text`` with all that its tables need beside what is wrong with them."""
    text = re.sub(r"(\[panels\.\w+\]\n)", lambda found: found[1] + PANEL, text)
    more = "".join(f"{name} = {value}\n" for name, value in ALARM.items() if not re.search(rf"^{name} =", text, re.M))
    return re.sub(r"(\[alarms\.\w+\]\n)", lambda found: found[1] + more, text)


@pytest.mark.parametrize("name", WRONG)
def test_wrong_metrics_file_is_refused(tiny: Tiny, name: str) -> None:
    """Each problem is named by its place, with what to write, and is the only one."""
    text, says = WRONG[name]
    tiny.write("infra/metrics.toml", (RIGHT if text != "[queries" else "") + whole(text))
    with pytest.raises(ConfigError, match=r"infra/metrics\.toml: ") as refusal:
        seen(tiny)
    assert says in str(refusal.value)
    assert name in ("not TOML", "alarm without") or len(refusal.value.problems) == 1, refusal.value.problems


def test_all_problems_are_named_at_once(tiny: Tiny) -> None:
    """One run, every problem; ``bootstrap`` prints them and changes nothing."""
    tiny.write("infra/metrics.toml", RIGHT + whole("[alarms.a]\nquery = 'bad'\n[panels.p]\nlog = 'none'\n[other]\n"))
    printed = tiny.invoke("bootstrap", code=1)
    assert "infra/metrics.toml: 3 problems" in printed
    assert "next: correct infra/metrics.toml" in printed


def test_own_panels_can_join_a_row_and_show_a_log(tiny: Tiny) -> None:
    """A panel of a row that is there already is its last; a log query is a table; hidden queries come along."""
    tiny.write("infra/queries/mine.txt", "# Mine.\nlimit 1\n")
    tiny.write(
        "infra/metrics.toml",
        RIGHT + "[panels.more]\nrow = 'Requests'\ntitle = 'M'\nabout = 'A.'\nqueries = ['most']\n"
        "[panels.lines]\nrow = 'Own'\ntitle = 'L'\nabout = 'A.'\nlog = 'mine'\n",
    )
    found = seen(tiny)
    assert [(query.id, query.shown) for query in found.rows["Requests"][-1].queries] == [
        ("good", False),
        ("most", True),
    ]
    assert [widget["type"] for widget in dashboard(at(tiny), found)["widgets"]].count("log") == 3


def test_labels_of_cloudwatch_are_not_cloudformations(tiny: Tiny) -> None:
    """A dynamic label of CloudWatch reaches it as written; only the account is CloudFormation's to fill in."""
    query = '[queries]\nx = { metric = "X", label = "now ${LAST}" }\n'
    tiny.write("infra/metrics.toml", query + whole("[panels.x]\nqueries = ['x']\n"))
    body = json.loads(stack.wanted(tiny.config, tiny.config.environment("main")).body)["Resources"]["Dashboard"]
    text = body["Properties"]["DashboardBody"]["Fn::Sub"]
    assert "now ${!LAST}" in text
    assert set(re.findall(r"\$\{(?!!)[^}]+\}", text)) == {"${AWS::AccountId}"}
