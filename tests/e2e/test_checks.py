"""Every check passes on the sample company, and fails on data broken in the way it looks for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from pipelines import models, policy
from pipelines.checks import run_checks
from pipelines.errors import Refused
from pipelines.home import Home
from pipelines.inspection import check, verify
from pipelines.run import Run, open_run
from pipelines.warehouse import transaction
from tests.conftest import DAY_2, quiet

ONE_CHARGE = "(select min(charge_id) from ledger where effective_cost > 1)"
BROKEN = {
    "accruals_within_limit": "update period_charges set origin = 'accrual' where usage_period = '2026-10' and provider = 'anthropic' and usage_date < '2026-10-10'",
    "charges_conserve_bills": "update bill_lines set billed_cost = billed_cost + 0.000000000001 where charge_id = (select min(charge_id) from bill_lines where in_scope and usage_period = '2026-10')",
    "charges_unique": f"insert into charges select * from charges where charge_id = {ONE_CHARGE}",
    "corrections_complete_closed_periods": "update charges set effective_cost = effective_cost + 1 where charge_id = (select min(charge_id) from charges where original_period = '2026-09')",
    "every_row_has_an_owner": "update ledger set team_id = 'nobody' where ledger_id = (select min(ledger_id) from ledger where version = 0)",
    "journal_balances": "update journal_lines set debit = debit + 0.01 where role = 'due_from' and je_id = (select min(je_id) from journal_lines where role = 'due_from')",
    "journal_ties_to_statements": "delete from journal_lines where je_id = (select min(je_id) from journal_lines where version = 1)",
    "landing_accounts_for_every_line": "update source_files set lines = lines + 1 where path = (select min(path) from source_files where kind = 'gateway' and state = 'landed')",
    "ledger_conserves_charges": f"update ledger set contracted_cost = contracted_cost + 0.000000000001 where ledger_id = (select min(ledger_id) from ledger where charge_id = {ONE_CHARGE})",
    "lines_tie_to_ledger": "update statement_lines set amount = amount + 0.02 where line_id = (select min(line_id) from statement_lines where amount > 1)",
    "money_is_decimal": "create table broken(effective_cost double)",
    "one_bill_per_account_day": "insert into bill_lines select * replace ('another' as source) from bill_lines where charge_id = (select min(charge_id) from bill_lines where in_scope)",
    "one_gateway_per_call": "insert into calls_told_twice(usage_date, source, other_source, calls) values ('2026-10-02', 'edge', 'proxy', 1)",
    "portions_conserve_charges": "delete from charge_portions where charge_id = (select min(charge_id) from charge_portions)",
    "ratios_sum_to_one": f"update ledger set allocated_ratio = allocated_ratio + 0.000000000001 where ledger_id = (select min(ledger_id) from ledger where charge_id = {ONE_CHARGE})",
    "reconciliation_within_tolerance": "update reconciliation set state = 'unmetered' where provider = 'openai' and state = 'matched'",
    "statements_tie_to_ledger": "update statement_lines set amount = amount + 0.01 where line_id = (select min(line_id) from statement_lines where amount > 1)",
    "unallocated_within_tolerance": "update ledger set team_id = 'unallocated', reason = 'broken' where version = 0 and activity = 'inference'",
    "unpriced_within_tolerance": "update usage_daily set unpriced_events = 1",
    "usage_counts_every_event": "update usage_daily set events = events + 1 where usage_date = (select max(usage_date) from usage_daily)",
}


@pytest.fixture
def run(company_copy: Home) -> Iterator[Run]:
    with open_run(company_copy, DAY_2, quiet) as opened:
        policy.register(opened.con, opened.policy)
        yield opened


def test_every_check_is_broken_here() -> None:
    assert set(BROKEN) == {model.name for model in models.checks()}


def test_all_pass_on_the_sample_company(company_copy: Home) -> None:
    assert {result.name: result.first for result in check(company_copy) if result.bad_rows} == {}


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_each_check_sees_broken_data(run: Run, name: str) -> None:
    before = {result.name: result.bad_rows for result in run_checks(run)}
    assert before[name] == 0
    with pytest.raises(RuntimeError, match="undo"), transaction(run.con):
        run.con.execute(BROKEN[name])
        after = {result.name: result for result in run_checks(run)}
        assert after[name].bad_rows > 0 and after[name].first
        raise RuntimeError("undo")


def test_check_compares_the_published_ledger(company_copy: Home) -> None:
    with open_run(company_copy, DAY_2, quiet) as run:
        run.con.execute("update ledger set effective_cost = effective_cost + 1, chargeback_cost = chargeback_cost + 1 where ledger_id = (select min(ledger_id) from ledger)")
    assert {r.name for r in check(company_copy) if r.bad_rows} >= {"published_equals_warehouse", "ledger_conserves_charges"}


@pytest.mark.parametrize("name", ["ledger.parquet", "policy/teams.yaml"])
def test_verify_and_check_see_altered_books(company_copy: Home, name: str) -> None:
    assert verify(company_copy)[1] == []
    path = next(company_copy.books.glob(f"*-closed-*/{name}"))
    path.write_bytes(path.read_bytes() + b" ")
    assert any(name in problem and "altered" in problem for problem in verify(company_copy)[1])
    assert "books_are_whole" in {r.name for r in check(company_copy) if r.bad_rows}


def test_verify_sees_altered_published_data_and_statements(company_copy: Home) -> None:
    issued = next(company_copy.reports.glob("2026-09/v1/*.xlsx"))
    issued.write_bytes(b"PK" + issued.read_bytes()[2:-1])
    published = company_copy.current.resolve()
    published.write_bytes(published.read_bytes()[:-1] + b"\0\0")
    feeds = [company_copy.reports / "guardrails" / name for name in ("budgets.json", "litellm.json", "suggested.json")]
    for feed in feeds:
        feed.write_text(re.sub('"(remaining|daily_limit)": ', r'"\1": 9', feed.read_text()))
    problems = verify(company_copy)[1]
    assert any(issued.name in problem for problem in problems)
    assert any(published.name in problem for problem in problems)
    assert all(any(feed.name in problem and "altered" in problem for problem in problems) for feed in feeds)


def test_verify_sees_a_removed_entry_of_the_books(company_copy: Home) -> None:
    entries = sorted(company_copy.books.glob("[0-9]*"))
    entry = json.loads((entries[1] / "entry.json").read_text())
    entry["previous"] = "0" * 64
    (entries[1] / "entry.json").write_text(json.dumps(entry))
    assert any("chain" in problem for problem in verify(company_copy)[1])


def test_a_failing_check_stops_publishing(company_copy: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that loses money is caught before anything is published."""
    from pipelines import close, jobs

    real = close.models.replace_all

    def losing(con, model, params):
        real(con, model, params)
        if model.name == "ledger":
            con.execute("delete from ledger where ledger_id = (select min(ledger_id) from ledger where version = 0)")

    monkeypatch.setattr(close.models, "replace_all", losing)
    before = company_copy.current.resolve()
    (company_copy.policy / "close.yaml").write_text((company_copy.policy / "close.yaml").read_text() + "\n# touched\n")
    text = (company_copy.policy / "teams.yaml").read_text().replace("name: Risk & Fraud", "name: Risk and Fraud")
    (company_copy.policy / "teams.yaml").write_text(text)
    with pytest.raises(Refused, match=r"ledger_conserves_charges|charges_unique|conserve"):
        jobs.nightly(company_copy, DAY_2, quiet)
    assert company_copy.current.resolve() == before
