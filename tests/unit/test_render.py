"""Workbooks and the door page over a small company with hostile names, corrections and negative lines."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import shutil
import subprocess
import zipfile
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import openpyxl
import pytest

from pipelines import models
from pipelines.home import asset
from pipelines.render import book, controls, html, index, names, story, words, workbook

HOSTILE = '=HYPERLINK("http://evil","x")'
SCRIPT = "<script>alert(1)</script> & 🚀"
MONEY = "decimal(38,12)"
TEAMS = {"search": HOSTILE, "support": SCRIPT, "platform": "AI Platform", "unallocated": "Unallocated"}
COLUMNS = {
    "charges": "charge_id sku_meter provider billing_account_id sub_account_id invoice_id vector_index_id serving_pool cluster period original_period billing_period corrects_charge_id charge_category origin effective_cost billed_cost"
    " billing_currency estimate_status usage_date",
    "ledger": "ledger_id period version usage_date charge_id portion part team_id cost_center legal_entity project_id application environment service model"
    " activity category cost_pool rule_id method stage driver driver_quantity driver_total fallback_level split_by allocated_ratio consumed_quantity consumed_unit"
    " list_cost contracted_cost effective_cost billed_cost chargeback_cost metered_cost billing_currency estimate_status original_period reason line_id",
    "statement_lines": "period version team_id cost_center legal_entity line_no line_id category service model activity quantity unit unit_rate list_cost"
    " amount prior_amount currency fx_rate gl_account mode",
}


def company(days: int = 20, projects: int = 3, applications: int = 1, more_teams: int = 0) -> duckdb.DuckDBPyConnection:
    """Published tables of three teams (and more) and two months; statements are made by the product's own rounding rule."""
    con = duckdb.connect()
    con.execute(asset("sql", "macros.sql").read_text(encoding="utf-8"))
    con.execute("create table roster as select * from (values ('search', 'CC-4120', 'DE01', 3), ('support', 'CC-3305', 'US01', 2), ('unallocated', null, 'US01', 0))"
                " t(team_id, cost_center, legal_entity, n)")
    con.execute("insert into roster select 'team-' || n, 'CC-' || n, 'US01', 4 + n from range($more) r(n)", {"more": more_teams})
    for name, columns in COLUMNS.items():
        con.execute(f"create table {name}({', '.join(f'{column} {_kind(column)}' for column in columns.split())})")
    con.execute("create table periods as select * from (values ('2026-09', date '2026-09-01', date '2026-10-01', 'closed', 1, date '2026-10-07', null::varchar),"
                " ('2026-10', date '2026-10-01', date '2026-11-01', 'open', 0, null, null)) t(period, starts_on, ends_on, state, version, closed_on, fiscal_period)")
    con.execute("create table allocation_steps as select charge_id, portion, rule_id, part, stage, driver, driver_total, effective_cost from ledger")
    con.execute("create table allocation_rules(rule_id varchar, cost_pool varchar, sentence varchar)")
    con.execute("insert into allocation_rules values ('own-tokens', 'metered', 'Each team pays for its own tokens, by what they should have cost.'),"
                " ('index-maintenance', 'index_maintenance', 'Upkeep of an index is shared by who searches it; without searches by who writes to it, else the platform pays.')")
    con.execute("create table token_weights as select * from (values ('llama-pool', null, date '2026-10-01', 'A token of output weighs 3, until September.'),"
                " ('llama-pool', date '2026-10-01', null, 'A token of output weighs 4, from 1 October 2026.'), ('other', null, null, 'Not used.'))"
                " t(serving_pool, valid_from, valid_to, sentence)")
    con.execute(f"create table exceptions(period varchar, kind varchar, what varchar, amount {MONEY}, events bigint, detail varchar)")
    con.execute("insert into exceptions values ('2026-10', 'unallocated', '=cmd', 61.5, 3, 'cost that found no owner'),"
                f" ('2026-10', 'unpriced', '{SCRIPT}', null, 12, 'usage of a model without a price')")
    con.execute("create table reconciliation(period varchar, provider varchar, billing_account_id varchar, model varchar, meter varchar, usage_date date, state varchar,"
                f" treatment varchar, metered_cost {MONEY}, billed_cost {MONEY}, quantity_variance {MONEY}, price_variance {MONEY}, cross_variance {MONEY})")
    con.execute("insert into reconciliation values"
                " ('2026-10', 'openai', 'acct-1', 'gpt-5', 'output', '2026-10-02', 'matched', 'billed cost shared by metered cost', 100, 100.2, 0.1, 0.1, 0),"
                " ('2026-10', 'openai', 'acct-1', 'gpt-5', 'output', '2026-10-04', 'variance_price', 'billed cost shared by metered cost', 50, 53, 0, 3, 0),"
                " ('2026-10', 'openai', 'acct-1', null, null, null, 'variance_cost', 'billed cost shared by metered cost', 5, 9, null, null, null),"
                " ('2026-10', 'anthropic', 'acct-2', 'opus', 'output', '2026-10-03', 'unbilled', 'accrued at our prices until the bill comes', 12, null, null, null, null)")
    con.execute("create table billing_coverage as select '2026-10' as period, 'openai' as provider, 'acct-1' as billing_account_id, 'USD' as billing_currency,"
                f" 162.2::{MONEY} as billed_cost, 150::{MONEY} as metered_cost, 4::{MONEY} as excess_cost, 0::{MONEY} as unmetered_cost, 8.2::{MONEY} as non_usage_cost,"
                f" 12::{MONEY} as accrued_cost, 97.40::decimal(9, 2) as metered_percent")
    con.execute("create table invoice_reconciliation(period varchar, provider varchar, billing_account_id varchar, invoice_id varchar, billing_currency varchar, issued_on date,"
                f" invoice_amount {MONEY}, lines_cost {MONEY}, tax_beside {MONEY}, out_of_scope_cost {MONEY}, difference {MONEY}, state varchar)")
    con.execute("insert into invoice_reconciliation values"
                " ('2026-10', 'openai', 'acct-1', 'INV-1', 'USD', '2026-10-31', 165.21, 162.2, 3, 0, 0.01, 'rounding'),"
                " ('2026-09', 'anthropic', 'acct-2', 'INV-0', 'USD', '2026-10-12', 20, null, null, null, null, 'bill_missing'),"
                " ('2026-09', 'anthropic', 'acct-3', 'INV-9', 'USD', '2026-09-30', 20, null, null, null, null, 'bill_missing')")
    con.execute("create table gpu_costs(period varchar)")  # no GPUs, no sheet of them
    con.execute(
        """
        create table rate_card as select * from (values
            ('card', 'own-in', 'Own Llama', 'serving_pool', 'llama-pool', null, 'input', '1M tokens', 0.6::decimal(18, 12), 'USD', date '2026-09-01', null, '=1+1'),
            ('card', 'own-in', 'Own Llama', 'serving_pool', 'llama-pool', 'support', 'input', '1M tokens', 0.5::decimal(18, 12), 'USD', date '2026-10-01', null, null),
            ('card', 'hours', 'GPU time', 'cluster', 'batch', null, 'gpu_hours', 'equivalent GPU-hour', 3::decimal(18, 12), 'USD', date '2026-10-16', null, null),
            ('card', 'old', 'Own Llama', 'serving_pool', 'llama-pool', null, 'input', '1M tokens', 9::decimal(18, 12), 'USD', null, date '2026-09-01', null),
            ('card', 'next', $script, 'serving_pool', 'llama-pool', null, 'output', '1M tokens', 2.125::decimal(18, 12), 'USD', date '2026-11-01', null, null))
            t(rate_card_id, line_id, service, covers, covered, only_team, meter, unit, rate, currency, valid_from, valid_to, note)
        """,
        {"script": SCRIPT},
    )
    con.execute("create table gpu_equivalents as select * from (values ('A100', 1::decimal(12, 6), null::date, null::date), ('H100', 2.5, null, null))"
                " t(gpu_model, equivalent, valid_from, valid_to)")
    con.execute("create table policy_vector_indexes as select 'catalog' as vector_index_id, 'Product catalog' as name")
    con.execute("create table policy_serving_pools(serving_pool varchar, name varchar)")
    for period, version in (("2026-09", 1), ("2026-10", 0)):
        _fill(con, period, version, days, projects, applications)
    _invoiced(con)
    _posted(con)
    for mart in ("shared_costs", "recovery", "cost_changes"):
        con.execute(f"create view {mart} as {next(m.sql for m in models.stage('marts') if m.name == mart)}")
    return con


def _invoiced(con: duckdb.DuckDBPyConnection) -> None:
    """What is billed as charges of the month, by rows of an invoice of ours; half of what the document of October says is not."""
    con.execute("create table bill_lines as select charge_id, provider, billing_account_id, billing_currency, billing_period, billed_cost, true as in_scope, null::varchar as sub_account_id, null::varchar as owner from charges")
    con.execute(
        """
        update invoice_reconciliation set lines_cost = b.billed + 50, out_of_scope_cost = 50, invoice_amount = b.billed + 53.01, difference = 0.01
        from (select sum(billed_cost) as billed from charges where billing_period = '2026-10') b where state = 'rounding'
        """
    )


def _posted(con: duckdb.DuckDBPyConnection) -> None:
    """The journal of search, the only team on chargeback, half of it bought by another company."""
    con.execute(
        """
        create table journal_lines as
        with halves as (
            select period, version, legal_entity, currency, gl_account, cost_center, team_id, activity, amount, unnest([0, 1]) as half,
                case when half = 0 then amount - round(amount / 2, 2) else round(amount / 2, 2) end::decimal(18, 2) as part
            from statement_lines where mode = 'chargeback'
        ),
        sides as (
            select *, legal_entity as books, 'expense' as role, part as value, 1 as side from halves
            union all by name
            select any_value(period) as period, any_value(version) as version, legal_entity, 'USD' as currency, '6299' as gl_account, null as cost_center, team_id,
                half, x.books as books, x.role as role, x.sign * sum(part) as value, x.side as side
            from halves, (values (0, 'DE01', 'recovery', -1, 4), (1, 'DE01', 'due_to', -1, 2), (1, 'US01', 'due_from', 1, 3), (1, 'US01', 'recovery', -1, 4)) x(part_of, books, role, sign, side)
            where x.part_of = half group by period, legal_entity, team_id, half, x.books, x.role, x.sign, x.side
        )
        select
            period, version, 'APN' || period || '-' || half as je_id, row_number() over (partition by period, half order by side, activity, gl_account)::integer as line_no,
            (period || '-30')::date as posting_date, books as legal_entity, case when half = 1 then 'US01' end as partner_entity,
            case half when 0 then 'chargeback' else 'intercompany' end as kind, role, currency, gl_account, cost_center, team_id, activity,
            greatest(value, 0)::decimal(18, 2) as debit, greatest(-value, 0)::decimal(18, 2) as credit, '=cmd ' || role as line_memo, $hostile as header_memo,
            'APN-' || period || '-' || team_id as reference, null::date as reversal_date
        from sides where value <> 0
        """,
        {"hostile": HOSTILE},
    )


def _kind(column: str) -> str:
    if column in ("amount", "prior_amount"):
        return "decimal(18,2)"
    if column.endswith(("_cost", "quantity", "_total", "_ratio", "_rate")):
        return MONEY
    return {"version": "integer", "line_no": "integer", "stage": "integer", "fallback_level": "integer", "usage_date": "date"}.get(column, "varchar")


def _fill(con: duckdb.DuckDBPyConnection, period: str, version: int, days: int, projects: int, applications: int) -> None:
    """Ledger rows of one month: model calls, index upkeep by searches, a credit and, in October, a correction."""
    con.execute(
        """
        insert into ledger by name
        with calls as (
            select
                t.team_id, t.cost_center, t.legal_entity, ($period || '-01')::date + d::integer as usage_date, 'direct' as category,
                'inference' as activity, ['openai','anthropic'][1 + (d % 2)] as service, ['gpt-5-mini','claude-sonnet-5'][1 + (d % 2)] as model,
                case when p = 0 then '@sum(A1)' else 'project-' || p end as project_id, 'chat' || a as application, 'production' as environment,
                'metered' as cost_pool, 'own-tokens' as rule_id, 'proportional' as method, 0 as stage, 'metered_cost' as driver, 'charge_id' as split_by,
                100 as driver_quantity, 400 as driver_total, (1000000 + d * 7777 + p * 131)::decimal(38, 12) as consumed_quantity, 'Tokens' as consumed_unit,
                ((t.n * 17 + d * 31 + p * 7) * 0.123456789)::decimal(38, 12) as effective_cost, $period as original_period
            from roster t, range($days) r(d), range($projects) s(p), range($applications) o(a)
            where t.team_id <> 'unallocated' or (p = 0 and a = 0 and d < 3)
        ),
        extra as (
            select
                t.*, ($period || '-05')::date as usage_date, x.category, x.activity, 'pinecone' as service, null as model, null as project_id, null as application,
                null as environment, x.cost_pool, x.rule_id, 'proportional' as method, x.stage, x.driver,
                case when x.driver = 'index_queries' then 'vector_index_id' end as split_by, x.units * t.share as driver_quantity, x.units as driver_total,
                0 as consumed_quantity, 'Queries' as consumed_unit, (x.cost * t.share)::decimal(38, 12) as effective_cost, x.original_period
            from (values ('search', 'CC-4120', 'DE01', 0.3), ('support', 'CC-3305', 'US01', 0.5), ('platform', 'CC-1', 'US01', 0.2)) t(team_id, cost_center, legal_entity, share),
                (values ('shared', 'index_maintenance', 'index_maintenance', 'index-maintenance', 0, 'index_queries', 5000, 643.335, $period),
                        ('shared', 'credit', 'credits', 'credits', 1, '@allocated', 900, -77.771, $period),
                        ('adjustment', 'inference', 'metered', 'own-tokens', 0, 'metered_cost', 100, -12.347, '2026-09'))
                    x(category, activity, cost_pool, rule_id, stage, driver, units, cost, original_period)
            where x.category <> 'adjustment' or $period = '2026-10'
        ),
        rated as (  -- a charge that the rate card covers: cost stays with its users, money goes through the platform
            select
                r.*, ($period || '-06')::date as usage_date, 'rate card' as cost_pool, 'rate-card' as rule_id, 0 as stage, $period as original_period,
                'Hours' as consumed_unit, case when service = 'Amazon EC2' then 5 else 0 end as consumed_quantity
            from (values ('search', 'CC-4120', 'DE01', 'Amazon EC2', 'direct', 'inference', 'proportional', 250, 0),
                         ('platform', 'CC-1', 'US01', 'Amazon EC2', 'recovery', 'recovery', 'to', 0, 250),
                         ('search', 'CC-4120', 'DE01', 'Own Llama', 'direct', 'inference', 'rate', 0, 180),
                         ('platform', 'CC-1', 'US01', 'Own Llama', 'recovery', 'recovery', 'rate', 0, -180))
                r(team_id, cost_center, legal_entity, service, category, activity, method, effective_cost, chargeback_cost)
        )
        select
            * exclude (share), $period as period, $version as version, md5(row_number() over ()::varchar || $period) as ledger_id,
            'c-' || $period || '-' || usage_date || service || case when cost_pool = 'rate card' then '' else category || activity end as charge_id,
            'metered' as portion, case when activity = 'recovery' then 'Own Llama' else '' end as part, 0 as fallback_level, 0 as allocated_ratio, effective_cost as billed_cost, effective_cost as contracted_cost,
            effective_cost * 1.1 as list_cost,
            'USD' as billing_currency, 'Final' as estimate_status,
            md5(concat_ws('|', $period, team_id, category, service, model, activity)) as line_id
        from (
            select *, effective_cost as chargeback_cost from calls
            union all by name select *, effective_cost as chargeback_cost from extra
            union all by name select * from rated
        )
        """,
        {"period": period, "version": version, "days": days, "projects": projects, "applications": applications},
    )  # fmt: skip
    # What went to the platform of an index was passed on by it: a step, and no final row.
    passed_on = "period = $period and team_id = 'platform' and category in ('shared', 'adjustment')"
    con.execute(
        f"""
        insert into allocation_steps
        select charge_id, portion, rule_id, part, stage, driver, driver_total, effective_cost from ledger where {passed_on}
        """,
        {"period": period},
    )
    con.execute(f"delete from ledger where {passed_on}", {"period": period})
    con.execute(
        """
        insert into charges by name
        select charge_id, any_value(case when cost_pool = 'metered' then 'output' else consumed_unit end) as sku_meter, 'openai' as provider, 'acct-1' as billing_account_id, '+INV-1' as invoice_id, 'catalog' as vector_index_id, period,
            sum(effective_cost) as effective_cost, sum(billed_cost) as billed_cost, 'USD' as billing_currency, 'Final' as estimate_status,
            any_value(usage_date) as usage_date, any_value(original_period) as original_period, any_value(original_period) as billing_period, 'Usage' as charge_category,
            'bill' as origin, any_value(case when service = 'Amazon EC2' then 'llama-pool' end) as serving_pool
        from ledger where period = $period group by all
        """,
        {"period": period},
    )
    con.execute(
        """
        insert into statement_lines by name
        select *, row_number() over (partition by team_id order by category, service, model, line_id) as line_no from (
        select period, version, team_id, cost_center, legal_entity, line_id, category, service, model, activity, sum(consumed_quantity) as quantity,
            max(consumed_unit) as unit, sum(list_cost) as list_cost, round(sum(chargeback_cost), 2) as amount, 10 as prior_amount, 'USD' as currency, 1 as fx_rate,
            '6215-10' as gl_account, case when team_id = 'search' then 'chargeback' else 'showback' end as mode
        from ledger where period = $period group by all)
        """,
        {"period": period},
    )
    con.execute("create table if not exists statements(period varchar, version integer, team_id varchar, team_name varchar, cost_center varchar, cost_center_name varchar,"
                " legal_entity varchar, legal_entity_name varchar, mode varchar, currency varchar, state varchar, statement_id varchar, direct_amount decimal(18,2),"
                " shared_amount decimal(18,2), adjustment_amount decimal(18,2), recovery_amount decimal(18,2), total_amount decimal(18,2), prior_amount decimal(18,2),"
                " issued_on date, ledger_hash varchar)")
    more = [team for (team,) in con.execute("select team_id from roster where team_id like 'team-%'").fetchall()]
    for team, name in {**TEAMS, **{team: team for team in more}}.items():
        con.execute(
            """
            insert into statements by name
            select period, version, team_id, $name as team_name, cost_center, 'Center' as cost_center_name, legal_entity, 'Example Ltd' as legal_entity_name, mode, currency,
                case version when 0 then 'DRAFT' else 'FINAL' end as state, 'APN-' || period || '-' || team_id as statement_id,
                coalesce(sum(amount) filter (category = 'direct'), 0) as direct_amount, coalesce(sum(amount) filter (category = 'shared'), 0) as shared_amount,
                coalesce(sum(amount) filter (category = 'adjustment'), 0) as adjustment_amount,
                coalesce(sum(amount) filter (category = 'recovery'), 0) as recovery_amount, sum(amount) as total_amount, 75.25 as prior_amount,
                date '2026-10-21' as issued_on,
                (select sha256(string_agg(ledger_id || ' ' || chargeback_cost::varchar, chr(10) order by ledger_id)) from ledger
                 where period = $period and team_id = $team) as ledger_hash
            from statement_lines where period = $period and team_id = $team group by all
            """,
            {"name": name, "team": team, "period": period},
        )


@pytest.fixture(scope="module")
def con() -> duckdb.DuckDBPyConnection:
    return company()


@pytest.fixture(scope="module")
def books(con: duckdb.DuckDBPyConnection) -> dict[str, bytes]:
    made = {team: workbook.team(con, period="2026-10", version=0, team_id=team) for team in TEAMS}
    return {**made, "company": workbook.company(con, period="2026-10", version=0)}


def cells(content: bytes, values: bool) -> dict[tuple[str, str], Any]:
    book = openpyxl.load_workbook(io.BytesIO(content), data_only=values)
    return {(ws.title, cell.coordinate): cell.value for ws in book for row in ws.iter_rows() for cell in row if cell.value is not None}


def test_every_formula_has_its_value_and_every_check_is_ok(books: dict[str, bytes]) -> None:
    for name, content in books.items():
        formulas, values = cells(content, False), cells(content, True)
        live = [at for at, value in formulas.items() if isinstance(value, str) and value.startswith("=") and value != HOSTILE]
        assert len(live) > 20
        for at in live:
            if formulas[at] in ("=cmd", "=HYPERLINK"):
                continue
            assert at in values, (name, at, formulas[at])
        words = [value for value in values.values() if value in ("OK", "CHECK")]
        assert words and "CHECK" not in words, name


def test_posted_amounts_are_the_statement(con: duckdb.DuckDBPyConnection, books: dict[str, bytes]) -> None:
    for team in TEAMS:
        book = openpyxl.load_workbook(io.BytesIO(books[team]), data_only=True)
        (reference,) = [d for _, d in book.defined_names["Total_charge"].destinations]
        total = con.execute("select sum(total_amount) from statements where period = '2026-10' and team_id = ?", [team]).fetchone()[0]
        assert Decimal(repr(book["Statement"][reference.replace("$", "")].value)) == total
        rows = list(book["Detail"].iter_rows(values_only=True))
        amount = rows[0].index("Amount")
        exact = con.execute("select sum(chargeback_cost) from ledger where period = '2026-10' and team_id = ?", [team]).fetchone()[0]
        assert abs(sum(Decimal(repr(row[amount])) for row in rows[1:]) - exact) < Decimal("1e-9")
        assert book["Detail"].tables["Detail"].ref == f"A1:V{len(rows)}"


def test_names_never_become_formulas(books: dict[str, bytes]) -> None:
    for content in books.values():
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            for part in file.namelist():
                text = file.read(part).decode()
                assert not re.search(r"<f>[^<]*(HYPERLINK|cmd|sum\(A1\))", text), part
                assert "<script>" not in text
    values = cells(books["search"], True)
    assert any(isinstance(v, str) and v.startswith("@sum") for v in values.values())
    assert any(isinstance(v, str) and "=HYPERLINK" in v for v in cells(books["company"], True).values())


def test_same_content_same_bytes(con: duckdb.DuckDBPyConnection, books: dict[str, bytes]) -> None:
    with zipfile.ZipFile(io.BytesIO(books["search"])) as file:
        assert {entry.date_time for entry in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        stamps = set(re.findall(r">(\d{4}-\d\d-\d\dT[^<]*)<", file.read("docProps/core.xml").decode()))
    assert stamps == {"2026-10-21T00:00:00Z"}
    assert workbook.team(con, period="2026-10", version=0, team_id="search") == books["search"]
    assert workbook.company(con, period="2026-10", version=0) == books["company"]


@pytest.mark.parametrize(("first", "last", "said"), [
    (date(2026, 10, 3), date(2026, 10, 3), "3"), (date(2026, 10, 1), date(2026, 10, 31), "1–31"), (date(2026, 9, 3), date(2026, 9, 3), "3 September"),
    (date(2026, 9, 28), date(2026, 10, 25), "28 September–25 October"),
])  # fmt: skip
def test_days_outside_the_month_of_the_period_say_theirs(first: date, last: date, said: str) -> None:
    assert names.days_of("2026-10", first, last) == said


def test_file_names_have_no_path_parts_and_do_not_clash() -> None:
    assert names.workbook_name("2026-10", 1, "search") == "APN-2026-10-search-v1.xlsx"
    assert names.workbook_name("2026-10", 0, None) == "APN-2026-10-company-draft.xlsx"
    hostile = ["../../etc", "..", "a/b", "a\\b", "Search", "company", "", "søk", "x" * 300, "CON", "🚀", "search", "a\nb"]
    made = [names.workbook_name("2026-10", 0, team) for team in hostile] + [names.workbook_name("2026-10", 0, None)]
    assert len({name.lower() for name in made}) == len(made)
    assert all(re.fullmatch(r"[A-Za-z0-9._-]{1,90}", name) and ".." not in name for name in made)


def test_vendors_have_the_names_they_give_themselves(books: dict[str, bytes]) -> None:
    assert (words.vendor("aws"), words.vendor("larkfield-dc"), words.vendor(None)) == ("AWS", "larkfield-dc", None)
    assert words.subject({"kind": "unmetered", "what": "openai gpt-5"}) == "OpenAI gpt-5"
    assert words.subject({"kind": "gpu_without_cost", "what": "modal h100"}) == "modal h100"  # a cluster may be called anything
    for sheet in ("Bridge", "Reconciliation"):
        vendors = column(books["company"], sheet, "Vendor")
        assert "OpenAI" in vendors and "openai" not in vendors
    assert "OpenAI  ·  acct-1" in texts(books["search"])


def test_illegal_characters_are_left_out() -> None:
    assert names.cell_text("a\x00b\x1f\ufffe\ud800c") == "abc"
    assert names.cell_text("_x0041_") == "_x005F_x0041_"
    assert len(names.cell_text("x" * 50_000)) <= 32_767


def test_the_rows_of_the_detail_are_not_built_cell_by_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    """What makes a large workbook quick: cells that are styled one by one do not grow with the ledger."""
    styled = [0]
    real = book.Book._style
    monkeypatch.setattr(book.Book, "_style", lambda *given: (styled.__setitem__(0, styled[0] + 1), real(*given))[1])
    counts = []
    for applications in (1, 28):
        con = company(days=20, projects=3, applications=applications)
        styled[0] = 0
        workbook.team(con, period="2026-10", version=0, team_id="search")
        counts.append(styled[0])
    assert con.execute("select count(*) from ledger where period = '2026-10' and team_id = 'search'").fetchone()[0] > 1_600
    assert counts[0] == counts[1]


def test_page_is_self_contained_and_escapes(con: duckdb.DuckDBPyConnection) -> None:
    files = [
        {"period": "2026-10", "version": 0, "state": "DRAFT", "team_id": team, "name": "n.xlsx", "href": "2026-10/draft/n.xlsx", "bytes": 30_000, "sha256": "0" * 64}
        for team in [*TEAMS, None]
    ]
    html = index.page(con, files)
    assert html.count("<script") == 1 and "&lt;script&gt;" in html
    script = html.partition("<script>")[2].partition("</script>")[0]
    assert f"script-src 'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in html
    assert not re.search(r"(src|href)=\"(https?:|//|javascript:)", html)
    assert 'href="2026-10/draft/n.xlsx"' in html
    total = con.execute("select sum(total_amount) from statements where period = '2026-10'").fetchone()[0]
    assert f"{total:,.2f}" in html
    assert index.page(con, files) == html


def test_the_door_shows_the_disputes_of_a_month_and_not_what_was_said() -> None:
    con = company(days=2)
    con.execute(
        "create table disputes as select * from (values"
        " ('D-1', '2026-10', 'search', 12.5::decimal(18, 2), 'was said in private', date '2026-10-12', 'open', null::date, date '2026-10-22', null),"
        " ('D-2', '2026-10', 'search', 3.25::decimal(18, 2), 'was said in private', date '2026-10-12', 'accepted', date '2026-10-14', date '2026-10-22', '2026-10'))"
        " as t(dispute_id, period, team_id, amount, reason, opened_on, state, resolved_on, holds_until, adjustment_period)"
    )
    door = index.page(con, [])
    shown = [" ".join(re.sub("<[^>]+>", " ", row).split()) for row in re.findall("<tr><td>D-.*?</tr>", door, re.DOTALL)]
    assert [row.split(" ", 1)[0] for row in shown] == ["D-1", "D-2"]
    assert "Open since 2026-10-12, holds up the close until 2026-10-22 12.50" in shown[0] and "Accepted on 2026-10-14, booked in 2026-10 3.25" in shown[1]
    assert "was said in private" not in door


def test_the_months_before_of_a_month_add_up_to_the_month_before() -> None:
    con = company(days=2)
    con.execute(
        "update statements s set prior_amount = b.total from (select team_id, sum(total_amount) as total from statements where period = '2026-09' group by all) b"
        " where s.period = '2026-10' and b.team_id = s.team_id"
    )
    assert "Teams without a statement this month" not in index.page(con, [])
    gone, whole = con.execute(
        "select sum(total_amount) filter (team_id = 'search'), sum(total_amount) from statements where period = '2026-09'"
    ).fetchone()
    con.execute("delete from statements where period = '2026-10' and team_id = 'search'")
    october = index.page(con, []).partition('id="m-2026-10"')[2].partition("</section>")[0]
    rows = [re.sub("<[^>]+>", " ", row).split() for row in re.findall("<tr.*?</tr>", october, re.DOTALL)]
    assert next(row for row in rows if row[:2] == ["Teams", "without"])[-1] == f"{gone:,.2f}"
    assert f"{whole:,.2f}" in next(row for row in rows if row[:2] == ["All", "teams"])


def test_headings_say_what_finance_calls_the_period_and_its_days() -> None:
    con = company(days=2)
    con.execute("update periods set fiscal_period = 'FY2027 P01', starts_on = '2026-09-28', ends_on = '2026-10-26' where period = '2026-10'")
    con.execute("update periods set fiscal_period = 'FY2026 P12' where period = '2026-09'")
    name = "October 2026 (FY2027 P01, 2026-09-28 to 2026-10-25)"
    files = workbook.files(con, period="2026-10", version=0, team_id="search")
    books = [content for file, content in files.items() if file.endswith(".xlsx")]
    said = [*map(texts, (*books, workbook.company(con, period="2026-10", version=0))), *(page.decode() for file, page in files.items() if file.endswith(".html"))]
    assert len(said) == 3 and all(name in one for one in said)
    door = index.page(con, [])
    assert name in door and "September 2026 (FY2026 P12)" in door


@pytest.mark.skipif(shutil.which("soffice") is None, reason="soffice is not installed: cached values were not recalculated")
def test_recalculation_gives_the_cached_values(books: dict[str, bytes], tmp_path: Path) -> None:
    """LibreOffice trusts a cached value, so the caches are taken out of a twin, which it must then compute."""
    for name in ("search", "company"):
        twin = tmp_path / f"{name}.xlsx"
        with zipfile.ZipFile(io.BytesIO(books[name])) as source, zipfile.ZipFile(twin, "w") as target:
            for part in source.namelist():
                text = source.read(part)
                if part.startswith("xl/worksheets/sheet"):
                    text = re.sub(rb"(</f>)<v>[^<]*</v>", rb"\1<v></v>", text)
                target.writestr(part, text)
    command = ["soffice", f"-env:UserInstallation=file://{tmp_path}/profile", "--headless", "--convert-to", "xlsx:Calc MS Excel 2007 XML", "--outdir", str(tmp_path / "out")]
    subprocess.run([*command, *map(str, sorted(tmp_path.glob("*.xlsx")))], check=True, capture_output=True, timeout=120)
    for name in ("search", "company"):
        formulas, expected = cells(books[name], False), cells(books[name], True)
        actual = cells((tmp_path / "out" / f"{name}.xlsx").read_bytes(), True)
        live = [at for at, value in formulas.items() if isinstance(value, str) and re.match(r"=(\w+\(|\w+[!.\-+*/]|'|[A-Z]+\d|Total_charge|Prior_month|Checks)", value)]
        live = [at for at in live if expected[at] != formulas[at]]
        assert len(live) > 20
        for at in live:
            if isinstance(expected[at], str):
                assert actual[at] == expected[at], (name, at, formulas[at])
            else:
                assert actual.get(at, 0) == pytest.approx(expected[at], rel=1e-9, abs=1e-7), (name, at, formulas[at])


def test_fixture_has_what_it_claims() -> None:
    con = company(days=2)
    assert con.execute("select count(distinct period), count(distinct team_id), min(amount) < 0 from statement_lines").fetchone() == (2, 4, True)
    assert con.execute("select max(issued_on) from statements").fetchone()[0] == date(2026, 10, 21)


def opened(content: bytes) -> openpyxl.Workbook:
    return openpyxl.load_workbook(io.BytesIO(content), data_only=True)


def column(content: bytes, sheet: str, heading: str) -> list[Any]:
    """The values below a heading, to the end of the sheet."""
    rows = list(opened(content)[sheet].iter_rows(values_only=True))
    at = next(n for n, row in enumerate(rows) if heading in row)
    return [row[rows[at].index(heading)] for row in rows[at + 1 :]]


def verdict(content: bytes, check: str) -> str:
    """The result of a check on the sheet Controls."""
    return next(row[-1] for row in opened(content)["Controls"].iter_rows(values_only=True) if row[1] == check)


def texts(content: bytes) -> str:
    return "\n".join(str(value) for value in cells(content, True).values() if isinstance(value, str))


def part_texts(content: bytes, prefix: str) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        return [file.read(name).decode() for name in sorted(file.namelist()) if name.startswith(prefix)]


def test_shares_can_be_computed_again_with_what_support_teams_passed_on(books: dict[str, bytes]) -> None:
    parts = [value for value in column(books["search"], "Shared costs", "Our part") if isinstance(value, float)]
    gaps = [value for value in column(books["search"], "Shared costs", "Difference") if value is not None]
    assert len(parts) == 3 and gaps == [0, 0]  # two pots and the total
    assert {"Product catalog: pinecone", "pinecone"} <= set(column(books["search"], "Shared costs", "What"))  # a credit is of no index
    assert verdict(books["search"], "Shares can be computed again") == "OK"


def test_a_lost_step_is_found_by_the_check_of_shares() -> None:
    con = company(days=2)
    con.execute("delete from allocation_steps")
    broken = workbook.team(con, period="2026-10", version=0, team_id="search")
    assert verdict(broken, "Shares can be computed again") == "CHECK" == verdict(broken, "All checks")
    assert any(value for value in column(broken, "Shared costs", "Difference") if value)


def test_a_broken_ledger_is_found_by_the_checks() -> None:
    con = company(days=2)
    con.execute("update ledger set chargeback_cost = chargeback_cost + 5 where period = '2026-10' and team_id = 'search' and category = 'adjustment'")
    broken = workbook.team(con, period="2026-10", version=0, team_id="search")
    assert verdict(broken, "Lines tie to Detail") == verdict(broken, "Rounding") == verdict(broken, "All checks") == "CHECK"
    assert verdict(workbook.company(con, period="2026-10", version=0), "Statements tie to the ledger") == "CHECK"


def test_days_are_those_of_the_month(books: dict[str, bytes]) -> None:
    """The draft of 21 October has 21 days, also those without cost; the correction of September is one row and not in the chart."""
    days = column(books["search"], "Days", "Day")
    assert [day.date() for day in days[:21]] == [date(2026, 10, day) for day in range(1, 22)]
    assert days[21:23] == ["Earlier months", "Exact total"]
    assert column(books["search"], "Days", "Total")[21] == pytest.approx(-12.347 * 0.3)
    months, chart = part_texts(books["search"], "xl/charts/chart")
    assert "'Trend'!$C$5:$C$6" in months and "Oct 26" in months
    assert "'Days'!$C$5:$C$25" in chart and "Corrections" not in chart and 'rot="0"' in chart and 'formatCode="d"' in chart


def test_no_row_of_earlier_months_where_nothing_was_corrected(con: duckdb.DuckDBPyConnection) -> None:
    closed = workbook.team(con, period="2026-09", version=1, team_id="search")
    assert column(closed, "Days", "Day")[29:31] == [openpyxl.utils.datetime.from_excel(46295), "Exact total"]  # 30 September
    assert "FINAL" in texts(closed) and "DRAFT ·" not in texts(closed)


@pytest.mark.parametrize(
    ("unit", "price", "shown"),
    [
        ("Tokens", "0.000002", (1_000_000, "1M tokens")),
        ("Read Units", "0.000016", (1_000_000, "1M read units")),
        ("Queries", "0.004", (1_000, "1K queries")),
        ("GB-Hours", "0.00045", (1_000, "1K GB-hours")),
        ("GPU-Hours", "1.85", (1, "GPU-hours")),
        ("Tokens", "0.0000000001", (1_000_000_000, "1B tokens")),
        ("Hours", "0", (1, "hours")),
        ("Hours", None, (1, "hours")),
        (None, None, (1, None)),
    ],
)
def test_a_rate_has_digits_to_read(unit: str | None, price: str | None, shown: tuple[int, str | None]) -> None:
    assert words.unit(unit, price and Decimal(price)) == shown


def test_what_the_rate_card_covers_is_explained(books: dict[str, bytes]) -> None:
    rows = [row[1:] for row in opened(books["search"])["Statement"].iter_rows(values_only=True)]
    heading = next(n for n, row in enumerate(rows) if row[0] and row[0].startswith("Paid for through the rate card"))
    assert rows[heading + 1][1] == "Amazon EC2" and rows[heading + 1][7:10] == (275, None, 0)  # list cost, discount, amount
    assert "not shared again" in texts(books["platform"])
    assert {"Bought at cost", "Sold at the rate", "Recovered by the rate card", "180.00 of 250.00 USD"} <= set(texts(books["platform"]).splitlines())


def test_the_rates_sheet_has_the_lines_of_the_month_and_only_our_own_exceptions(books: dict[str, bytes]) -> None:
    lines = {team: [row[1:9] for row in opened(books[team])["Rates"].iter_rows(values_only=True, min_row=6)] for team in ("search", "support", "company")}
    day = lambda text: datetime.fromisoformat(text)  # noqa: E731
    hours = ("GPU time", "GPU-hours", "batch", 3, "equivalent GPU-hour", "everybody", day("2026-10-16"), None)
    everybody = ("Own Llama", "Input", "llama-pool", 0.6, "1M tokens", "everybody", day("2026-09-01"), None)
    own = ("Own Llama", "Input", "llama-pool", 0.5, "1M tokens", "support", day("2026-10-01"), None)
    assert lines["search"][:2] == [hours, everybody] and lines["support"][:3] == lines["company"][:3] == [hours, everybody, own]
    assert own not in lines["search"]
    assert ("H100", 2.5, None, None) in [row[:4] for row in lines["search"]]
    assert "What the services cost" not in texts(books["search"])


def test_the_company_sees_what_the_rates_brought_in(books: dict[str, bytes]) -> None:
    rows = [row[1:7] for row in opened(books["company"])["Rates"].iter_rows(values_only=True)]
    assert ("Own Llama", 250, 180, 0.72, -70, "USD") in rows and ("All services", 250, 180, 0.72, -70, "USD") in rows


def test_no_rate_card_no_sheet_of_rates() -> None:
    con = company(days=2, projects=1)
    con.execute("delete from rate_card; drop view recovery; create table recovery(period varchar, version integer, service varchar, billing_currency varchar)")
    assert "Rates" not in opened(workbook.team(con, period="2026-10", version=0, team_id="search")).sheetnames
    assert "Rates" not in opened(workbook.company(con, period="2026-10", version=0)).sheetnames
    assert "There is no rate card" in index.rate_card(con) and "rate-card.html" not in index.page(con, [])


def test_the_page_of_the_rate_card_says_what_holds_and_what_comes(con: duckdb.DuckDBPyConnection) -> None:
    html = index.rate_card(con)
    now, _, later = html.partition("<h2>To come</h2>")
    assert "0.60" in now and "support team only" in now and "H100" in now and "−70.00" in now and "as of 2026-10-21" in now
    assert "2.125" not in now and "2.125" in later.partition("No longer in force")[0] and "9.00" in later.partition("No longer in force")[2]
    assert "<script" not in html and "&lt;script&gt;" in html and "http" not in html.replace("http-equiv", "")
    assert html == index.rate_card(con) and 'href="rate-card.html"' in index.page(con, [])


def test_readers_meet_words_and_not_codes(books: dict[str, bytes]) -> None:
    for name, content in books.items():
        book_ = opened(content)
        said = "\n".join(str(cell.value) for ws in book_ if ws.title not in ("Detail", "Lines") for row in ws.iter_rows() for cell in row if isinstance(cell.value, str))
        assert not re.search(r"variance_|not_comparable|index_maintenance|gpu_idle|@allocated", said), name
    assert "Not billed yet" in texts(books["company"])
    assert "searches" in texts(books["search"])
    assert words.state("some_new_state") == "Some new state"
    assert set(column(books["search"], "Detail", "Section")) <= {"Own usage", "Share of common cost", "Corrections of closed months"}
    assert not re.search(r"_", "".join({text or "" for name in ("Charge", "Meter", "Pool") for text in column(books["search"], "Detail", name)}))


def test_a_text_stands_clear_of_the_number_before_it_and_digits_stand_below_each_other(books: dict[str, bytes]) -> None:
    """Excel keeps an indent only where it knows the side."""
    for name, content in books.items():
        for ws in opened(content):
            for row in ws.iter_rows():
                for cell in row:
                    assert not cell.alignment.indent or cell.alignment.horizontal, (name, ws.title, cell.coordinate)
    statement = opened(books["search"])["Statement"]
    assert {cell.number_format for cell in statement["F"][4:] if isinstance(cell.value, float) and cell.value % 1} == {'#,##0.0000_);(#,##0.0000);"–"_)'}
    assert {(cell.alignment.horizontal, cell.alignment.indent) for cell in statement["G"][4:] if cell.value} == {("left", 1)}


def test_notes_say_what_a_token_weighed_in_the_month(books: dict[str, bytes]) -> None:
    for name in ("search", "company"):
        assert "A token of output weighs 4, from 1 October 2026." in texts(books[name])
        assert "until September" not in texts(books[name]) and "Not used." not in texts(books[name])
    assert "A token of output" not in texts(books["support"])


def test_sheets_print_on_landscape_pages_with_their_headings(books: dict[str, bytes]) -> None:
    for name, content in books.items():
        made = openpyxl.load_workbook(io.BytesIO(content))
        for ws in made:
            assert (ws.page_setup.orientation, ws.page_setup.paperSize, ws.page_setup.fitToWidth) == ("landscape", 9, 1), (name, ws.title)
            assert ws.print_title_rows or ws.title in ("Summary", "Controls", "Exceptions", "Notes"), (name, ws.title)
        assert made["Summary"].page_setup.fitToHeight == 1
        drawings = part_texts(content, "xl/drawings/drawing")
        assert drawings and all(re.search(r'descr="[^"]{30,}"', drawing) for drawing in drawings)


def test_texts_can_be_read_on_their_grounds() -> None:
    def light(color: str) -> float:
        parts = [int(color[at : at + 2], 16) / 255 for at in (0, 2, 4)]
        return sum(w * (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4) for w, c in zip((0.2126, 0.7152, 0.0722), parts, strict=True))

    pairs = [(book.INK, book.WHITE), (book.MUTED, book.WHITE), (book.MUTED, book.PANEL), (book.TEAL, book.WHITE), (book.WHITE, book.NAVY), ("D6DEE7", book.NAVY)]
    for text, ground in [*pairs, (book.NAVY, book.PANEL), (book.GOOD, book.GOOD_FILL), (book.BAD, book.BAD_FILL)]:
        dark, bright = sorted((light(text), light(ground)))
        assert (bright + 0.05) / (dark + 0.05) >= 4.5, (text, ground)


def test_very_long_names_keep_their_place() -> None:
    con = company(days=2)
    long = "An unusually long name of a team or a model " * 8
    con.execute("update statements set team_name = $long", {"long": long})
    for table in ("ledger", "statement_lines"):
        con.execute(f"update {table} set model = $long where model is not null", {"long": long})
    made = opened(workbook.team(con, period="2026-10", version=0, team_id="search"))
    assert made["Summary"]["B2"].value.endswith("…") and len(made["Summary"]["B2"].value) < 160
    heights = [made["Statement"].row_dimensions[row].height for row in range(5, 10)]
    assert max(heights) > 100  # the model wraps, its row grows
    assert len(workbook.company(con, period="2026-10", version=0)) > 5_000


def test_negative_totals_and_months_without_anything(con: duckdb.DuckDBPyConnection) -> None:
    turned = company(days=2)
    for table, columns in (("ledger", ("chargeback_cost", "effective_cost")), ("statement_lines", ("amount",)), ("statements", ("total_amount", "shared_amount"))):
        turned.execute(f"update {table} set {', '.join(f'{c} = -{c}' for c in columns)} where period = '2026-10'")
    said = texts(workbook.team(turned, period="2026-10", version=0, team_id="support"))
    assert "n/a" in said and "after 21 of 31 days" in said and "whole month before" in said  # no part of a month is compared with a whole one
    turned.execute("update statements set issued_on = date '2026-10-31' where period = '2026-10'")
    said = texts(workbook.team(turned, period="2026-10", version=0, team_id="support"))
    assert "n/a" in said and "against the month before" in said and "21 of 31 days" not in said
    empty = opened(workbook.company(con, period="2026-11", version=0))
    assert empty["Summary"]["B5"].value == 0 and "Nothing to compare" in "".join(str(c.value) for row in empty["Reconciliation"].iter_rows() for c in row)


def test_a_check_compares_within_its_tolerance() -> None:
    assert controls.Check("", "", Decimal(1), ("A1", Decimal("1.01")), Decimal("0.01")).holds
    assert not controls.Check("", "", Decimal(1), Decimal("1.02"), Decimal("0.01")).holds


def bridge_step(content: bytes, name: str) -> Any:
    return next(row[5] for row in opened(content)["Bridge"].iter_rows(values_only=True) if row[1] == name)


def test_the_bridge_leads_from_the_invoices_to_the_statements(con: duckdb.DuckDBPyConnection, books: dict[str, bytes]) -> None:
    billed, elsewhere, total = con.execute(
        "select sum(billed_cost) filter (period = '2026-10'), sum(billed_cost) filter (period = '2026-10' and billing_period = '2026-09'),"
        " (select sum(total_amount) from statements where period = '2026-10') from charges"
    ).fetchone()
    step = lambda name: bridge_step(books["company"], name)  # noqa: E731
    assert step("Vendor invoices") == pytest.approx(float(billed - elsewhere) + 53.01)
    assert (step("Not ours"), step("Tax beside the bill")) == (-50, -3) and step("Of other invoices") == pytest.approx(float(elsewhere))
    assert step("Rounding and differences of documents") == pytest.approx(-0.01) and step("Billed in this month") == pytest.approx(float(billed))
    assert step("Unexplained") == 0 and step("All statements") == float(total)
    assert step("Posted to teams") + step("Shown to teams") + step("Kept by the platform") + step("Unallocated") == pytest.approx(step("Charged"))


@pytest.mark.parametrize(
    "damage",
    [
        "update invoice_reconciliation set out_of_scope_cost = 49 where state = 'rounding'",
        "update ledger set chargeback_cost = chargeback_cost + 1 where period = '2026-10' and team_id = 'unallocated' and usage_date = '2026-10-01'",
    ],
)
def test_what_the_bridge_cannot_explain_turns_its_check(damage: str) -> None:
    con = company(days=2)
    con.execute(damage)
    broken = workbook.company(con, period="2026-10", version=0)
    assert bridge_step(broken, "Unexplained") == 1 and verdict(broken, "Nothing unexplained") == "CHECK" == verdict(broken, "All checks")


def test_the_journal_ties_to_the_statements_and_its_lines(con: duckdb.DuckDBPyConnection, books: dict[str, bytes]) -> None:
    made = opened(books["company"])
    lines = list(made["Journal lines"].iter_rows(values_only=True, min_row=2))
    posted = con.execute("select sum(amount) from statement_lines where period = '2026-10' and mode = 'chargeback'").fetchone()[0]
    assert made["Journal lines"].tables["Journal_lines"].ref == f"A1:N{len(lines) + 1}"
    assert sum(row[8] for row in lines) == pytest.approx(sum(row[9] for row in lines))
    rows = {row[1]: row[5] for row in made["Journal"].iter_rows(values_only=True)}
    assert rows["Posted: teams on chargeback"] == float(posted) and rows["Only shown: unallocated"] > 0 and "US01, in balance" in rows
    assert verdict(books["company"], "Journal equals statements") == verdict(books["company"], "Between legal entities") == "OK"


@pytest.mark.parametrize(("role", "check"), [("recovery", "Journal balances"), ("expense", "Journal equals statements"), ("due_to", "Between legal entities")])
def test_a_journal_that_does_not_fit_is_seen(role: str, check: str) -> None:
    con = company(days=2)
    con.execute("update journal_lines set credit = credit + 1 where line_no = (select max(line_no) from journal_lines where role = $role) and role = $role", {"role": role})
    broken = workbook.company(con, period="2026-10", version=0)
    assert verdict(broken, check) == "CHECK" == verdict(broken, "All checks")


def test_adjustments_and_disputes_have_their_sheets(books: dict[str, bytes]) -> None:
    con = company(days=2)
    con.execute(
        "create table disputes as select 'D-1' as dispute_id, '2026-10' as period, 0 as version, 'search' as team_id, 'APN-1' as statement_id, 12.5::decimal(18, 2) as amount,"
        " 'USD' as currency, 'wrong_team' as reason_code, '=cmd' as reason, $name as opened_by, date '2026-10-12' as opened_on, 'accepted' as state,"
        " $name as resolution, 'finance' as resolved_by, date '2026-10-14' as resolved_on, 'c-9' as adjustment_charge_id, '2026-10' as adjustment_period",
        {"name": HOSTILE},
    )
    made = opened(workbook.company(con, period="2026-10", version=0))
    assert "Disputes" not in opened(books["company"]).sheetnames
    (dispute,) = made["Disputes"].iter_rows(values_only=True, min_row=5, max_row=5)
    assert dispute[1:6] == ("D-1", "APN-1", "search", "Wrong team", 12.5) and dispute[12:14] == (HOSTILE, "2026-10")
    rows = [row[1:9] for row in made["Adjustments"].iter_rows(values_only=True)]
    assert ("Belongs to September 2026", *[None] * 7) in rows and rows[-1][0] is not None
    total = next(row for row in rows if row[0] == "September 2026")
    assert total[7] == pytest.approx(-12.347 * 0.8)
    assert "Cost that found no owner" in texts(books["company"]) or "No reason given" in texts(books["company"])


def test_the_journal_of_a_team_is_its_own_entries_and_balances() -> None:
    con = company(days=2)
    total = con.execute("select sum(total_amount) from statements where period = '2026-10' and team_id = 'search'").fetchone()[0]
    con.execute(
        """
        create or replace table journal_lines as
        select '2026-10' as period, 0 as version, je_id, line_no, date '2026-10-31' as posting_date, 'DE01' as legal_entity, null as partner_entity, 'chargeback' as kind,
            role, 'USD' as currency, '6215' as gl_account, 'CC-4120' as cost_center, 'search' as team_id, 'inference' as activity,
            debit::decimal(18, 2) as debit, credit::decimal(18, 2) as credit, $memo as line_memo, $memo as header_memo, reference, null::date as reversal_date
        from (values ('J1', 1, 'expense', $total, 0, 'APN-2026-10-search'), ('J1', 2, 'recovery', 0, $total, 'APN-2026-10-search'),
                     ('J2', 1, 'expense', 5, 0, 'APN-2026-10-support')) t(je_id, line_no, role, debit, credit, reference)
        """,
        {"memo": HOSTILE, "total": total},
    )
    made = workbook.team(con, period="2026-10", version=0, team_id="search")
    assert column(made, "Journal", "Debit")[:3] == [float(total), 0, float(total)] and column(made, "Journal", "Memo")[0] == HOSTILE
    assert verdict(made, "Journal balances") == verdict(made, "Journal posts the statement") == "OK"
    assert opened(made).sheetnames == ["Summary", "Statement", "Shared costs", "Usage", "Trend", "Days", "Rates", "Controls", "Journal", "Notes", "Detail"]
    con.execute("update journal_lines set credit = credit - 1 where role = 'recovery'")
    assert verdict(workbook.team(con, period="2026-10", version=0, team_id="search"), "Journal balances") == "CHECK"
    con.execute("update journal_lines set credit = credit + 2, debit = debit + 1 where je_id = 'J1'")
    assert verdict(workbook.team(con, period="2026-10", version=0, team_id="search"), "Journal posts the statement") == "CHECK"


def test_a_line_of_several_months_is_converted_at_the_rate_of_each() -> None:
    con = company(days=2)
    con.execute("create or replace table exchange_rates as select '2026-09' as period, 'USD' as currency, 2::decimal(38, 12) as rate")
    con.execute("update statement_lines set currency = 'EUR', fx_rate = case when category = 'adjustment' then null else 1 end where period = '2026-10'")
    exact = con.execute("select sum(chargeback_cost) from ledger where period = '2026-10' and team_id = 'search' and category = 'adjustment'").fetchone()[0]
    made = workbook.team(con, period="2026-10", version=0, team_id="search")
    rows = [row[1:] for row in opened(made)["Statement"].iter_rows(values_only=True)]
    heading = next(n for n, row in enumerate(rows) if row[0] == "Corrections of closed months")
    assert rows[heading + 1][10] == pytest.approx(2 * float(exact))
    assert verdict(made, "Every line ties to Detail") == "OK"


def test_who_stands_for_the_figures_and_what_is_disputed_is_on_controls() -> None:
    con = company(days=2)
    con.execute("create or replace table approvals as select null::integer as number, '2026-10' as period, 1 as version, 'prepare' as step, 'the night' as actor,"
                " date '2026-10-21' as through, 'x' as figures, true as counts union all select 2, '2026-10', 1, 'approve', $actor, date '2026-10-21', 'x', true", {"actor": HOSTILE})
    con.execute("create or replace table disputes as select 'D1' as dispute_id, '2026-10' as period, 'search' as team_id, 5.5::decimal(18, 2) as amount, 'USD' as currency, $reason as reason,"
                " null as resolution, 'open' as state, date '2026-10-20' as opened_on, null as adjustment_period", {"reason": SCRIPT})
    said = texts(workbook.team(con, period="2026-10", version=0, team_id="search"))
    assert f"{HOSTILE}, of the figures as of 2026-10-21" in said and f"2026-10: 5.50 USD: {SCRIPT}" in said and "Open, opened on 2026-10-20" in said
    assert "Disputes" not in texts(workbook.team(con, period="2026-10", version=0, team_id="support"))
    con.execute("update disputes set period = '2026-09'")  # disputed in this month: the workbook of the other was issued before
    assert f"2026-09: 5.50 USD: {SCRIPT}" in texts(workbook.team(con, period="2026-10", version=0, team_id="search"))
    con.execute("update disputes set opened_on = date '2026-09-20'")
    assert "Disputes" not in texts(workbook.team(con, period="2026-10", version=0, team_id="search"))


def test_a_sum_of_no_rows_is_shown_as_nothing() -> None:
    assert (html.money(0), html.signed(0), words.half_up(0)) == ("0.00", "–", Decimal("0.00"))


@pytest.mark.parametrize(("amount", "said"), [("8533.00", "as much as the"), ("8000", "6.3% less than the"), ("9000", "5.5% more than the")])
def test_what_is_charged_beside_the_list_price(amount: str, said: str) -> None:
    team: Any = SimpleNamespace(lines=[{"discount": Decimal(0), "list_cost": Decimal("8533.59"), "amount": Decimal(amount)}])
    assert story._list_price(team) == f"Charged is {said} public list price of the same use, 8,533.59."
