"""The feed for gateways: exact numbers, the tightest budget of a team, models that are allowed."""

from __future__ import annotations

import json
import re
import shutil
from datetime import date
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest

from pipelines import guardrails, policy
from pipelines.sample import policy_files

THROUGH = date(2026, 10, 21)
BUDGETS = """version: 1
budgets:
  - {id: search, team: search, amount: 100, models: [gpt-5-mini]}
  - {id: search-tight, team: search, amount: 50}
  - {id: docs, team: docs, application: document-pipeline, amount: 9}
  - {id: support, team: support, amount: 10}
"""


@pytest.fixture
def run(tmp_path: Path) -> Any:
    shutil.copytree(policy_files(), tmp_path / "policy")
    (tmp_path / "policy" / "budgets.yaml").write_text(BUDGETS)
    con = duckdb.connect()
    con.execute(
        "create table guardrails as select id as budget_id, id as name, 'fixed' as kind, '' as for_project, 'x' as about, date '2026-10-22' as day, '2026-10' as period,"
        " date '2026-10-21' as as_of, left_over::decimal(38, 12) as amount, 0::decimal(38, 12) as consumed, 'USD' as currency, left_over::decimal(38, 12) as remaining,"
        " 10::bigint as days_left, 1.25::decimal(38, 2) as daily_limit, date '2026-11-01' as resets_on, 'open' as state, null::varchar as owner"
        " from (values ('search', 70.129), ('search-tight', 20.5), ('docs', 9), ('support', 0)) t(id, left_over)"
    )
    con.execute(
        "create table usage_daily as select * from (values ('search', date '2026-10-02', 1.005), ('search', date '2026-09-30', 500), ('support', date '2026-10-02', null))"
        " t(caller_team_id, usage_date, source_cost)"
    )
    con.execute(
        "create table suggested_limits as select team_id, application, date '2026-10-21' as as_of, state,"
        " highest::decimal(38, 12) as highest_cost, daily::decimal(38, 2) as daily_limit, 'nothing changes' as assumption"
        " from (values ('marketing', 'campaigns', 'not_known', null, null), ('marketing', null, 'suggested', 3.004, 6.01))"
        " t(team_id, application, state, highest, daily)"
    )
    yield SimpleNamespace(con=con, policy=policy.load(tmp_path / "policy"), root=tmp_path, through=THROUGH)
    con.close()


def read(run: Any, name: str) -> Any:
    return json.loads(guardrails.files(run)[f"guardrails/{name}.json"], parse_float=Decimal)


def test_every_budget_with_its_scope_and_models(run: Any) -> None:
    found = read(run, "budgets")
    assert found["as_of"] == "2026-10-21"
    search, _, docs, _ = sorted(found["budgets"], key=lambda one: ("search", "search-tight", "docs", "support").index(one["id"]))
    assert (search["remaining"], search["daily_limit"], search["allowed_models"], search["resets_on"]) == (Decimal("70.12"), Decimal("1.25"), ["gpt-5-mini"], "2026-11-01")
    assert docs["scope"] == {"team": ["docs"], "application": ["document-pipeline"]} and docs["allowed_models"] is None


def test_litellm_stops_a_team_when_its_tightest_budget_is_used_up(run: Any) -> None:
    found = {one["team_id"]: one for one in read(run, "litellm")["litellm"]}
    assert found.keys() == {"team-search", "team-support"}  # the budget of docs is about an application, which LiteLLM does not know
    search = found["team-search"]
    assert search["max_budget"] == Decimal("21.50")  # 1.005 counted this month and 20.50 left, in whole cents
    assert (search["budget_duration"], search["budget_reset_at"], search["metadata"]["budget_id"]) == ("1mo", "2026-11-01T00:00:00Z", "search-tight")
    assert "models" not in search  # of this budget none are named
    assert found["team-support"]["max_budget"] == 0


def test_suggestions_are_told_apart_from_what_is_declared(run: Any) -> None:
    whole, part = read(run, "suggested")["suggested"]
    assert (whole["team_id"], whole["application"], whole["state"], whole["assumption"]) == ("marketing", None, "suggested", "nothing changes")
    assert (whole["highest_cost"], whole["daily_limit"]) == (Decimal("3.004"), Decimal("6.01"))
    assert (part["application"], part["state"], part["highest_cost"], part["daily_limit"]) == ("campaigns", "not_known", None, None)
    assert all("marketing" not in text for place, text in guardrails.files(run).items() if place != "guardrails/suggested.json")


def test_a_budget_of_weeks_lasts_as_long_as_its_period(run: Any) -> None:
    path = run.root / "policy" / "company.yaml"
    weeks = "  weeks: {pattern: 4-4-5, year_starts: 2026-09-28, years: {2027: 52}}\n"
    path.write_text(re.sub(r"  ends_on: .*\n", "", path.read_text()).replace("first_period: 2026-09", "first_period: 2026-10").replace("calendar:\n", "calendar:\n" + weeks))
    run.policy = policy.load(path.parent)
    found = {one["team_id"]: one for one in read(run, "litellm")["litellm"]}
    assert found["team-search"]["budget_duration"] == "28d"
    assert found["team-search"]["max_budget"] == Decimal("521.50")  # the last days of September are in the period


def test_amounts_are_numbers_with_their_digits() -> None:
    text = guardrails.as_json({"a": Decimal("12345678901234567890.10"), "b": Decimal("-0.05"), "c": "a \\u00005 é", "d": date(2026, 1, 2)})
    assert '"a": 12345678901234567890.10' in text and '"b": -0.05' in text
    assert json.loads(text)["c"] == "a \\u00005 é" and json.loads(text)["d"] == "2026-01-02"
