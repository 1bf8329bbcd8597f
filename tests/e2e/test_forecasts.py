"""How wrong the forecasts were: on the sample company, and on the one hour of real traffic that is public."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal

import duckdb
import pytest

from pipelines import models
from pipelines.home import asset
from tests.e2e.test_azure_traces import INPUT, OUTPUT, TEAMS, TRACES

FIRST = date(2026, 9, 1)  # what the first seconds of the hour stand for


def test_the_sample_companys_forecasts_beat_the_month_before(published: duckdb.DuckDBPyConnection) -> None:
    found = published.execute(
        """
        select after_day, round(error_percent, 1)::varchar, round(naive_percent, 1)::varchar, verdict
        from forecast_backtest where scope = 'team' and method = 'last_7_days' and period = '2026-10' order by after_day
        """
    ).fetchall()
    assert found == [(7, "8.4", "12.0", "better"), (14, "6.2", "12.0", "better"), (21, "3.1", "12.0", "better")]


@pytest.fixture(scope="module")
def requests() -> list[tuple[str, datetime, Decimal]]:
    """Team, time and price of each request of the traces, where both teams have some."""
    if not TRACES.is_dir():
        pytest.skip("the Azure LLM inference traces are not beside this checkout")
    found = [
        (team, datetime.fromisoformat(row["TIMESTAMP"][:26]), int(row["ContextTokens"]) * INPUT + int(row["GeneratedTokens"]) * OUTPUT)
        for team, name in TEAMS.items()
        for row in _rows(name)
    ]
    times = {team: [at for name, at, _ in found if name == team] for team in TEAMS}
    begins, ends = max(min(one) for one in times.values()), min(max(one) for one in times.values())
    return [(team, at, cost) for team, at, cost in found if begins <= at <= ends]


def _rows(name: str) -> Iterator[dict[str, str]]:
    with open(TRACES / name, newline="") as file:
        yield from csv.DictReader(file)


# An hour is no month: so many seconds of it stand for a day. After a week, two and three the sums of all months that have one before them.
@pytest.mark.parametrize(
    ("seconds", "months", "off", "naive"),
    [
        (30, 2, {"last_7_days": ["22.2", "7.1", "8.7"], "weekdays": ["26.8", "15.9", "6.1"], "run_rate": ["22.2", "7.4", "17.4"]}, "29.6"),
        (20, 4, {"last_7_days": ["22.6", "20.0", "7.0"], "weekdays": ["19.2", "16.8", "7.6"], "run_rate": ["22.6", "26.5", "20.6"]}, "26.3"),
        (10, 10, {"last_7_days": ["20.9", "19.5", "14.0"], "weekdays": ["15.1", "10.6", "8.9"], "run_rate": ["20.9", "22.5", "31.3"]}, "20.8"),
    ],
)
def test_real_traffic(
    requests: list[tuple[str, datetime, Decimal]], seconds: int, months: int, off: dict[str, list[str]], naive: str
) -> None:
    con = duckdb.connect()
    con.execute(asset("sql", "macros.sql").read_text(encoding="utf-8"))
    through = _land(con, requests, seconds)
    by_name = {model.name: model for model in models.stage("insight")}
    for name in ("forecast_history", "forecast_backtest"):
        models.make(con, by_name[name], {"through": through})
    found = con.execute(
        """
        select
            method, after_day, count(*),
            round(percent_of(sum(error), sum(actual)), 1)::varchar, round(percent_of(sum(naive_error), sum(actual)), 1)::varchar
        from forecast_backtest where scope = 'team' and verdict <> 'nothing_to_compare' group by all
        """
    ).fetchall()
    wanted = [(method, day, months, part, naive) for method, parts in off.items() for day, part in zip((7, 14, 21), parts, strict=True)]
    assert sorted(found) == sorted(wanted)


def _land(con: duckdb.DuckDBPyConnection, requests: list[tuple[str, datetime, Decimal]], seconds: int) -> date:
    """The tables that the forecast reads, with the whole days that the requests cover; the last of these days."""
    begins = min(at for _, at, _ in requests)
    days = (max(at for _, at, _ in requests) - begins) // timedelta(seconds=seconds)
    costs: dict[tuple[str, int], Decimal] = defaultdict(Decimal)
    for team, at, cost in requests:
        costs[team, (at - begins) // timedelta(seconds=seconds)] += cost
    con.execute("create temp table cost_daily(period varchar, usage_date date, team_id varchar, one_off boolean, cost decimal(38, 12))")
    placed = ((team, FIRST + timedelta(day), cost) for (team, day), cost in costs.items() if day < days)
    con.executemany("insert into cost_daily values (?, ?, ?, false, ?)", [[f"{day:%Y-%m}", day, team, cost] for team, day, cost in placed])
    con.execute(
        """
        create temp table periods as
        select strftime(month, '%Y-%m') as period, month::date as starts_on, (month + interval 1 month)::date as ends_on
        from (select unnest(generate_series($first::timestamp, $last::timestamp, interval 1 month)) as month)
        """,
        {"first": FIRST, "last": FIRST + timedelta(days - 1)},
    )
    con.execute("create temp table policy_company as select 'Traces' as name")
    con.execute("create temp table policy_growth(team_id varchar, growth decimal(12, 6), valid_from date, valid_to date)")
    con.execute(
        "create temp table budget_costs(budget_id varchar, for_project varchar, period varchar, usage_date date, one_off boolean, cost decimal(38, 12))"
    )
    return FIRST + timedelta(days - 1)
