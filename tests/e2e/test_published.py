"""What outsiders rely on: names, types and comments of the published file; queries of the cookbook; a quiet second night."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path

import pytest

from pipelines import jobs
from pipelines.home import Home, asset
from pipelines.sample import CANARY
from tests.conftest import DAY_2, quiet

COOKBOOK = sorted(asset("sql", "cookbook").glob("*.sql"))


def test_every_table_and_column_has_a_comment(rows) -> None:
    assert rows("select table_name from duckdb_tables() where coalesce(comment, '') = '' union all select view_name from duckdb_views() where not internal and coalesce(comment, '') = ''") == []
    assert rows("select table_name, column_name from duckdb_columns() where not internal and coalesce(comment, '') = ''") == []


def test_money_is_decimal_and_no_team_is_missing(rows) -> None:
    found = rows("select table_name, column_name, data_type from duckdb_columns() where not internal and regexp_matches(column_name, '_cost$|amount$|^cost$') and data_type not like 'DECIMAL%'")
    assert found == []
    for (table,) in rows("select table_name from duckdb_columns() where not internal and column_name = 'team_id'"):
        assert rows(f"select count(*) from {table} where team_id is null") == [(0,)], table


LEDGER = (
    "ledger_id, period, usage_date, charge_id, portion, part, team_id, cost_center, legal_entity, project_id, application, environment,"
    " service, model, activity, cost_pool, rule_id, method, stage, driver, driver_quantity, driver_total, fallback_level, allocated_ratio,"
    " consumed_quantity, consumed_unit, list_cost, contracted_cost, effective_cost, billed_cost, chargeback_cost, metered_cost,"
    " billing_currency, estimate_status, original_period, reason, driver_unit, allocated_method_id, allocated_method_details"
)
CHARGES = (
    "charge_id, provider, billing_account_id, sub_account_id, legal_entity, invoice_id, charge_category, charge_class, service, sku_meter,"
    " model, region, usage_date, charge_period_start, charge_period_end, billing_period, period, consumed_quantity, consumed_unit, list_cost,"
    " contracted_cost, effective_cost, billed_cost, billing_currency, estimate_status, corrects_charge_id, original_period"
)
USAGE_EVENTS = (
    "event_id, source, occurred_at, usage_date, provider_day, caller_team_id, team_id, project_id, application, environment, customer_id,"
    " user_tier, request_type, api_key_id, provider, billing_account_id, model, model_as_logged, region, service_tier, operation,"
    " vector_index_id, serving_pool, trace_id, session_id, attempt, status, gateway_cache, routing_reason, quality_score, latency_ms,"
    " input_uncached_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, output_tokens, reasoning_tokens,"
    " audio_input_tokens, audio_output_tokens, avoided_input_tokens, avoided_output_tokens, images, search_units, queries, requests,"
    " list_cost, contracted_cost, rate_id, rate_source, source_cost"
)
STATEMENT_LINES = (
    "period, version, team_id, cost_center, legal_entity, line_no, category, service, model, activity, quantity, unit, unit_rate, list_cost,"
    " amount, prior_amount, currency, fx_rate, gl_account, mode"
)
RECONCILIATION = (
    "provider, billing_account_id, scope, model, meter, variant, usage_date, grain_level, metered_quantity, billed_quantity, metered_cost,"
    " billed_cost, quantity_variance, price_variance, cross_variance, state, treatment"
)


@pytest.mark.parametrize(
    "table, columns",
    [("ledger", LEDGER), ("charges", CHARGES), ("usage_events", USAGE_EVENTS), ("statement_lines", STATEMENT_LINES), ("reconciliation", RECONCILIATION)],
)
def test_columns_by_name(rows, table: str, columns: str) -> None:
    assert rows(f"select {columns} from {table} limit 1")


@pytest.mark.parametrize("path", COOKBOOK, ids=lambda path: path.stem)
def test_cookbook_answers(rows, path: Path) -> None:
    assert len(rows(path.read_text())) > 3


def test_the_cookbook_is_in_the_readme() -> None:
    readme = asset("README.md").read_text()
    assert [path.name for path in COOKBOOK if path.name not in readme] == []


def test_law_of_the_ledger_in_another_engine(company: Home, tmp_path: Path) -> None:
    """Conservation per charge, added up by polars on Int128 pico-units instead of DuckDB."""
    import duckdb
    import polars as pl

    with duckdb.connect(str(company.current), read_only=True) as con:
        costs = ("list_cost", "contracted_cost", "effective_cost", "billed_cost")
        pico = ", ".join(f"replace({c}::varchar, '.', '') as {c}" for c in (*costs, "chargeback_cost"))
        con.sql(f"select charge_id, {pico} from ledger").write_parquet(str(tmp_path / "ledger.parquet"))
        pico = ", ".join(f"replace({c}::varchar, '.', '') as {c}" for c in costs)
        con.sql(f"select charge_id, {pico} from charges").write_parquet(str(tmp_path / "charges.parquet"))
    number = pl.exclude("charge_id").cast(pl.Int128)
    ledger = pl.read_parquet(tmp_path / "ledger.parquet").with_columns(number).group_by("charge_id").agg(pl.all().sum())
    charges = pl.read_parquet(tmp_path / "charges.parquet").with_columns(number)
    both = charges.join(ledger, on="charge_id", how="full", suffix="_ledger")
    assert both.height == charges.height == ledger.height
    for column in costs:
        assert both.filter(pl.col(column) != pl.col(f"{column}_ledger")).is_empty()
    assert both.filter(pl.col("effective_cost") != pl.col("chargeback_cost")).is_empty()


def test_every_row_says_by_which_method_it_was_allocated_as_focus_does(rows) -> None:
    """AllocatedMethodId is a rule that is explained; AllocatedMethodDetails is JSON whose ratios sum to one for every charge."""
    import json

    methods = dict(rows("select rule_id, sentence from allocation_rules"))
    sums: dict[str, Fraction] = {}
    units = set()
    for charge, rule, quantity, unit, details in rows(
        "select coalesce(c.corrects_charge_id, c.charge_id), l.allocated_method_id, l.driver_quantity, l.driver_unit, l.allocated_method_details"
        " from ledger l join charges c on c.charge_id = l.charge_id"
    ):
        assert methods[rule]
        (element,) = json.loads(details, parse_float=Fraction, parse_int=Fraction)["Elements"]
        sums[charge] = sums.get(charge, Fraction(0)) + element["AllocatedRatio"]
        known = quantity is not None and unit is not None
        assert element.keys() == ({"AllocatedRatio", "UsageUnit", "UsageQuantity"} if known else {"AllocatedRatio"})
        assert not known or (element["UsageUnit"], element["UsageQuantity"]) == (unit, Fraction(quantity))
        units.add(unit)
    assert set(sums.values()) == {Fraction(1)}
    assert units == {
        None, "USD", "Tokens", "Weighted Tokens", "GPU-Seconds", "Queries", "Write Units", "Days", "Seats", "Index Vectors", "Index Subscribers",
    }  # fmt: skip


def _bytes(home: Home) -> dict[str, tuple[str, int]]:
    files = [*home.published.rglob("*"), *home.reports.rglob("*"), *home.books.rglob("*")]
    return {str(p): (hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_mtime_ns) for p in files if p.is_file()}


def test_a_second_night_with_nothing_new_touches_nothing(company_copy: Home) -> None:
    before = _bytes(company_copy)
    outcome = jobs.nightly(company_copy, DAY_2, quiet)
    assert not outcome.changed and _bytes(company_copy) == before


def test_a_draft_that_was_removed_comes_back(company_copy: Home) -> None:
    import shutil

    before = {path: digest for path, (digest, _) in _bytes(company_copy).items()}
    shutil.rmtree(company_copy.reports / "2026-10" / "draft")
    (company_copy.reports / "index.html").unlink()
    assert jobs.nightly(company_copy, DAY_2, quiet).changed
    after = {path: digest for path, (digest, _) in _bytes(company_copy).items()}
    assert {path: after[path] for path in before if "/reports/" in path} == {path: before[path] for path in before if "/reports/" in path}


def test_published_bytes_do_not_depend_on_what_was_kept(company_copy: Home) -> None:
    """Without warehouse and lake, the same landing, policy and books give the same published content."""
    import shutil

    before = _bytes(company_copy)
    company_copy.warehouse.unlink()
    shutil.rmtree(company_copy.lake)
    jobs.nightly(company_copy, DAY_2, quiet)
    after = _bytes(company_copy)
    reports = {p: h[0] for p, h in before.items() if "/reports/" in p and not p.endswith("manifest.json")}
    assert {p: after[p][0] for p in reports} == reports


def test_prompts_and_raw_keys_are_stored_nowhere(company: Home) -> None:
    """The sample company writes a marker into every prompt; landing itself is the user's."""
    import duckdb

    kept = [p for p in company.root.rglob("*") if p.is_file() and not p.is_relative_to(company.landing)]
    assert kept
    for path in kept:
        assert CANARY.encode() not in path.read_bytes(), path
    with duckdb.connect() as con:
        for path in company.lake.rglob("*.parquet"):
            text = con.execute("select count(*) from (select to_json(t)::varchar as row from read_parquet(?) t) where contains(row, ?) or regexp_matches(row, '(^|[^a-z])sk-[A-Za-z0-9]{8}')", [str(path), CANARY]).fetchall()
            assert text == [(0,)], path
