"""What is posted of hand-made statements: both sides of an intercompany charge, deltas of later versions, accruals."""

from __future__ import annotations

from decimal import Decimal

import duckdb
import pytest

from pipelines import models, warehouse
from pipelines.close import BOOKED
from pipelines.home import asset
from pipelines.policy.files import ACTIVITIES
from pipelines.render import words

MONEY = "decimal(38, 12)"
MODEL = next(model for model in models.stage("close") if model.name == "journal_lines")
CHECKS = {model.name: model.sql for model in models.checks() if model.name.startswith("journal")}


def books(period_state: str = "open", due_to: str | None = "2310") -> duckdb.DuckDBPyConnection:
    """One month, two entities that both buy, a team in each, one on showback; accounts of two activities and an override."""
    con = warehouse.memory()
    con.execute(asset("sql", "macros.sql").read_text())
    con.execute("create table periods(period varchar, starts_on date, ends_on date, state varchar, version integer, fiscal_period varchar)")
    con.execute("insert into periods values ('2026-10', '2026-10-01', '2026-11-01', ?, 0, null)", [period_state])
    con.execute("create table policy_company as select 'USD' as currency, 'platform' as platform_team")
    con.execute("create table policy_team_cost_centers as select 'platform' as team_id, 'CC-9' as cost_center, 'US' as legal_entity, date '2026-01-01' as valid_from, date '2999-01-01' as valid_to")
    con.execute("create table policy_teams as select * from (values ('search', 'Search'), ('docs', 'Docs')) t(team_id, name)")
    con.execute("create table policy_gl_accounts as select * from (values ('inference', '6215'), ('training', '6240')) t(activity, gl_account)")
    con.execute("create table policy_gl_overrides(activity varchar, environment varchar, legal_entity varchar, gl_account varchar, narrow integer)")
    con.execute("insert into policy_gl_overrides values ('training', 'research', null, '1510', 2), ('training', null, 'IE', '6241', 1), ('training', 'research', 'IE', '1511', 3)")
    con.execute("create table policy_journal_accounts as select '6299' as recovery, '2150' as accrued, '1310' as due_from, $due_to::varchar as due_to", {"due_to": due_to})
    con.execute("create table policy_recovery_centers as select 'IE' as legal_entity, 'CC-5' as cost_center")
    con.execute("create table charges(charge_id varchar, legal_entity varchar)")
    con.execute("insert into charges values ('us', 'US'), ('ie', 'IE')")
    con.execute(f"create table ledger(period varchar, line_id varchar, charge_id varchar, activity varchar, environment varchar, legal_entity varchar, chargeback_cost {MONEY}, estimate_status varchar)")
    con.execute(f"create table statement_lines(period varchar, version integer, team_id varchar, cost_center varchar, legal_entity varchar, line_id varchar, activity varchar, amount decimal(18, 2), currency varchar, fx_rate {MONEY}, mode varchar)")
    con.execute("create table versions_without_journal(period varchar, version integer)")
    con.execute(f"create table booked_statement_lines({', '.join(f'{column} {kind}' for column, kind in BOOKED['statement_lines'].items())})")
    con.execute(f"create table booked_journal_lines({', '.join(f'{column} {kind}' for column, kind in BOOKED['journal_lines'].items())})")
    return con


def state(con: duckdb.DuckDBPyConnection, line: str, team: str, entity: str, amount: str, rows: list[tuple[str, str, str | None, str, str]], activity: str = "inference", fx: str | None = "1", mode: str = "chargeback") -> None:
    """A statement line and the ledger rows (charge, cost, environment, Final or Estimated) behind it."""
    center = {"US": "CC-1", "IE": "CC-5"}[entity]
    con.execute("insert into statement_lines values ('2026-10', 0, ?, ?, ?, ?, ?, ?, 'USD', ?, ?)", [team, center, entity, line, activity, amount, fx, mode])
    for charge, cost, environment, status in rows:
        con.execute("insert into ledger values ('2026-10', ?, ?, ?, ?, ?, ?, ?)", [line, charge, activity, environment, entity, cost, status])


def post(con: duckdb.DuckDBPyConnection) -> list[tuple[str, ...]]:
    """The lines as (entry, entity, kind, role, account, cost center, amount); every check holds."""
    con.execute(f"create or replace table journal_lines as {MODEL.sql}")
    for name, sql in CHECKS.items():
        assert con.execute(sql).fetchall() == [], name
    return con.execute(
        "select je_id, legal_entity, kind, role, gl_account, cost_center, (debit - credit)::varchar from journal_lines where version = 0 order by je_id, line_no"
    ).fetchall()


def test_one_entry_per_statement_and_both_sides_between_entities() -> None:
    con = books()
    state(con, "a", "search", "US", "100.00", [("us", "60.006", "prod", "Final"), ("ie", "39.994", "prod", "Final")])
    state(con, "b", "docs", "IE", "-7.00", [("us", "-7.00", None, "Final")])
    state(con, "c", "marketing", "IE", "50.00", [("us", "50", None, "Final")], mode="showback")
    assert post(con) == [
        ("APN2610-D-0001", "IE", "intercompany", "expense", "6215", "CC-5", "-7.00"),
        ("APN2610-D-0001", "IE", "intercompany", "due_to", "2310", None, "7.00"),
        ("APN2610-D-0001", "US", "intercompany", "due_from", "1310", None, "-7.00"),
        ("APN2610-D-0001", "US", "intercompany", "recovery", "6299", "CC-9", "7.00"),
        ("APN2610-D-0002", "US", "chargeback", "expense", "6215", "CC-1", "60.01"),
        ("APN2610-D-0002", "US", "chargeback", "recovery", "6299", "CC-9", "-60.01"),
        ("APN2610-D-0003", "US", "intercompany", "expense", "6215", "CC-1", "39.99"),
        ("APN2610-D-0003", "US", "intercompany", "due_to", "2310", None, "-39.99"),
        ("APN2610-D-0003", "IE", "intercompany", "due_from", "1310", None, "39.99"),
        ("APN2610-D-0003", "IE", "intercompany", "recovery", "6299", "CC-5", "-39.99"),
    ]
    head = con.execute("select distinct posting_date::varchar, reference, header_memo, reversal_date from journal_lines where je_id = 'APN2610-D-0002'").fetchall()
    assert head == [("2026-10-31", "APN-2026-10-search-CC-1-draft", "AI chargeback 2026-10 Search CC-1", None)]


def test_memos_say_what_statements_say() -> None:
    con = books()
    state(con, "a", "search", "US", "9.00", [("us", "9", None, "Final")], activity="gpu_idle")
    post(con)
    assert con.execute("select line_memo from journal_lines where role = 'expense'").fetchall() == [("AI idle GPUs 2026-10",)]
    for activity in ACTIVITIES:
        said, shown = con.execute("select activity_said(?)", [activity]).fetchall()[0][0], words.plain(activity)
        assert shown == said[0].upper() + said[1:] and "_" not in said


def test_the_parts_of_a_line_are_its_cents_whatever_the_rounding() -> None:
    con = books()
    state(con, "a", "search", "US", "0.01", [("us", "0.005", None, "Final"), ("ie", "0.004", None, "Final")])
    state(con, "b", "search", "US", "0.01", [("us", "100", None, "Final"), ("ie", "-99.986", None, "Final")], activity="training")
    state(con, "c", "docs", "IE", "12.00", [("us", "5", None, "Final"), ("ie", "5", None, "Final")], fx=None)  # two months, a rate each
    state(con, "d", "docs", "IE", "0.00", [("us", "0.001", None, "Final")], activity="training")
    sums = {}
    for _, entity, _, role, account, _, amount in post(con):
        if role == "expense":
            sums.setdefault((entity, account), []).append(amount)
    assert sums == {("US", "6215"): ["0.01"], ("US", "6240"): ["100.00", "-99.99"], ("IE", "6215"): ["6.00", "6.00"]}


def test_accounts_by_environment_and_entity() -> None:
    con = books()
    state(con, "a", "search", "US", "3.00", [("us", "1", "research", "Final"), ("us", "2", "prod", "Final")], activity="training")
    state(con, "b", "docs", "IE", "7.00", [("ie", "3", "research", "Final"), ("ie", "4", None, "Final")], activity="training")
    state(con, "c", "docs", "IE", "5.00", [("ie", "5", None, "Final")], activity="query")
    found = {(entity, account): amount for _, entity, _, role, account, _, amount in post(con) if role == "expense"}
    assert found == {("US", "1510"): "1.00", ("US", "6240"): "2.00", ("IE", "1511"): "3.00", ("IE", "6241"): "4.00", ("IE", None): "5.00"}


def freeze(con: duckdb.DuckDBPyConnection, version: int) -> None:
    con.execute(
        "insert into booked_journal_lines by name select * replace ($v as version, replace(je_id, '-D-', '-V' || $v || '-') as je_id)"
        " from journal_lines where version = 0 and kind not in ('accrual', 'reversal')",
        {"v": version},
    )


def test_a_later_version_posts_only_what_changed() -> None:
    con = books()
    state(con, "a", "search", "US", "100.00", [("us", "60", None, "Final"), ("ie", "40", None, "Final")])
    state(con, "b", "docs", "IE", "10.00", [("ie", "10", None, "Final")])
    post(con)
    freeze(con, 1)
    con.execute("update periods set state = 'closed', version = 1")
    con.execute("insert into statement_lines select * replace (1 as version) from statement_lines; delete from statement_lines where version = 0")
    assert post(con) == []  # a closed month posts nothing more
    con.execute("update periods set state = 'reopened'")
    state(con, "a", "search", "US", "97.50", [("us", "-2.50", None, "Final")])
    assert post(con) == [  # the statement of docs is gone: its entry is taken back
        ("APN2610-D-0001", "IE", "correction", "expense", "6215", "CC-5", "-10.00"),
        ("APN2610-D-0001", "IE", "correction", "recovery", "6299", "CC-5", "10.00"),
        ("APN2610-D-0002", "US", "correction", "expense", "6215", "CC-1", "-2.50"),
        ("APN2610-D-0002", "US", "correction", "recovery", "6299", "CC-9", "2.50"),
    ]
    freeze(con, 2)
    con.execute("delete from journal_lines where version = 0")
    assert post(con) == []  # a fixed point: what is posted is not posted again


def test_estimated_cost_of_a_month_in_review_is_accrued_and_taken_back() -> None:
    con = books("soft_closed")
    state(con, "a", "search", "US", "30.00", [("us", "10", None, "Final"), ("ie", "20", None, "Estimated")])
    state(con, "b", "docs", "IE", "5.00", [("ie", "5", None, "Final")])
    found = [row for row in post(con) if row[2] in ("accrual", "reversal")]
    assert found == [
        ("APN2610-A-0001", "US", "accrual", "expense", "6215", "CC-1", "20.00"),
        ("APN2610-A-0001", "US", "accrual", "due_to", "2310", None, "-20.00"),
        ("APN2610-A-0001", "IE", "accrual", "due_from", "1310", None, "20.00"),
        ("APN2610-A-0001", "IE", "accrual", "accrued", "2150", None, "-20.00"),
        ("APN2610-R-0001", "US", "reversal", "expense", "6215", "CC-1", "-20.00"),
        ("APN2610-R-0001", "US", "reversal", "due_to", "2310", None, "20.00"),
        ("APN2610-R-0001", "IE", "reversal", "due_from", "1310", None, "-20.00"),
        ("APN2610-R-0001", "IE", "reversal", "accrued", "2150", None, "20.00"),
    ]
    dates = con.execute("select distinct kind, posting_date::varchar, reversal_date::varchar from journal_lines where kind in ('accrual', 'reversal') order by 1").fetchall()
    assert dates == [("accrual", "2026-10-31", "2026-11-01"), ("reversal", "2026-11-01", None)]


@pytest.mark.parametrize("broken", ["update journal_lines set credit = credit + 0.01 where role = 'recovery'", "update journal_lines set debit = debit + 1 where role = 'due_from'"])
def test_an_entry_out_of_balance_is_seen(broken: str) -> None:
    con = books()
    state(con, "a", "search", "US", "39.00", [("ie", "39", None, "Final")])
    post(con)
    con.execute(broken)
    assert con.execute(CHECKS["journal_balances"]).fetchall()


def test_random_months_stay_in_balance() -> None:
    """Credits, three environments, both buyers: every statement is posted to the cent."""
    con = books("soft_closed")
    for number in range(60):
        costs = [Decimal((number * 7919 + k * 104729) % 20011 - 6000) / 1000 for k in range(3)]
        rows = [(("us", "ie")[(number + k) % 2], str(cost), ("prod", "research", None)[k], ("Final", "Estimated")[k % 2]) for k, cost in enumerate(costs)]
        state(con, f"l{number}", ("search", "docs")[number % 2], ("US", "IE")[number % 2], str(sum(costs).quantize(Decimal("0.01"))), rows, ("inference", "training")[number % 3 % 2])
    assert len(post(con)) > 20


def test_what_was_closed_before_there_were_journals_counts_as_posted_by_hand() -> None:
    con = books("reopened")
    con.execute("update periods set version = 1")
    state(con, "l-1", "search", "US", "12.50", [("us", "12.5", None, "Final")])
    con.execute("insert into versions_without_journal values ('2026-10', 1)")
    con.execute(
        "insert into booked_statement_lines by name select '2026-10' as period, 1 as version, 'search' as team_id, 'CC-1' as cost_center, 'US' as legal_entity,"
        " 'l-1' as line_id, 'inference' as activity, 10.00 as amount, 'USD' as currency, '6215' as gl_account, 'chargeback' as mode"
    )
    con.execute("insert into statement_lines select period, 1, team_id, cost_center, legal_entity, line_id, activity, 10.00, currency, fx_rate, mode from statement_lines")
    assert [row[2:] for row in post(con)] == [("correction", "expense", "6215", "CC-1", "2.50"), ("correction", "recovery", "6299", "CC-9", "-2.50")]
    con.execute("delete from versions_without_journal")  # the check knows a missing journal from one that never was
    assert {row[0] for row in con.execute(CHECKS["journal_ties_to_statements"]).fetchall()} == {"2026-10"}
