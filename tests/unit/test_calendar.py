"""Calendars: periods that tile time, their names, what is refused, and nights of a company whose months are weeks."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from datetime import date, timedelta
from itertools import islice, pairwise
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import policy
from pipelines.errors import Refused
from pipelines.home import Home
from pipelines.policy.calendar import Calendar, Period, month_days, next_label
from pipelines.render import bridge
from pipelines.run import open_run
from pipelines.snapshots import _first_open
from pipelines.whatif import whatif
from pipelines.yaml_file import PolicyRefused
from tests.closing import COMPANY, SOURCES, Company, only_the_books
from tests.conftest import quiet

DAY = timedelta(days=1)
WEEKS = "weeks: {pattern: 4-4-5, year_starts: 2026-09-28, years: {2027: 52, 2028: 53}}"
ACCOUNTS = "version: 1\nexpense: {other: '6215'}\nrecovery: '6299'\naccrued: '2150'\ndue_from: '1310'\ndue_to: '2310'\n"


def of(text: str) -> str:
    """company.yaml of three teams with this calendar."""
    return COMPANY.replace("calendar: {first_period: 2026-09, soft_close_working_day: 2}", f"calendar:\n  first_period: 2026-10\n  {text}")


# --- which days are which period -------------------------------------------------------------------------------------------

days = st.dates(date(2020, 1, 1), date(2040, 12, 31))
months = st.builds(Calendar, first_period=days.map(lambda day: f"{day:%Y-%m}"), fiscal_year_starts_in=st.none() | st.integers(1, 12))


@st.composite
def of_weeks(draw: st.DrawFn) -> Calendar:
    start, year = draw(days), draw(st.integers(2020, 2040))
    long = draw(st.lists(st.sampled_from([52, 53]), min_size=1, max_size=6))
    weeks = {"pattern": draw(st.sampled_from(["4-4-5", "4-5-4", "5-4-4"])), "year_starts": start, "years": {year + n: one for n, one in enumerate(long)}}
    return Calendar.model_validate({"first_period": "2020-01", "weeks": weeks})


@st.composite
def written_out(draw: st.DrawFn) -> Calendar:
    start, label, periods = draw(days), "2026-10", []
    for length in draw(st.lists(st.integers(1, 60), min_size=1, max_size=30)):
        periods.append({"label": label, "from": start, "to": start + length * DAY})
        start, label = start + length * DAY, next_label(label)
    return Calendar.model_validate({"first_period": "2026-10", "periods": periods})


@settings(max_examples=80, deadline=None)
@given(months | of_weeks() | written_out(), st.data())
def test_periods_tile_time_and_every_day_is_in_exactly_one(calendar: Calendar, data: st.DataObject) -> None:
    periods = list(islice(calendar.all(), 80))
    assert all(a.end == b.start and next_label(a.label) == b.label for a, b in pairwise(periods))
    assert all(period.start < period.end for period in periods)
    day = data.draw(st.dates(periods[0].start, periods[-1].end - DAY))
    (one,) = [period for period in periods if period.start <= day < period.end]
    stated = [period for period in periods if period.label >= calendar.first_period]
    assert calendar.holding(day) == (one if one in stated else None)
    assert calendar.until(day) == [period for period in stated if period.start <= day]
    if calendar.last_day:
        assert calendar.last_day == periods[-1].end - DAY and calendar.holding(calendar.last_day + DAY) is None


def test_a_pattern_has_quarters_of_thirteen_weeks_and_a_declared_53rd_week() -> None:
    calendar = Calendar.model_validate({"first_period": "2026-10", "weeks": {"pattern": "4-5-4", "year_starts": date(2026, 9, 28), "years": {2027: 53, 2028: 52}}})
    periods = list(calendar.all())
    assert [period.days // 7 for period in periods] == [4, 5, 4] * 3 + [4, 5, 5] + [4, 5, 4] * 4
    assert periods[0] == Period("2026-10", date(2026, 9, 28), date(2026, 10, 26), "FY2027 P01")
    assert (periods[12].label, periods[12].start, periods[12].fiscal) == ("2027-10", date(2027, 10, 4), "FY2028 P01")
    assert not calendar.is_monthly and calendar.last_day == date(2028, 10, 1)


@pytest.mark.parametrize(("starts_in", "label", "fiscal"), [
    (None, "2026-10", None), (1, "2026-01", "FY2026 P01"), (1, "2026-12", "FY2026 P12"), (2, "2026-04", "FY2027 P03"), (2, "2027-01", "FY2027 P12"),
    (7, "2026-06", "FY2026 P12"), (7, "2026-07", "FY2027 P01"), (12, "2026-11", "FY2026 P12"), (12, "2026-12", "FY2027 P01"),
])  # fmt: skip
def test_a_fiscal_year_of_months_is_named_by_the_year_it_ends_in(starts_in: int | None, label: str, fiscal: str | None) -> None:
    calendar = Calendar(first_period="2026-01", fiscal_year_starts_in=starts_in)
    found = calendar.holding(month_days(label)[0])
    assert found is not None and (found.label, found.fiscal, found.is_month) == (label, fiscal, True)
    assert calendar.is_monthly


# --- what is refused ---------------------------------------------------------------------------------------------------------

OCTOBER, NOVEMBER = "{label: 2026-10, from: 2026-09-28, to: 2026-10-26}", "{label: 2026-11, from: 2026-10-26, to: 2026-11-23}"
REFUSED = [  # the calendar's lines after first_period, the line that is refused, and why
    ([WEEKS, "fiscal_year_starts_in: 2"], 10, "fiscal_year_starts_in says what weeks says otherwise"),
    ([WEEKS, f"periods: [{OCTOBER}]"], 10, "periods says what weeks says otherwise"),
    (["fiscal_year_starts_in: 13"], 9, "calendar.fiscal_year_starts_in"),
    ([WEEKS.replace("4-4-5", "4-4-4")], 9, "calendar.weeks.pattern"),
    (["weeks:", "  pattern: 4-4-5", "  year_starts: 2026-09-28"], 9, "calendar.weeks.years is missing"),
    (["weeks:", "  pattern: 4-4-5", "  year_starts: 2026-09-28", "  years: {2027: 54}"], 12, "Input should be 52 or 53"),
    (["weeks:", "  pattern: 4-4-5", "  year_starts: 2026-09-28", "  years:", "    2027: 52", "    2029: 53"], 14, "year 2029 follows 2027"),
    ([WEEKS.replace("2026-09-28", "2026-10-26")], 8, "no period is called 2026-10; name one of 2026-11 to 2028-10"),
    ([WEEKS, "ends_on: 2026-09-27"], 10, "ends before the first period"),
    ([WEEKS, "ends_on: 2028-10-09"], 10, "is in no period"),
    (["periods:", f"  - {OCTOBER}", f"  - {NOVEMBER.replace('10-26', '10-27')}"], 11, "2026-11 leaves out 2026-10-26 to 2026-10-26 after 2026-10; begin it on 2026-10-26"),
    (["periods:", f"  - {OCTOBER}", f"  - {NOVEMBER.replace('10-26', '10-25')}"], 11, "2026-11 overlaps 2026-10; begin it on 2026-10-26"),
    (["periods:", f"  - {OCTOBER}", f"  - {NOVEMBER.replace('2026-11,', '2026-12,')}"], 11, "2026-12 comes after 2026-10; call it 2026-11"),
    (["periods:", f"  - {OCTOBER}", f"  - {OCTOBER}"], 11, "call it 2026-11"),
    (["periods:", f"  - {OCTOBER.replace('to: 2026-10-26', 'to: 2026-09-28')}"], 10, "2026-10 has no day"),
    (["periods:", f"  - {NOVEMBER}"], 8, "no period is called 2026-10"),
    (["periods:", f"  - {OCTOBER.replace('2026-10,', 'P01,')}"], 10, "calendar.periods.0.label"),
    (["periods:", f"  - {OCTOBER.replace('2026-10,', '9999-12,')}"], 10, "calendar.periods.0.label"),
    (["periods:", f"  - {OCTOBER.replace('2026-10-26', '0001-01-01')}"], 10, "greater than or equal to 1999-01-01"),
    ([WEEKS.replace("2026-09-28", "9999-09-28")], 9, "less than or equal to 2199-12-31"),
    (["ends_on: 9999-12-31"], 9, "less than or equal to 2199-12-31"),
]  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Company:
    return Company(tmp_path / "home")


def refusals(home: Company) -> list[str]:
    with pytest.raises(PolicyRefused) as caught:
        policy.load(home.home.policy)
    return [str(reason) for reason in caught.value.reasons]


@pytest.mark.parametrize(("lines", "at", "said"), REFUSED)
def test_a_calendar_that_leaves_something_open_is_refused_with_its_line(home: Company, lines: list[str], at: int, said: str) -> None:
    home.policy("company", of("\n  ".join(lines)))
    found = refusals(home)
    assert any(text.startswith(f"company.yaml:{at}:") and said in text for text in found), found


def test_what_goes_by_the_vendors_month_needs_periods_that_are_months(home: Company) -> None:
    contracts = (
        "version: 1\nminimums:\n  - {id: floor, provider: vendor, amount: 5, lines: {service: S}}\n"
        "fees:\n  - {id: support, provider: vendor, percent: 5, lines: {service: S}}\nvolume_tiers:\n"
        "  - {id: tiers, provider: vendor, model: m, meter: output, mode: flat, tiers: [{up_to: 5, per_million: 2}, {per_million: 1}]}\n"
    )
    home.policy("contracts", contracts)
    home.policy("company", of(WEEKS))
    found = refusals(home)
    assert [text.split(" goes ")[0] for text in found] == ["contracts.yaml:7: tiers", "contracts.yaml:3: floor", "contracts.yaml:5: support"]
    assert all("the periods of company.yaml are no calendar months; keep calendar months" in text for text in found)
    for months in ("fiscal_year_starts_in: 2", "periods: [{label: 2026-10, from: 2026-10-01, to: 2026-11-01, name: Ten}]"):
        home.policy("company", of(months))
        assert policy.load(home.home.policy).company.calendar.is_monthly


def test_what_a_model_is_called_changes_with_a_period(home: Company) -> None:
    home.policy("company", of(WEEKS))
    name = "models:\n  - {provider: azure, logged: chat, model: gpt-4o, prices_of: openai, from: %s}\n"
    for day in ("2026-10-26", "2026-01-15"):
        home.policy("sources", SOURCES + name % day)
        policy.load(home.home.policy)
    for day in ("2026-11-01", "2029-01-01"):
        home.policy("sources", SOURCES + name % day)
        assert [text.split(": ", 1)[1] for text in refusals(home)] == ["a name means one model for a whole period; date it on its first day"]


@pytest.mark.parametrize("key", ["fiscal_year_starts_in", "weeks", "periods"])
def test_what_the_template_shows_of_a_calendar_is_read(tmp_path: Path, key: str) -> None:
    policy.write_template(tmp_path / "policy", "2026-10")
    path = tmp_path / "policy" / "company.yaml"
    path.write_text(re.sub(rf"(?m)^  # {key}:.*\n(  #   .*\n)*", lambda found: re.sub("(?m)^  # ", "  ", found[0]), path.read_text()))
    calendar = policy.load(path.parent).company.calendar
    assert getattr(calendar, key) is not None
    assert next(calendar.all()).fiscal == ("FY2027 P09" if key == "fiscal_year_starts_in" else "FY2027 P01")


def test_no_night_is_guessed_into_a_period(home: Company) -> None:
    home.policy("company", of("\n  ".join(["weeks:", "  pattern: 4-4-5", "  year_starts: 2026-09-28", "  years: {2027: 52}"])))
    found = policy.load(home.home.policy)
    assert found.periods(date(2027, 9, 26))[-1].label == "2027-09"
    with pytest.raises(Refused, match=r"company.yaml:12: no period holds 2027-09-27: the last that is declared ends on 2027-09-26; declare the next ones"):
        found.periods(date(2027, 9, 27))
    with pytest.raises(Refused, match="no period yet: the first is 2026-10"):
        found.periods(date(2026, 9, 27))


# --- nights ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def weekly(tmp_path: Path) -> Iterator[Company]:
    """A company with periods of weeks, and quick nights."""
    with pytest.MonkeyPatch.context() as patched:
        only_the_books(patched)
        company = Company(tmp_path / "weekly")
        company.policy("company", of(WEEKS))
        company.policy("accounts", ACCOUNTS)
        company.policy("sources", SOURCES + "invoices: [{name: documents, format: invoices_csv}]\n")
        yield company


def test_a_period_of_weeks_is_booked_closed_and_corrected(weekly: Company) -> None:
    company = weekly
    company.bill("2026-09-27,p-a,x,100", "2026-09-28,p-a,x,1.5", "2026-10-01,p-b,x,2", "2026-10-25,p-a,x,4", "2026-10-26,p-a,x,8", name="early.csv")
    invoices = "invoice_id,provider,billing_account_id,billing_period,amount,currency,tax,issued_on\n"
    company.land("invoices/documents", "i.csv", invoices + "I-9,vendor,acct,2026-09,500,USD,0,2026-10-02\nI-10,vendor,acct,2026-10,14,USD,0,2026-11-02\n")
    company.night("2026-10-26")
    assert company.rows("select period, fiscal_period, starts_on, ends_on, state from periods order by 1") == [
        ("2026-10", "FY2027 P01", date(2026, 9, 28), date(2026, 10, 26), "open"), ("2026-11", "FY2027 P02", date(2026, 10, 26), date(2026, 11, 23), "open"),
    ]  # fmt: skip
    company.night("2026-10-27")  # Tuesday, the second working day of the next period
    assert company.rows("select state from periods where period = '2026-10'") == [("soft_closed",)]
    # The period comes from the day, the invoice month stays the vendor's; what is not final is accrued and taken back the day after the period.
    assert company.rows("select usage_date, period, billing_period, billed_cost::integer from charges order by 1") == [
        (date(2026, 9, 28), "2026-10", "2026-09", 2), (date(2026, 10, 1), "2026-10", "2026-10", 2), (date(2026, 10, 25), "2026-10", "2026-10", 4),
        (date(2026, 10, 26), "2026-11", "2026-10", 8),
    ]  # fmt: skip
    assert company.rows("select distinct kind, posting_date, reversal_date from journal_lines where period = '2026-10' and kind in ('chargeback', 'accrual', 'reversal') order by 1") == [
        ("accrual", date(2026, 10, 25), date(2026, 10, 26)), ("chargeback", date(2026, 10, 25), None), ("reversal", date(2026, 10, 26), None),
    ]  # fmt: skip
    assert company.rows("select distinct header_memo from journal_lines where team_id = 'a' and kind = 'chargeback' and period = '2026-10'") == [
        ("AI chargeback 2026-10 A CC-1 FY2027 P01",)
    ]
    # Documents are of the vendor's months: October ties over two periods, of September only the last days are ours.
    assert company.rows("select period, lines_cost::integer, state from invoice_reconciliation order by 1") == [("2026-09", 2, "begins_earlier"), ("2026-10", 14, "matched")]
    with duckdb.connect(str(company.home.current), read_only=True) as con:
        (october,) = bridge.rows(con, "2026-10", 0)
    steps = [october[name] for name in ("invoiced", "elsewhere", "from_others", "billed")]
    assert [str(step.normalize()) for step in steps] == ["14", "8", "1.5", "7.5"] and steps[0] - steps[1] + steps[2] == steps[3]

    entry = company.close("2026-10").entry
    assert (entry.facts["starts_on"], entry.facts["ends_on"], entry.facts["fiscal_period"]) == ("2026-09-28", "2026-10-26", "FY2027 P01")
    assert company.amounts("2026-10", 1) == {"a": "5.50", "b": "2.00"}
    assert _first_open(company.home) == date(2026, 10, 26)
    # A bill that comes late is corrected in the period that is open, whichever calendar month its day is in.
    company.bill("2026-10-25,p-a,x,6")
    company.night("2026-10-30")
    assert company.rows("select usage_date, period, original_period, billing_period, billed_cost::integer from charges where charge_class = 'Correction'") == [
        (date(2026, 10, 25), "2026-11", "2026-10", "2026-10", 2)
    ]
    assert company.amounts("2026-11") == {"a": "10.00"} and company.amounts("2026-10", 1) == {"a": "5.50", "b": "2.00"}

    # The days of a closed period stay what they were, and its name too.
    company.policy("company", of(WEEKS.replace("4-4-5", "5-4-4")))
    with pytest.raises(Refused, match=r"company.yaml:9: 2026-10 is closed with the days from 2026-09-28 to 2026-10-25, and the calendar says otherwise"):
        company.night("2026-10-31")
    periods = f"periods: [{OCTOBER.replace('}', ', name: Ten}')}, {NOVEMBER.replace('}', ', name: Eleven}')}]"
    company.policy("company", of(periods))
    assert company.night("2026-10-31").notes == ["the periods of company.yaml:9 end on 2026-11-22; no night runs after that until the next ones are declared"]
    assert company.rows("select period, fiscal_period from periods order by 1") == [("2026-10", "FY2027 P01"), ("2026-11", "Eleven")]
    with pytest.raises(Refused, match=r"company.yaml:9: no period holds 2026-11-23"):
        company.night("2026-11-23")


def test_an_edit_of_the_calendar_moves_what_no_period_has_closed(weekly: Company) -> None:
    company = weekly

    def computed() -> list[tuple[str]]:
        with open_run(Home(company.home.root), date(2026, 11, 1), quiet) as run:
            return run.con.execute("select usage_period from period_runs order by 1").fetchall()

    company.policy("company", of("fiscal_year_starts_in: 2"))
    company.bill("2026-10-01,p-a,x,1", "2026-10-31,p-a,x,2", "2026-11-01,p-b,x,4")
    company.night("2026-11-01")
    booked = "select period, sum(billed_cost)::integer from charges group by all order by 1"
    assert company.rows(booked) == [("2026-10", 3), ("2026-11", 4)]
    assert company.rows("select fiscal_period from periods order by period") == [("FY2027 P09",), ("FY2027 P10",)]
    with pytest.raises(Refused, match="already published as of 2026-11-01; choose that day or a later one"):
        company.night("2026-10-15")
    assert computed() == [("2026-10",), ("2026-11",)]  # a slip of the hand takes no figures away
    other = Path(shutil.copytree(company.home.policy, company.home.root / "other"))
    company.policy("company", of("periods: [{label: 2026-10, from: 2026-10-01, to: 2026-11-02}]"))
    shutil.copy(company.home.policy / "company.yaml", other)
    with pytest.raises(Refused, match="2026-11 is not a period as of 2026-11-01"):  # of that policy
        whatif(company.home, "2026-11", other, quiet)
    company.night("2026-11-01")
    assert company.rows(booked) == [("2026-10", 7)] and company.rows("select fiscal_period from periods") == [(None,)]
    assert company.rows("select distinct period from ledger") == [("2026-10",)]
    assert computed() == [("2026-10",)]
