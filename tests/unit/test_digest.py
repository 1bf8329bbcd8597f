"""A week of a team against the week before, from hand-made days; and how well its month was used."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from decimal import Decimal

import duckdb
import pytest

from pipelines.home import Home
from pipelines.render import digest, used, workbook
from tests.unit.test_render import company, opened, texts

HOSTILE = '<script>alert(1)</script> =HYPERLINK("x")'
MONEY = "decimal(38,12)"
THROUGH = date(2026, 10, 31)  # a Saturday: the last complete week is 19 to 25 October


def known(con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """What budgets, forecasts and the table efficiency say of the team search in October."""
    con.execute(
        f"""
        create table efficiency as
        select period, 'team' as scope, 'search' as team_id, activity, 'USD' as currency, cost::{MONEY} as cost, per_million::{MONEY} as cost_per_million_tokens,
            success::{MONEY} as cost_per_success, 1234.5::{MONEY} as tokens_per_success, 0.25::decimal(38, 2) as waste_percent, hit::decimal(38, 2) as token_cache_hit_percent,
            null::decimal(38, 2) as request_cache_hit_percent, -1.5::decimal(38, 2) as savings_percent
        from (values ('2026-10', 'inference', 120.5, 2.345, 0.0456, 27.6), ('2026-09', 'inference', 100, 2.5, 0.05, 20), ('2026-10', 'embedding', 3, 0.1, 0.01, null),
            ('2026-08', 'inference', 999, 9, 9, 9)) t(period, activity, cost, per_million, success, hit)
        """
    )
    con.execute("insert into efficiency select period, 'company', '*', activity, currency, 7777, 7, 7, 7, 7, 7, 7, 7 from efficiency")
    con.execute(
        f"""
        create table budget_status as
        select * from (values ('small', 'Small', '', '2026-10', 100::{MONEY}, 'USD', 107.69, 250::{MONEY}, 'over', null::integer), ('large', $hostile, 'p', '2026-10', 1000, 'USD', 81.5, null, 'at_threshold', 80),
            ('other', 'Other', '', '2026-10', 1, 'USD', 1, 1, 'within', null), ('small', 'Small', '', '2026-09', 100, 'USD', 5, 5, 'within', null))
            t(budget_id, name, for_project, period, amount, currency, consumed_percent, forecast, state, threshold_percent)
        """,
        {"hostile": HOSTILE},
    )
    con.execute("create table budget_draws as select budget_id, for_project, period, if(budget_id = 'other', 'support', 'search') as team_id, 62.5::decimal(38, 2) as share_percent from budget_status")
    con.execute(
        f"create table forecast as select 'team' as scope, 'search' as scope_id, '2026-10' as period, date '2026-10-21' as as_of, 'last_7_days' as method, 'forecast' as basis,"
        f" 90::{MONEY} as to_date, 150.255::{MONEY} as forecast, 140::{MONEY} as low, 160::{MONEY} as high"
    )
    return con


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    made = duckdb.connect()
    made.execute("create table periods as select * from (values ('2026-09', date '2026-09-01', date '2026-10-01', null), ('2026-10', date '2026-10-01', date '2026-11-01', null)) t(period, starts_on, ends_on, fiscal_period)")
    made.execute("create table statements as select 'search' as team_id, $name as team_name", {"name": HOSTILE})
    made.execute(
        f"""
        create table cost_daily as
        select '2026-10' as period, day::date as usage_date, team as team_id, project as project_id, 'app' as application, 'inference' as activity, service, model,
            null::varchar as vector_index_id, category, one_off, 'USD' as currency, cost::{MONEY} as cost
        from (values
            ('2026-10-11', 'search', 'p1', 'API', 'm1', 'direct', false, 1000), ('2026-10-12', 'search', 'p1', 'API', 'm1', 'direct', false, 10.005),
            ('2026-10-18', 'search', 'p2', 'API', 'm2', 'direct', false, 20), ('2026-10-19', 'search', 'p1', 'API', 'm1', 'direct', false, 40.25),
            ('2026-10-25', 'search', null, 'API', null, 'shared', false, 5), ('2026-10-20', 'search', 'p2', 'API', 'm2', 'direct', false, 8),
            ('2026-10-21', 'search', null, 'Tax', null, 'direct', true, 3.5), ('2026-10-26', 'search', 'p1', 'API', 'm1', 'direct', false, 1000),
            ('2026-10-12', 'gone', 'p', 'API', 'm1', 'direct', false, 12), ('2026-08-12', 'old', 'p', 'API', 'm1', 'direct', false, 12))
            t(day, team, project, service, model, category, one_off, cost)
        """
    )
    made.execute(
        """
        create table usage_daily as
        select day::date as usage_date, 'search' as team_id, operation, status, 'none' as gateway_cache, n as events, n as requests, 60 * n as input_uncached_tokens, 40 * n as cache_read_tokens,
            0 as cache_write_5m_tokens, 0 as cache_write_1h_tokens, 0 as audio_input_tokens, 20 * n as output_tokens, 5 * n as reasoning_tokens, 0 as audio_output_tokens
        from (values ('2026-10-19', 'chat', 'success', 9), ('2026-10-20', 'chat', 'failure', 1), ('2026-10-20', 'embedding', 'success', 500), ('2026-10-13', 'chat', 'success', 4))
            t(day, operation, status, n)
        """
    )
    yield known(made)


@pytest.mark.parametrize(
    ("through", "monday", "label"),
    [("2026-10-24", "2026-10-12", "2026-W42"), ("2026-10-25", "2026-10-19", "2026-W43"), ("2026-10-31", "2026-10-19", "2026-W43"), ("2027-01-04", "2026-12-28", "2026-W53"), ("2024-12-31", "2024-12-23", "2024-W52")],
)
def test_the_last_complete_iso_week(through: str, monday: str, label: str) -> None:
    found = digest.last_week(date.fromisoformat(through))
    assert (found.isoformat(), digest.label(found)) == (monday, label)


def told(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<(style|svg).*?</\1>|<[^>]+>", " ", html, flags=re.DOTALL))


def test_a_week_stands_against_the_week_before(con: duckdb.DuckDBPyConnection) -> None:
    made = digest.pages(con, THROUGH)
    assert set(made) == {"search.html", "gone.html"} and made["search.html"].name == HOSTILE
    said = told(made["search.html"].html)
    assert "This week 56.75 89.1% above the week before Change +26.75 the week before: 30.01" in said  # 30.005 is shown in whole cents
    assert "Per successful call 5.9167 the week before: 7.5012" in said  # 53.25 of nine, 30.005 of four
    assert "m1 40.25 10.01 +30.25" in said and "Taxes, credits and other one-off lines 3.50 0.00 +3.50" in said and "m2 8.00 20.00 −12.00" in said
    assert said.count("All 56.75 30.01 +26.75") == 2 and "No project named 5.00 0.00 +5.00" in said
    assert "Calls 10 4 Failed 10.0% 0.0%" in said and "Input read from prompt caches 40.0% 40.0%" in said
    assert "Budget used 107.7% Small: over" in said and "Expected for the whole month: 150.26 , between 140.00 and 160.00" in said
    assert "2026-10-21 0.00 0.00 3.50 3.50" in said
    gone = told(made["gone.html"].html)
    assert "This week 0.00" in gone and "Change −12.00" in gone and "Out of the ordinary" not in said + gone
    assert {name: one.html for name, one in digest.pages(con, THROUGH).items()} == {name: one.html for name, one in made.items()}


def test_names_on_a_digest_are_text(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("update cost_daily set team_id = '../' || team_id, model = $name, project_id = $name where team_id = 'search'", {"name": HOSTILE})
    made = digest.pages(con, THROUGH)
    assert all(re.fullmatch(r"[a-z0-9-]+\.html", name) for name in made) and len(made) == 3
    for one in made.values():
        assert "<script" not in one.html
    assert sum(HOSTILE.replace("<", "&lt;").replace(">", "&gt;").replace('"', "&#34;") in one.html for one in made.values()) == 2


def test_alerts_of_the_week_are_told_where_there_are_some(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(
        f"""
        create table alerts as
        select id as alert_id, 'cache_drop' as kind, severity, team as team_id, day::date as raised_on, evidence, 'open' as state, 1::{MONEY} as expected, 2::{MONEY} as actual, impact::{MONEY} as cost_impact
        from (values ('a', 'info', 'search', '2026-10-19', 'first seen', 1.5), ('b', 'critical', 'search', '2026-10-25', $hostile, null), ('c', 'critical', 'search', '2026-10-26', 'after it', 1),
            ('d', 'warning', 'search', '2026-10-18', 'before it', 1), ('e', 'critical', 'gone', '2026-10-20', 'of another', 1)) t(id, severity, team, day, evidence, impact)
        """,
        {"hostile": HOSTILE},
    )
    page = digest.pages(con, THROUGH)["search.html"].html
    said = told(page)
    assert "2026-10-19 Cache drop first seen 1.50 open" in said and said.index("2026-10-25 Cache drop") < said.index("2026-10-19 Cache drop")
    assert not re.search("after it|before it|of another|<script", page)


def test_an_outcome_is_told_to_the_team_that_pays_for_it(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(
        f"""
        create table unit_economics as
        select name as unit_id, name, about, period, period = '2026-09' as is_whole, 'USD' as currency, 10::{MONEY} as quantity, each::{MONEY} as cost_per_outcome, 4.25::decimal(38, 2) as change_percent,
            null::{MONEY} as target, 'missed' as target_state, 'dearer_but_better' as verdict
        from (values ('Ticket', 'application app, environment production', '2026-09', 1.5), ('Ticket', 'application app, environment production', '2026-10', 9.5), ('Other', 'application apple', '2026-09', 2),
            ('Search', 'team search', '2026-09', 3)) t(name, about, period, each)
        """
    )
    said = told(digest.pages(con, THROUGH)["search.html"].html)
    assert "Ticket September 2026 1.5000 +4.2% n/a dearer, with better answers, ✗ target missed" in said
    assert "Search September 2026 3.0000" in said and "Other September" not in said and "9.5000" not in said


def test_how_well_it_was_used_is_on_the_statement_and_in_the_workbook() -> None:
    con = company(days=2, projects=1)
    assert used.of_team(con, "2026-10", "search") is None  # published before these tables were
    bare = workbook.files(con, period="2026-10", version=0, team_id="search")
    assert "How well it was used" not in texts(bare["APN-2026-10-search-draft.xlsx"]) + bare["APN-2026-10-search-draft.html"].decode()
    known(con)
    found = used.of_team(con, "2026-10", "search")
    assert found and [one.label for one in found.measures if one.now is None] == ["Calls answered by the gateway's cache"] and [one["title"] for one in found.budgets] == ["Small", f"{HOSTILE} – p"]
    files = workbook.files(con, period="2026-10", version=0, team_id="search")
    said = told(files["APN-2026-10-search-draft.html"].decode())
    assert "Cost per 1M tokens 2.35 2.50 0.10" in said and "Input read from prompt caches 27.6% 20.0% n/a" in said and "Below public list prices −1.5%" in said
    assert "Small 62.5% 100.00 107.7% 250.00 ✗ Over" in said and "81.5% – ! Threshold reached (80%)" in said and "Expected for the whole month: 150.26 USD" in said
    rows = {row[1]: row[2:7] for row in opened(files["APN-2026-10-search-draft.xlsx"])["Usage"].iter_rows(values_only=True) if row[1]}
    assert rows["Charged for calls of models"][:3] == (120.5, 100, 3) and rows["Lost to failed attempts"][:2] == (0.0025, 0.0025)
    assert rows["Calls answered by the gateway's cache"][:3] == ("n/a", "n/a", "n/a") and rows["Small"] == (100, 1.0769, 250, 0.625, "✗ Over")
    assert rows[f"{HOSTILE} – p"][2] == "n/a" and any(str(row).startswith("Expected for the whole month: 150.26 USD") for row in rows)
    assert "Change" in said and "Budget used" not in said  # others draw on it too
    con.execute(f"alter table budget_status add column remaining {MONEY}; update budget_status set remaining = -7.69; update budget_draws set share_percent = 100")
    own = workbook.files(con, period="2026-10", version=0, team_id="search")
    assert "Budget used 107.7% 7.69 over 100.00 USD" in told(own["APN-2026-10-search-draft.html"].decode()) and "Budget used" in texts(own["APN-2026-10-search-draft.xlsx"])
    other = used.of_team(con, "2026-10", "support")
    assert other and other.measures == () and [one["title"] for one in other.budgets] == ["Other"] and other.forecast is None


def test_retrieval_and_waiting_for_gpus_stand_beside_calls_of_models() -> None:
    """What nobody says is n/a; a team without an index and without jobs has no such lines; the system prompt has a line where a call says it."""
    con = known(company(days=2, projects=1))
    con.execute(
        f"""
        create table rag_costs as
        select period, team_id, 'USD' as currency, cost::{MONEY} as cost, null::{MONEY} as new_embedding_cost, null::{MONEY} as re_embedding_cost, 1.5::{MONEY} as unknown_embedding_cost,
            0::{MONEY} as clean_up_cost, cost_per_query::{MONEY} as cost_per_query, null::{MONEY} as cost_per_document, indexes
        from (values ('2026-10', 'search', 20, 0.025, 2), ('2026-09', 'search', 15, 0.03, 2), ('2026-10', '*', 99, 9, 3), ('2026-10', 'support', 0, 0, 0)) t(period, team_id, cost, cost_per_query, indexes)
        """
    )
    con.execute(
        """
        create table gpu_queue as
        select '2026-10' as period, day as usage_date, cluster, 'search' as team_id, jobs, mean::decimal(38, 2) as mean_queue_minutes, p95::decimal(38, 2) as p95_queue_minutes
        from (values (null::date, '*', 12, 10.25, 61.04), (date '2026-10-05', '*', 3, 1, 1), (null, 'batch', 9, 2, 2)) t(day, cluster, jobs, mean, p95)
        """
    )
    files = workbook.files(con, period="2026-10", version=0, team_id="search")
    said = told(files["APN-2026-10-search-draft.html"].decode())
    assert "Vector indexes, all that they cost 20.00 15.00" in said and "Embedding documents again n/a n/a" in said and "Cost per search 0.0250 0.0300" in said
    assert "GPU jobs that started 12 n/a" in said and "Minutes waited for GPUs, mean 10.2 n/a" in said and "Minutes waited for GPUs, P95 61.0 n/a" in said
    rows = {row[1]: row[2:4] for row in opened(files["APN-2026-10-search-draft.xlsx"])["Usage"].iter_rows(values_only=True) if row[1]}
    assert rows["Cost per search"] == (0.025, 0.03) and rows["Minutes waited for GPUs, P95"] == (61.04, "n/a") and rows["Cost per document"] == ("n/a", "n/a")
    assert "Input that is system prompt" not in rows
    other = used.of_team(con, "2026-10", "support")
    assert other and other.beside == ()
    con.execute("alter table efficiency add column system_prompt_percent decimal(38, 2) default 12.5")
    found = used.of_team(con, "2026-10", "search")
    assert found and [(one.now, one.before) for one in found.measures if one.label == "Input that is system prompt"] == [(Decimal("12.5"), Decimal("12.5"))]


def test_the_week_of_each_night_stays_and_the_door_leads_to_the_newest(small_company: Home) -> None:
    weeks = {folder.name: sorted(path.name for path in folder.iterdir()) for folder in (small_company.reports / "weekly").iterdir()}
    assert set(weeks) == {"2026-W40", "2026-W43"} and "search.html" in weeks["2026-W40"]
    door = (small_company.reports / "index.html").read_text()
    assert re.findall(r'href="(weekly/[^"]+)"', door) and set(re.findall(r'href="weekly/2026-W43/([^"]+)"', door)) == set(weeks["2026-W43"]) and "2026-W40" not in door
    with duckdb.connect(str(small_company.current), read_only=True) as con:
        assert digest.pages(con, THROUGH)["search.html"].html == (small_company.reports / "weekly" / "2026-W43" / "search.html").read_text()
        total = con.execute("select sum(cost) from cost_daily where team_id = 'search' and usage_date between '2026-10-19' and '2026-10-25'").fetchall()[0][0]
        assert f"<b>{total.quantize(Decimal('0.01')):,}</b>" in (small_company.reports / "weekly" / "2026-W43" / "search.html").read_text()
