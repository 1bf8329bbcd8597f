"""The page for those who answer for the whole: the month so far, where it will end, what drives it, and what is set aside."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import duckdb

from pipelines.render import figures, html, used, words
from pipelines.render.figures import ZERO, Row
from pipelines.render.names import short_month

DRIVERS = 5
DAYS = 35
_METHODS = {"last_7_days": "Mean of the last seven days, for the days left", "weekdays": "Mean by weekday, for the days left", "run_rate": "Mean of the last seven days, for the whole month"}
# The month, the month before, and the last day that is known; costs of as many days of both.
_EDGES = """
    select p.period, p.starts_on, p.ends_on, n.period as before, n.starts_on as before_start,
        least((select max(as_of) from forecast where period = p.period), p.ends_on - 1) as last_day
    from periods p
    left join periods n on n.ends_on = p.starts_on
    where p.period = $period
"""
_SAME_DAYS = """
    (c.period = e.period and c.usage_date <= e.last_day)
    or (c.period = e.before and (c.usage_date <= e.before_start + (e.last_day - e.starts_on)::integer or e.last_day = e.ends_on - 1))
"""
_BOUGHT = {
    "commitment": "commitment", "throughput": "provisioned units", "prepaid": "credit, since it was bought", "on_the_bill": "as the bill tells it",
}  # fmt: skip


def page(con: duckdb.DuckDBPyConnection) -> str:
    """The HTML of reports/overview.html, from the newest month."""
    expected = figures.rows(con, "from forecast where scope = 'company' and method = 'last_7_days' order by period desc limit 1")
    if not expected:
        return html.render("overview.html.j2", period=None)
    now = expected[0]
    period, as_of = now["period"], now["as_of"]
    company, currency = now["scope_id"], figures.rows(con, "select any_value(currency) as currency from cost_daily")[0]["currency"]
    days = _days(con, as_of)
    budgets, alerts = _budgets(con, period), _alerts(con, period)
    return html.render(
        "overview.html.j2",
        period=period, month=figures.period_name(con, period), as_of=as_of, company=company, currency=currency, tiles=_tiles(con, now, budgets, alerts), alerts=alerts,
        day_chart=html.of_days(days) if days else None,
        days=days, drivers=_drivers(con, period), before=_before(con, period), teams=_teams(con, period), budgets=budgets, units=_units(con), bought=_bought(con, period), backtest=_backtest(con), forecast=now,
    )  # fmt: skip


def _tiles(con: duckdb.DuckDBPyConnection, now: Row, budgets: list[Row], alerts: list[Row]) -> list[dict[str, str]]:
    """Month to date, month end, cost of an interaction, and the budgets."""
    successes = figures.rows(
        con,
        """
        select coalesce(sum(u.requests) filter (u.status = 'success'), 0) as successes
        from usage_daily u
        join periods p on u.usage_date >= p.starts_on and u.usage_date < p.ends_on
        where p.period = $period
        """,
        period=now["period"],
    )[0]["successes"]
    each = now["to_date"] / successes if successes else None
    over = [one for one in budgets if one["state"].startswith("over")]
    note = f"between {html.money(now['low'])} and {html.money(now['high'])}" if now["forecast"] is not None else "fewer than three complete days are known"
    return [
        {"label": "Month to date" if now["days_left"] else "The month", "value": html.money(now["to_date"]), "note": _left(now["days_left"])},
        *([] if now["basis"] == "actual" else [{"label": "Expected for the month", "value": html.money(now["forecast"]) if now["forecast"] is not None else "n/a", "note": note}]),
        {"label": "Per successful call", "value": f"{each:,.4f}" if each is not None else "n/a", "note": f"all cost, over {successes:,} successful call{'s' if successes != 1 else ''}" if successes else "no successful call was logged"},
        {"label": "Budgets used up", "value": f"{len(over)} of {len(budgets)}" if budgets else "none set", "note": "budgets.yaml says what is set aside" if not budgets else "see below"},
        {"label": "Open alerts", "value": str(sum(one["state"] == "open" for one in alerts)), "note": f"of {len(alerts)} raised this month" if alerts else "nothing out of the ordinary this month"},
    ]  # fmt: skip


def _left(days: int) -> str:
    return f"{days} day{'s' if days != 1 else ''} left" if days else "all days of the month"


def _days(con: duckdb.DuckDBPyConnection, as_of: date) -> list[Row]:
    return figures.rows(
        con,
        """
        select usage_date, coalesce(sum(cost) filter (category <> 'shared'), 0)::decimal(38, 12) as own,
            coalesce(sum(cost) filter (category = 'shared'), 0)::decimal(38, 12) as shared
        from cost_daily
        where usage_date > $first and usage_date <= $last and not one_off
        group by all
        order by 1
        """,
        first=as_of - timedelta(days=DAYS),
        last=as_of,
    )


def _before(con: duckdb.DuckDBPyConnection, period: str) -> str | None:
    """The month before in words; None where it has no cost."""
    found = figures.rows(
        con,
        """
        select n.period from periods p join periods n on n.ends_on = p.starts_on
        where p.period = $period and exists (from cost_daily c where c.period = n.period)
        """,
        period=period,
    )
    return short_month(found[0]["period"]) if found else None


def _drivers(con: duckdb.DuckDBPyConnection, period: str) -> list[Row]:
    """What moved most against as many days of the month before; all others as one, and their sum."""
    moved = figures.rows(
        con,
        f"""
        with edges as ({_EDGES}),
        summed as (
            select
                case when c.one_off then 'Taxes, credits and other one-off lines' else coalesce(c.model, c.service, c.activity) end as name,
                coalesce(sum(c.cost) filter (c.period = e.period), 0)::decimal(38, 12) as cost,
                coalesce(sum(c.cost) filter (c.period = e.before), 0)::decimal(38, 12) as prior
            from cost_daily c
            cross join edges e
            where {_SAME_DAYS}
            group by all
        )
        select *, (cost - prior)::decimal(38, 12) as change from summed order by abs(change) desc, cost desc, name
        """,
        period=period,
    )
    top, rest = moved[:DRIVERS], moved[DRIVERS:]
    if rest:
        top = [*top, {"name": f"{len(rest)} others", **{key: sum((one[key] for one in rest), ZERO) for key in ("cost", "prior", "change")}}]
    widths = html.widths([one["change"] for one in top])
    return [{**one, "said": words.change(one["cost"], one["prior"]), "width": width} for one, width in zip(top, widths, strict=True)]


def _teams(con: duckdb.DuckDBPyConnection, period: str) -> list[Row]:
    """What each team costs, will cost, and cost in as many days of the month before."""
    found = figures.rows(
        con,
        f"""
        with edges as ({_EDGES}),
        earlier as (
            select c.team_id, coalesce(sum(c.cost) filter (c.period = e.before), 0)::decimal(38, 12) as prior
            from cost_daily c
            cross join edges e
            where {_SAME_DAYS}
            group by all
        )
        select f.scope_id as team_id, coalesce(s.team_name, f.scope_id) as name, f.to_date, f.forecast, f.low, f.high, coalesce(e.prior, 0)::decimal(38, 12) as prior
        from forecast f
        left join (select team_id, max(team_name) as team_name from statements group by all) s on s.team_id = f.scope_id
        left join earlier e on e.team_id = f.scope_id
        where f.scope = 'team' and f.method = 'last_7_days' and f.period = $period
        order by f.to_date desc, 1
        """,
        period=period,
    )
    return [{**one, "said": words.change(one["to_date"], one["prior"])} for one in found]


def _budgets(con: duckdb.DuckDBPyConnection, period: str) -> list[Row]:
    found = figures.rows(con, "from budget_status where period = $period order by consumed_percent desc nulls first, budget_id, for_project", period=period)
    return [{**used.with_words(one), "width": _filled(one["consumed_percent"])} for one in found]


def _filled(percent: Decimal | None) -> str:
    return f"{min(max(percent, ZERO), Decimal(100)):.1f}" if percent is not None else "100"


def _units(con: duckdb.DuckDBPyConnection) -> list[Row]:
    """What an outcome cost, of each unit in the newest whole month that has some."""
    if not figures.has(con, "unit_economics"):
        return []
    found = figures.rows(
        con,
        """
        from unit_economics
        where is_whole and cost_per_outcome is not null
        qualify row_number() over (partition by unit_id order by period desc) = 1
        order by cost desc, name
        """,
    )
    return [{**one, "month": short_month(one["period"]), "word": used.VERDICTS.get(one["verdict"], one["verdict"])} for one in found]


def _bought(con: duckdb.DuckDBPyConnection, period: str) -> list[Row]:
    """What was bought ahead and what of it was used, the most unused first."""
    found = figures.rows(con, "from commitment_use where period = $period order by unused_cost desc, provider, contract_id", period=period)
    return [{**one, "name": one["contract_id"] or words.vendor(one["provider"]), "word": _BOUGHT[one["kind"]]} for one in found]


def _alerts(con: duckdb.DuckDBPyConnection, period: str) -> list[Row]:
    """What was raised in the month, what is open first, the newest first."""
    found = figures.rows(
        con,
        """
        select a.*, coalesce(t.team_name, a.team_id) as team_name
        from alerts a
        join periods p on a.raised_on >= p.starts_on and a.raised_on < p.ends_on
        left join (select team_id, max(team_name) as team_name from statements group by all) t on t.team_id = a.team_id
        where p.period = $period
        order by a.state <> 'open', a.raised_on desc, a.alert_id
        """,
        period=period,
    )
    return [{**one, "word": words.plain(one["kind"])} for one in found]


def _backtest(con: duckdb.DuckDBPyConnection) -> dict[str, Any] | None:
    """How wrong forecasts were in the newest month that is over, of all teams: a line for each method, a column for each day."""
    found = figures.rows(
        con,
        """
        select f.*, n.period as before
        from forecast_backtest f
        join periods p on p.period = f.period
        join periods n on n.ends_on = p.starts_on
        where f.scope = 'team' and f.verdict <> 'nothing_to_compare'
        qualify f.period = max(f.period) over ()
        """,
    )
    if not found:
        return None
    days = sorted({one["after_day"] for one in found})
    of = {(one["method"], one["after_day"]): one for one in found}
    return {
        "month": short_month(found[0]["period"]), "before": short_month(found[0]["before"]), "days": days,
        "methods": [(word, [of.get((method, day)) for day in days]) for method, word in _METHODS.items()],
        "naive": [of["last_7_days", day]["naive_percent"] if ("last_7_days", day) in of else None for day in days],
    }  # fmt: skip
