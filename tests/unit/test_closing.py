"""Months that are closed, reopened, approved and disputed, on a company of three teams."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pipelines import close, inspection, jobs
from pipelines.errors import AllRefused, Refused
from pipelines.review import same_person
from pipelines.run import open_run
from tests.closing import ALLOCATION, CLOSE, TEAMS, Company, only_the_books
from tests.conftest import quiet

SEPTEMBER = ("2026-09-01,p-a,x,10.5", "2026-09-02,p-b,x,20", "2026-09-30,,shared,3")


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        only_the_books(patched)
        yield


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Company]:
    return lambda close="": Company(tmp_path / "made", close)


@pytest.fixture(scope="module")
def _in_review(_quick: None, tmp_path_factory: pytest.TempPathFactory) -> Company:
    company = Company(tmp_path_factory.mktemp("in-review") / "home")
    company.bill(*SEPTEMBER)
    company.night("2026-10-02")
    return company


@pytest.fixture(scope="module")
def _closed(_in_review: Company, tmp_path_factory: pytest.TempPathFactory) -> Company:
    company = Company.copy(_in_review, tmp_path_factory.mktemp("closed") / "home")
    company.close("2026-09")
    return company


@pytest.fixture
def in_review(_in_review: Company, tmp_path: Path) -> Company:
    """September in review as of the second of October."""
    return Company.copy(_in_review, tmp_path / "in-review")


@pytest.fixture
def closed(_closed: Company, tmp_path: Path) -> Company:
    """The same September, closed that day."""
    return Company.copy(_closed, tmp_path / "closed")


def refusals(work: Callable[[], Any]) -> list[str]:
    with pytest.raises(Refused) as caught:
        work()
    return [str(reason) for reason in getattr(caught.value, "reasons", [caught.value])]


# --- reopening -----------------------------------------------------------------------------------------------------------


def test_a_reopened_month_takes_its_corrections_and_adds_their_cents_to_those_it_was_closed_with(made: Callable[..., Company]) -> None:
    company = made()
    company.bill("2026-09-01,p-a,x,10.005", "2026-09-02,p-b,x,20.005", "2026-09-30,,shared,1.01")
    company.night("2026-10-02")
    company.close("2026-09")
    assert company.amounts("2026-09", 1) == {"a": "10.68", "b": "20.34"}
    company.bill("2026-09-02,p-b,x,25.004", "2026-09-03,p-a,y,1.004")
    company.night("2026-10-05")
    assert company.amounts("2026-10") == {"a": "1.00", "b": "5.00"}
    company.reopen("2026-09")
    assert company.rows("select state, version from periods where period = '2026-09'") == [("reopened", 1)]
    assert company.amounts("2026-10") == {} and company.amounts("2026-09") == {"a": "11.68", "b": "25.34"}
    assert company.rows("select distinct version, state from statements where period = '2026-09' order by 1") == [(0, "DRAFT"), (1, "FINAL")]
    assert company.rows("select distinct version from ledger where period = '2026-09'") == [(0,)]
    assert company.close("2026-09").entry.facts["version"] == 2
    assert company.amounts("2026-09", 2) == {"a": "11.68", "b": "25.34"} and company.amounts("2026-09", 1) == {"a": "10.68", "b": "20.34"}
    assert company.rows("select distinct version, state from statements where period = '2026-09' order by 1") == [(1, "SUPERSEDED"), (2, "FINAL")]
    assert company.rows("select since_version, version, sum(chargeback_cost)::decimal(18, 3)::varchar from ledger where period = '2026-09' group by all order by 1") == [
        (1, 2, "31.020"), (2, 2, "6.003")
    ]  # fmt: skip
    assert company.rows("select event, version, actor, reason from period_events where period = '2026-09' order by number")[1:] == [
        ("closed", 1, "carol", None), ("reopened", 2, "carol", "a late bill"), ("closed", 2, "carol", None),
    ]  # fmt: skip
    assert company.night("2026-10-05").changed is False
    # A third version corrects what both closes booked, under an id of its own.
    company.bill("2026-09-02,p-b,x,26.004")
    company.night("2026-10-06")
    assert company.amounts("2026-10") == {"b": "1.00"}
    company.reopen("2026-09", "another")
    company.close("2026-09")
    assert company.amounts("2026-09", 3) == {"a": "11.68", "b": "26.34"}


def test_a_correction_that_a_later_close_took_stays_there(closed: Company) -> None:
    company = closed
    company.bill("2026-10-01,p-a,x,7")
    company.bill("2026-09-01,p-a,x,12.5")
    company.night("2026-11-03")
    company.close("2026-10")
    company.bill("2026-09-01,p-a,x,15.5")
    company.night("2026-11-04")
    assert company.amounts("2026-10", 1) == {"a": "9.00"} and company.amounts("2026-11") == {"a": "3.00"}
    company.reopen("2026-09")
    assert company.amounts("2026-11") == {} and company.amounts("2026-09") == {"a": "15.50", "b": "21.00"}
    assert company.amounts("2026-10", 1) == {"a": "9.00"}
    company.night("2026-12-02")
    assert any("2026-11 cannot close before 2026-09: 2026-09 is reopened" in reason for reason in refusals(lambda: company.close("2026-11")))
    company.close("2026-09")
    company.close("2026-11")


def test_an_edit_of_policy_waits_for_the_month_to_be_reopened(closed: Company) -> None:
    company = closed
    company.policy("allocation", ALLOCATION.replace("weights: {a: 2, b: 1}", "weights: {a: 1, b: 3}"))
    outcome = company.night("2026-10-03")
    assert company.amounts("2026-10") == {}
    assert outcome.notes == ["2026-09 is closed: allocation.yaml now says something else about it (rule shared " + outcome.notes[0].split("(rule shared ")[1]]
    assert company.rows("select period, what, events from exceptions where kind = 'policy_edit'") == [("2026-09", "allocation.yaml", 1)]
    company.reopen("2026-09", "agreed weights")
    assert company.amounts("2026-09") == {"a": "11.25", "b": "22.25"}
    company.close("2026-09")
    assert company.amounts("2026-09", 2) == {"a": "11.25", "b": "22.25"}
    assert company.rows("select count(*) from exceptions where kind = 'policy_edit'") == [(0,)]
    # What is dated after the month says nothing about it.
    dated = ALLOCATION.replace("weights: {a: 2, b: 1}", "weights: {a: 1, b: 3}, effective: {to: 2026-10-01}")
    dated = dated.replace("  - {id: owner,", "  - {id: later, pool: shared, by: [charge_id], method: fixed, weights: {a: 1}, effective: {from: 2026-10-01}}\n  - {id: owner,")
    company.policy("allocation", dated)
    assert company.night("2026-10-03").notes == []


def test_a_decision_that_was_cut_off_after_its_entry_is_published_by_the_next_night(closed: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    company = closed
    whole = Company.copy(company, company.home.root.with_name("whole"))
    for one in (whole, company):
        one.policy("allocation", ALLOCATION.replace("weights: {a: 2, b: 1}", "weights: {a: 1, b: 3}"))
    whole.reopen("2026-09", "agreed weights")
    with monkeypatch.context() as killed:
        killed.setattr(jobs, "_compute", lambda run: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            company.reopen("2026-09", "agreed weights")
    assert company.amounts("2026-09", 1) == {"a": "12.50", "b": "21.00"} and company.amounts("2026-09") == {}
    assert "only a closed month" in refusals(lambda: company.reopen("2026-09"))[0]
    company.night("2026-10-02")
    assert company.content() == whole.content()


def test_only_a_closed_month_is_reopened_and_by_somebody(in_review: Company, closed: Company) -> None:
    assert refusals(lambda: in_review.reopen("2026-09")) == ["reopen: 2026-09 is soft-closed; only a closed month can be reopened"]
    assert refusals(lambda: in_review.reopen("2026-12")) == ["periods: 2026-12 is not a period as of 2026-10-02; run the night past its last day first"]
    for actor in (" ", "a\x00b", "A" * 1001):
        assert "--actor: is " in refusals(lambda actor=actor: in_review.close("2026-09", actor))[0]
    assert "already closed" in refusals(lambda: closed.close("2026-09"))[0]
    assert refusals(lambda: closed.reopen("2026-09", " ")) == ["--reason: is empty; say why the month is opened again"]


def test_a_team_that_left_still_has_its_closed_months_and_their_corrections(closed: Company) -> None:
    company = closed
    company.policy("teams", "".join(line for line in TEAMS.splitlines(keepends=True) if "id: a," not in line))
    company.policy("allocation", ALLOCATION.replace("{a: 2, b: 1}", "{b: 1}"))
    company.bill("2026-09-01,p-a,x,11.5")
    company.night("2026-10-03")
    assert company.amounts("2026-10") == {"a": "1.00"}
    company.reopen("2026-09", "the team left")
    assert company.amounts("2026-09") == {"a": "0.00", "b": "23.00", "unallocated": "11.50"}  # today's policy says so
    modes = "select distinct version, mode from statement_lines where period = '2026-09' and team_id = 'a' order by 1"
    assert company.rows(modes) == [(0, "chargeback"), (1, "chargeback")]  # what was charged is taken back as it was charged
    company.close("2026-09")


@pytest.mark.parametrize(("since", "posted"), [("2026-10-01", [("2026-10", "a")]), ("2026-10-02", [])])
def test_a_team_is_charged_from_the_first_whole_period_of_its_new_mode(in_review: Company, since: str, posted: list[tuple[str, str]]) -> None:
    company = in_review
    dated = f"[{{mode: showback, to: {since}}}, {{mode: chargeback, from: {since}}}]"
    company.policy("teams", TEAMS.replace("cost_center: CC-1, mode: chargeback", f"cost_center: CC-1, mode: {dated}").replace("cost_center: CC-2, mode: chargeback", "cost_center: CC-2, mode: showback"))
    company.bill("2026-10-01,p-a,x,4", "2026-10-02,p-b,x,2")
    company.night("2026-10-03")
    assert company.rows("select distinct period, mode from statement_lines where team_id = 'a' order by 1") == [("2026-09", "showback"), ("2026-10", "chargeback" if posted else "showback")]
    assert company.rows("select distinct period, team_id from journal_lines where role = 'expense' order by 1") == posted


# --- currencies ----------------------------------------------------------------------------------------------------------


def test_the_rate_of_a_month_stays_what_it_was_at_soft_close(made: Callable[..., Company]) -> None:
    company = made()
    company.bill("2026-09-01,p-a,x,100,EUR")
    company.land("fx/treasury", "1.csv", "period,currency,rate,rate_source\n2026-09,EUR,1.10,ECB\n2026-10,EUR,1.30,ECB\n")
    company.night("2026-10-01")
    assert company.rows("select frozen_on from exchange_rates where period = '2026-09'") == [(None,)]
    company.land("fx/treasury", "2.csv", "period,currency,rate,rate_source\n2026-09,EUR,1.20,ECB\n")
    company.night("2026-10-01")  # the same day: a rate lands, and counts
    assert company.amounts("2026-09") == {"a": "120.00"}
    company.night("2026-10-02")
    company.land("fx/treasury", "3.csv", "period,currency,rate,rate_source\n2026-09,EUR,1.50,ECB\n")
    company.night("2026-10-05")
    assert company.amounts("2026-09") == {"a": "120.00"}
    assert company.rows("select kind, what from exceptions where period = '2026-09'") == [("rate_frozen", "EUR")]
    company.close("2026-09")
    company.bill("2026-09-01,p-a,x,110,EUR", "2026-10-01,p-a,x,10,EUR", "2026-10-02,,z,1,EUR")
    company.night("2026-10-06")  # the correction at September's rate, October at its own
    assert company.rows("select category, original_period, fx_rate::varchar, amount::varchar from statement_lines where period = '2026-10' and team_id = 'a' order by 1") == [
        ("adjustment", "2026-09", "1.200000000000", "12.00"), ("direct", None, "1.300000000000", "13.00"),
    ]  # fmt: skip


def test_a_currency_that_first_appears_late_is_converted_once_its_rate_lands(closed: Company) -> None:
    company = closed
    company.bill("2026-09-15,p-b,x,100,GBP")
    assert refusals(lambda: company.night("2026-10-05")) == [
        "data/landing/fx: no exchange rate from GBP to USD for 2026-09; land a CSV with period,currency,rate,rate_source"
    ]
    company.land("fx/treasury", "1.csv", "period,currency,rate,rate_source\n2026-09,GBP,1.25,BoE\n")
    company.night("2026-10-05")
    assert company.amounts("2026-10") == {"b": "125.00"}


def test_drivers_without_dates_decide_open_months_the_same_day_and_closed_ones_never(made: Callable[..., Company]) -> None:
    company = made()
    company.policy("allocation", ALLOCATION.replace("method: fixed, weights: {a: 2, b: 1}", "method: proportional, driver: seats, fallback: [{to: platform}]"))
    company.land("drivers/hr", "1.csv", "driver,target,weight\nseats,a,1\nseats,b,1\n")
    company.bill("2026-09-30,,shared,10", "2026-10-01,,shared,10")
    company.night("2026-10-02")
    company.close("2026-09")
    company.land("drivers/hr", "2.csv", "driver,target,weight\nseats,a,4\nseats,b,1\n")
    company.night("2026-10-03")
    assert company.amounts("2026-10") == {"a": "8.00", "b": "2.00"}
    company.land("drivers/hr", "3.csv", "driver,target,weight\nseats,a,1\nseats,b,9\n")
    company.night("2026-10-03")
    assert company.amounts("2026-10") == {"a": "1.00", "b": "9.00"}
    company.reopen("2026-09")
    assert company.amounts("2026-09") == {"a": "5.00", "b": "5.00"}


# --- approvals -----------------------------------------------------------------------------------------------------------


def approved(company: Company, step: str, actor: str) -> jobs.Outcome:
    return jobs.approve(company.home, "2026-09", step, actor, quiet)


def test_three_people_and_the_same_figures_make_a_close(in_review: Company) -> None:
    company = in_review
    company.policy("close", CLOSE + "approvals: required\n")
    assert [reason.split(";")[0] for reason in refusals(lambda: company.close("2026-09"))] == [
        "close: 2026-09 cannot close: its review is missing", "close: 2026-09 cannot close: its approval is missing",
    ]  # fmt: skip
    assert "nobody has reviewed" in refusals(lambda: approved(company, "approve", "Lead"))[0]
    approved(company, "review", "Team  Lead")
    assert "Team Lead gave the review" in refusals(lambda: approved(company, "approve", "team lead"))[0]
    assert "the night prepares" in refusals(lambda: approved(company, "approve", "The Night"))[0]
    approved(company, "approve", "Controller")
    assert "has its approval, by Controller" in refusals(lambda: approved(company, "approve", "Clerk"))[0]
    assert company.rows("select step, actor, version, counts from approvals where period = '2026-09' order by number nulls first") == [
        ("prepare", "the night", 1, True), ("review", "Team Lead", 1, True), ("approve", "Controller", 1, True),
    ]  # fmt: skip
    company.bill("2026-09-02,p-b,x,20.015")  # a cent, and both have to look again
    company.night("2026-10-05")
    reasons = refusals(lambda: company.close("2026-09"))
    assert "the review by Team Lead as of 2026-10-02 no longer counts: the figures changed since" in reasons[0] and len(reasons) == 2
    assert company.rows("select counts from approvals where number is not null") == [(False,), (False,)]
    approved(company, "review", "Controller")
    approved(company, "approve", "Team Lead")
    company.close("2026-09")
    assert company.rows("select count(*) filter (counts), count(*) from approvals where period = '2026-09' and version = 1") == [(3, 5)]
    assert "is closed" in refusals(lambda: approved(company, "review", "Controller"))[0]
    company.reopen("2026-09")  # another version, other signatures
    assert len(refusals(lambda: company.close("2026-09"))) == 2


@pytest.mark.parametrize("one, other, same", [("Lead", " lead ", True), ("TEAM\tLEAD", "team lead", True), ("Ｓtraße", "strasse", True), ("Lead", "Leads", False)])
def test_a_person_is_known_however_the_name_is_written(one: str, other: str, same: bool) -> None:
    assert same_person(one, other) is same


# --- disputes ------------------------------------------------------------------------------------------------------------


def disputed(company: Company, line: int, amount: str | None, code: str = "wrong_team", team: str = "a", label: str = "2026-09") -> str:
    outcome = jobs.dispute(company.home, team, label, [line], Decimal(amount) if amount else None, code, "see ticket 7", "Lead", quiet)
    return outcome.entry.facts["dispute_id"]


def resolved(company: Company, dispute_id: str, state: str = "accepted", to: str | None = None, actor: str = "Controller") -> jobs.Outcome:
    return jobs.resolve_dispute(company.home, dispute_id, state, to, "checked", actor, quiet)


SUMS = "select team_id, sum(effective_cost)::decimal(18, 3)::varchar, sum(chargeback_cost)::decimal(18, 3)::varchar from ledger where activity = 'adjustment' group by all order by 1"


def test_an_accepted_dispute_of_a_draft_moves_cost_within_its_month(in_review: Company) -> None:
    company = in_review
    assert disputed(company, 1, "5.25") == "D-1"
    assert "D-1 of a over 5.25 USD is open until 2026-10-12" in refusals(lambda: company.close("2026-09"))[0]
    assert "at most 7.25" in refusals(lambda: disputed(company, 1, "7.26"))[0]
    assert "is the team that disputes" in refusals(lambda: resolved(company, "D-1", to="a"))[0]
    assert "no team is called c" in refusals(lambda: resolved(company, "D-1", to="c"))[0]
    assert "Lead opened D-1" in refusals(lambda: resolved(company, "D-1", actor="LEAD"))[0]
    resolved(company, "d-1", to="b")
    assert company.amounts("2026-09") == {"a": "7.25", "b": "26.25"} and company.amounts("2026-10") == {}
    assert company.rows(SUMS) == [("a", "-5.250", "-5.250"), ("b", "5.250", "5.250")]
    assert company.rows("select state, to_team_id, adjustment_period, resolved_by from disputes") == [("accepted", "b", "2026-09", "Controller")]
    assert "was accepted by Controller" in refusals(lambda: resolved(company, "D-1", "rejected"))[0]
    company.close("2026-09")
    assert company.amounts("2026-09", 1) == {"a": "7.25", "b": "26.25"}
    assert company.night("2026-10-02").changed is False


def test_a_dispute_of_a_closed_month_is_booked_in_the_open_one_until_the_month_is_reopened(closed: Company) -> None:
    company = closed
    resolved(company, disputed(company, 1, None, "wrong_rate"))
    assert company.amounts("2026-10") == {"a": "-12.50", "platform": "12.50"}
    assert company.rows(SUMS) == [("a", "0.000", "-12.500"), ("platform", "0.000", "12.500")]  # a wrong rate moves no cost
    assert company.rows("select category, service, original_period from statement_lines where period = '2026-10' and team_id = 'a'") == [("adjustment", "Dispute D-1", "2026-09")]
    company.bill("2026-09-01,p-a,x,11.5")  # a correction beside it does not take it back
    company.night("2026-10-05")
    assert company.amounts("2026-10") == {"a": "-11.50", "platform": "12.50"}
    company.reopen("2026-09")
    assert company.amounts("2026-10") == {} and company.amounts("2026-09") == {"a": "1.00", "b": "21.00", "platform": "12.50"}
    company.close("2026-09")
    assert company.amounts("2026-09", 2) == {"a": "1.00", "b": "21.00", "platform": "12.50"}
    company.night("2026-10-16")
    assert "could be disputed until 2026-10-15" in refusals(lambda: disputed(company, 1, "1", team="b"))[0]


def test_a_dispute_that_is_rejected_withdrawn_or_too_old_holds_up_nothing(in_review: Company) -> None:
    company = in_review
    company.policy("close", CLOSE + "disputes: {days: 3}\n")
    assert "line 9 is not on the statement" in refusals(lambda: disputed(company, 9, "1"))[0]
    resolved(company, disputed(company, 1, None), "rejected")
    taken_back = disputed(company, 1, None)
    assert "Lead opened D-2" in refusals(lambda: resolved(company, taken_back, "withdrawn", actor="Controller"))[0]
    resolved(company, taken_back, "withdrawn", actor="Lead")
    left = disputed(company, 1, None)
    assert len(refusals(lambda: company.close("2026-09"))) == 1
    company.night("2026-10-06")
    company.close("2026-09")
    resolved(company, left, to="unallocated")
    assert company.amounts("2026-10") == {"a": "-12.50", "unallocated": "12.50"}
    assert company.rows("select reason from ledger where team_id = 'unallocated'") == [("dispute D-3, accepted by Controller: wrong team",)]
    assert [row["state"] for row in [dict(zip(("dispute_id", "state"), row, strict=True)) for row in company.rows("select dispute_id, state from disputes order by 1")]] == [
        "rejected", "withdrawn", "accepted",
    ]  # fmt: skip


# --- closing -------------------------------------------------------------------------------------------------------------


def test_a_close_is_refused_with_every_reason_at_once(in_review: Company) -> None:
    company = in_review
    company.policy("close", "version: 1\ntolerance: {unallocated_percent: '0'}\napprovals: required\n")
    company.bill("2026-10-01,nobody,x,1", "2026-10-02,p-a,x,1")
    company.night("2026-10-05")
    disputed(company, 1, "1", label="2026-10")
    with pytest.raises(AllRefused):
        company.close("2026-10")
    reasons = refusals(lambda: company.close("2026-10"))
    for part in ("2026-10 cannot close before 2026-09: 2026-09 is soft-closed", "is not over as of", "unallocated_within_tolerance", "its review is missing", "its approval is missing", "D-1 of a"):
        assert sum(part in reason for reason in reasons) == 1, part
    assert len(reasons) == 6
    shown = inspection.status(company.home)
    assert [row["dispute_id"] for row in shown["disputes"]] == ["D-1"] and "Open disputes" in inspection.status_text(shown)
    assert "Billed, and what the gateways saw of it" in inspection.status_text({**shown, "coverage": []})


def test_small_late_items_join_one_line(made: Callable[..., Company]) -> None:
    company = made("materiality: {amount: '5', percent: '10'}\n")
    company.bill("2026-09-01,p-a,x,100", "2026-09-02,p-b,x,20")
    company.night("2026-10-02")
    company.close("2026-09")
    company.bill("2026-09-01,p-a,x,103.001", "2026-09-01,p-a,y,-1.5", "2026-09-02,p-b,x,30")
    company.night("2026-10-05")
    lines = "select team_id, service, activity, amount::varchar from statement_lines where period = '2026-10' order by all"
    assert company.rows(lines) == [("a", "Small late items", "adjustment", "1.50"), ("b", "API", "other", "10.00")]
    company.bill("2026-09-01,p-a,x,113", "2026-09-01,p-a,y,-3")  # ten more than it was: as much as both say
    company.night("2026-10-06")
    assert [row[1] for row in company.rows(lines)] == ["API", "API"]
    company.policy("close", "version: 1\ntolerance: {unallocated_percent: '100'}\nmateriality: {amount: '1', percent: '50'}\n")
    company.night("2026-10-06")
    assert company.rows(lines) == [("a", "Small late items", "adjustment", "10.00"), ("b", "API", "other", "10.00")]


def test_the_books_keep_every_column_of_charges_ledger_and_lines(in_review: Company) -> None:
    company = in_review
    with open_run(company.home, date(2026, 10, 2), quiet) as run:
        for name, shape in close.BOOKED.items():
            made_of = {row[0] for row in run.con.execute(f"describe {name}").fetchall()}
            assert made_of - {"since_version"} == set(shape), name
