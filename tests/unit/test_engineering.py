"""The page for engineers: why models were chosen, how conversations grew, chains of models, and what GPUs did, from hand-made days."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import duckdb
import pytest

from pipelines.home import Home
from pipelines.render import engineering

MONEY = "decimal(38, 12)"


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    made = duckdb.connect()
    made.execute("create table periods as select '2026-10' as period, date '2026-10-01' as starts_on, date '2026-11-01' as ends_on")
    made.execute(
        f"""
        create table routing_daily as
        select day::date as usage_date, reason as routing_reason, model, events::bigint as events, failures::bigint as failures, cost::{MONEY} as contracted_cost,
            scores::decimal(38, 6) as quality_sum, scored::bigint as quality_events
        from (values ('2026-10-01', 'cost', 'gpt-5', 10, 1, 2, 1.5, 2), ('2026-10-31', 'cost', 'gpt-5', 5, 0, 1, 0.9, 1), ('2026-09-30', 'cost', 'gpt-5', 99, 9, 9, 9, 9),
            ('2026-10-02', 'escalated', 'gpt-5', 3, 0, 7, null, 0), ('2026-10-02', 'own', 'llama', 4, 0, null, null, 0), ('2026-10-02', null, 'gpt-5', 8, 0, 8, 8, 8))
            t(day, reason, model, events, failures, cost, scores, scored)
        """
    )
    made.execute(
        f"""
        create table conversations_daily as
        select day::date as usage_date, 'search' as team_id, project as project_id, sessions::bigint as conversations, long::bigint as long_conversations, turns::bigint as turns,
            most::bigint as most_turns, first::bigint as first_input_tokens, last::bigint as last_input_tokens, cost::{MONEY} as contracted_cost
        from (values ('2026-10-01', 'chat', 3, 1, 7, 5, 100, 900, 6), ('2026-10-02', 'chat', 1, 1, 3, 3, 100, 300, 2), ('2026-11-01', 'chat', 50, 50, 500, 9, 1, 9, 50),
            ('2026-10-02', null, 4, 0, 4, 1, 0, 0, null)) t(day, project, sessions, long, turns, most, first, last, cost)
        """
    )
    made.execute(
        f"""
        create table chains_daily as
        select day::date as usage_date, 'search' as team_id, application, chain, traces::bigint as traces, calls::bigint as calls, failures::bigint as failures, cost::{MONEY} as contracted_cost
        from (values ('2026-10-01', 'shop', 'gpt-5-mini > gpt-5', 3, 7, 1, 6), ('2026-10-09', 'shop', 'gpt-5-mini > gpt-5', 1, 2, 0, 3), ('2026-09-09', 'shop', 'gpt-5-mini > gpt-5', 9, 9, 9, 9),
            ('2026-10-01', null, 'llama', 2, 4, 2, null)) t(day, application, chain, traces, calls, failures, cost)
        """
    )
    yield made
    made.close()


def test_reasons_have_their_models_cost_and_mean_score(con: duckdb.DuckDBPyConnection) -> None:
    """Of the month's days only; the dearest first; no score is no score and no price is no zero; a call without a reason has no row."""
    found = [(one["reason"], one["model"], one["calls"], one["failures"], one["cost"], one["score"]) for one in engineering._routes(con, "2026-10")]
    assert found == [("escalated", "gpt-5", 3, 0, 7, None), ("cost", "gpt-5", 15, 1, 3, Decimal("0.8")), ("own", "llama", 4, 0, None, None)]


def test_conversations_grow_where_they_have_two_turns(con: duckdb.DuckDBPyConnection) -> None:
    found = [(one["name"], one["conversations"], one["length"], one["most_turns"], one["growth"], one["each"]) for one in engineering._conversations(con, "2026-10")]
    assert found == [("search / chat", 4, Decimal("2.5"), 5, 6, 2), ("search / no project", 4, 1, 1, None, None)]


def test_chains_have_what_one_trace_cost(con: duckdb.DuckDBPyConnection) -> None:
    found = [(one["chain"], one["whose"], one["traces"], one["calls"], one["failures"], one["each"]) for one in engineering._chains(con, "2026-10")]
    assert found == [("gpt-5-mini > gpt-5", "search / shop", 4, 9, 1, Decimal("2.25")), ("llama", "search", 2, 4, 2, None)]


def test_vendors_of_commitments_have_their_names(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(
        """
        create table levers as
        select '2026-10' as period, rank, kind, '*' as team_id, null as project_id, null as application, subject, 1::decimal(38, 12) as saving
        from (values (1, 'more_commitment', 'openai gpt-5*, o3'), (2, 'unused_commitment', 'commitments on the bill of aws'), (3, 'model', 'openai'), (4, 'idle_gpus', null)) t(rank, kind, subject)
        """
    )
    assert [one["subject"] for one in engineering._levers(con, "2026-10")] == ["OpenAI gpt-5*, o3", "commitments on the bill of AWS", "openai", None]


def test_the_page_has_them_all(small_company: Home) -> None:
    page = (small_company.reports / "engineering.html").read_text(encoding="utf-8")
    with duckdb.connect(str(small_company.current), read_only=True) as con:
        ((reason, calls),) = con.execute("select routing_reason, sum(events) from routing_daily where usage_date >= '2026-10-01' and routing_reason is not null group by all order by 2 desc limit 1").fetchall()
        ((cluster, trained),) = con.execute("select cluster, training_cost from gpu_efficiency where period = '2026-10' order by training_cost desc limit 1").fetchall()
        mix = con.execute("select model, cost_percent from model_mix where period = '2026-10' and scope = 'company' order by rank").fetchall()
    assert f">{reason}</th>" in page and calls > 0 and f"{cluster} <span" in page and f"{trained:,.2f}" in page
    for model, percent in mix:
        assert f">{model}" in page and f"<b>{round(percent, 1):,.1f}%</b>" in page
    assert [heading for heading in ("mix", "routes", "conversations", "chains", "gpus") if f'<h2 id="{heading}">' not in page] == []
