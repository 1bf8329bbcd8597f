"""Usage reports of vendors through a whole night: compared with what the gateways saw, and never a charge."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipelines import jobs
from pipelines.home import Home
from tests.conftest import empty_home, quiet

SOURCES = """
version: 1
gateways:
  - name: proxy
    format: mapped
    file: jsonl
    accounts: {openai: org-1, anthropic: anth-1}
    tokens: exclusive
    fields: {event_id: id, occurred_at: at, provider: provider, model: model, operation: operation, input_tokens: "in",
      cache_read_tokens: cached, output_tokens: out, gateway_team: team}
billing:
  - {name: openai, format: openai_costs, provider: openai, billing_account_id: org-1, legal_entity: MAIN}
usage:
  - {name: openai-usage, format: openai_usage, provider: openai, billing_account_id: org-1}
  - {name: anthropic-usage, format: anthropic_usage, provider: anthropic, billing_account_id: anth-1}
"""
THROUGH = date(2026, 9, 4)


def bucket(day: int, *results: dict[str, Any]) -> dict[str, Any]:
    start = int(datetime(2026, 9, day, tzinfo=UTC).timestamp())
    return {"start_time": start, "end_time": start + 86_400, "results": list(results)}


def completions(**changes: Any) -> dict[str, Any]:
    return {
        "object": "organization.usage.completions.result", "input_tokens": 90_000, "input_cached_tokens": 30_000,
        "input_cache_write_tokens": 0, "input_uncached_tokens": 60_000, "output_tokens": 5_000, "num_model_requests": 2,
        "model": "gpt-5-2025-08-07", "project_id": "proj_a", "api_key_id": "key_1", **changes,
    }  # fmt: skip


def put(root: Path, name: str, *buckets: dict[str, Any]) -> None:
    path = root / "data" / "landing" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"data": list(buckets), "has_more": False}))


def calls() -> Iterator[dict[str, Any]]:
    def call(id_: str, provider: str, model: str, operation: str, *counts: int) -> dict[str, Any]:
        tokens = dict(zip(("in", "cached", "out"), counts, strict=True))
        return {"id": id_, "at": "2026-09-02T10:00:00Z", "provider": provider, "model": model, "operation": operation, "team": "a", **tokens}

    yield call("1", "openai", "gpt-5", "chat", 40_000, 30_000, 3_000)
    yield call("2", "openai", "gpt-5", "chat", 20_100, 0, 2_000)
    yield call("3", "openai", "gpt-5-mini", "chat", 50_000, 0, 0)
    yield call("4", "openai", "text-embedding-3-small", "embedding", 70_000, 0, 0)
    yield call("5", "anthropic", "claude-sonnet-4-5", "chat", 10_000, 0, 4_000)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    root = tmp_path_factory.mktemp("evidence")
    found = empty_home(root, SOURCES)
    events = root / "data" / "landing" / "gateway" / "proxy" / "calls.jsonl"
    events.parent.mkdir(parents=True)
    events.write_text("".join(json.dumps(call) + "\n" for call in calls()))
    costs = {"amount": {"value": "1.25", "currency": "usd"}, "line_item": "gpt-5-2025-08-07, input_tokens", "project_id": "proj_a"}
    put(root, "billing/openai/costs.json", bucket(1), bucket(2, costs), bucket(3))
    # Half of the first delivery is restated; the day that the second one names empty is empty.
    put(root, "usage/openai-usage/completions/1.json", bucket(1, completions()), bucket(2, completions(output_tokens=1)))
    put(root, "usage/openai-usage/completions/2.json", bucket(1), bucket(2, completions()))
    put(root, "usage/openai-usage/images/1.json", bucket(2))
    message = {
        "uncached_input_tokens": 10_000, "cache_read_input_tokens": 0, "output_tokens": 9_000, "model": None, "workspace_id": None,
        "cache_creation": {"ephemeral_5m_input_tokens": 2_000, "ephemeral_1h_input_tokens": 0},
    }  # fmt: skip
    day = {"starting_at": "2026-09-02T00:00:00Z", "ending_at": "2026-09-03T00:00:00Z", "results": [message]}
    put(root, "usage/anthropic-usage/1.json", day)
    jobs.nightly(found, THROUGH, quiet)
    return found


def rows(home: Home, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(home.current), read_only=True) as con:
        return con.execute(sql).fetchall()


def test_the_newest_report_of_a_day_counts(home: Home) -> None:
    found = rows(home, "select usage_date::varchar, model, sub_account_id, api_key_id, meter, quantity::bigint from provider_usage where provider = 'openai' order by all")
    assert found == [
        ("2026-09-02", "gpt-5", "proj_a", "key_1", meter, quantity)
        for meter, quantity in (("cache_read", 30_000), ("input_uncached", 60_000), ("output", 5_000), ("requests", 2))
    ]


def test_every_meter_of_a_reported_day_has_a_state(home: Home) -> None:
    found = rows(home, "select provider, model, meter, provider_quantity::bigint, metered_quantity::bigint, difference::bigint, state from usage_evidence where meter <> 'requests' order by all")
    assert found == [
        ("anthropic", None, "cache_write_5m", 2_000, None, 2_000, "unmetered"),
        ("anthropic", None, "input_uncached", 10_000, 10_000, 0, "matched"),
        ("anthropic", None, "output", 9_000, 4_000, 5_000, "variance"),
        ("openai", "gpt-5", "cache_read", 30_000, 30_000, 0, "matched"),
        ("openai", "gpt-5", "input_uncached", 60_000, 60_100, -100, "matched"),
        ("openai", "gpt-5", "output", 5_000, 5_000, 0, "matched"),
        ("openai", "gpt-5-mini", "input_uncached", None, 50_000, -50_000, "unreported"),
    ]  # nothing about embeddings: no report that counts them was delivered


def test_usage_is_never_money(home: Home) -> None:
    assert rows(home, "select sum(effective_cost) from charges where billing_account_id = 'org-1' and model = 'gpt-5'") == [(Decimal("1.25"),)]
    assert rows(home, "select count(*) from bill_lines") == [(1,)]
    assert rows(home, "select count(*) from source_files where kind = 'usage' and state = 'landed'") == [(4,)]


def test_what_is_published_is_described(home: Home) -> None:
    tables = "('provider_usage', 'usage_evidence', 'price_reconciliation')"
    assert rows(home, f"select table_name, column_name from duckdb_columns() where table_name in {tables} and coalesce(comment, '') = ''") == []
    assert len(rows(home, f"select * from duckdb_tables() where table_name in {tables} and comment <> ''")) == 3


def test_the_vendors_own_usage_at_our_prices_meets_its_bill(home: Home) -> None:
    """60,000 tokens at 1.25 dollars a million against a line of 1.25; what the bill left out is worth 30,000 at 0.125 and 5,000 at 10."""
    found = rows(home, "select period, usage_date::varchar, model, meter, grain_level, expected_cost, billed_cost, state from price_reconciliation where provider = 'openai' order by meter")
    day = ("2026-09", "2026-09-02", "gpt-5")
    assert found == [
        (*day, "cache_read", "meter", Decimal("0.00375"), None, "unbilled"),
        (*day, "input_uncached", "meter", Decimal("0.075"), Decimal("1.25"), "variance_cost"),
        (*day, "output", "meter", Decimal("0.05"), None, "unbilled"),
    ]  # fmt: skip
    assert rows(home, "select amount from exceptions where kind = 'usage_report_differs'") == [(Decimal("1.175"),)]
