"""What happened to a team's cost in a week, as one HTML page: against the week before, what moved it, and what is left of its budgets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import duckdb

from pipelines.render import figures, html, used, words
from pipelines.render.figures import ZERO, Row
from pipelines.render.names import month, slug

DRIVERS = 5
_WEEK = timedelta(days=7)
_ONE_OFF = "Taxes, credits and other one-off lines"
_SEVERITIES = ("critical", "warning", "info")


def last_week(through: date) -> date:
    """The Monday of the last ISO week that is complete as of `through`, the last day that is known."""
    return through - timedelta(days=through.isoweekday() % 7 + 6)


def label(monday: date) -> str:
    """`2026-W43`"""
    year, week, _ = monday.isocalendar()
    return f"{year}-W{week:02}"


@dataclass(frozen=True)
class Digest:
    """The page of one team. `name` is the team's, as people know it."""

    name: str
    html: str


def pages(con: duckdb.DuckDBPyConnection, through: date) -> dict[str, Digest]:
    """File name -> page of every team that had cost or calls in the last complete week or the one before. The same tables give the same pages."""
    monday = last_week(through)
    weeks = {"first": monday - _WEEK, "monday": monday, "end": monday + _WEEK}
    days, calls = _by_team(figures.rows(con, _DAYS, **weeks)), _by_team(figures.rows(con, _CALLS, **weeks))
    models, projects = (_by_team(figures.rows(con, _DRIVERS.format(name=name), **weeks, one_off=_ONE_OFF)) for name in _NAMES)
    alerts = _by_team(_alerts(con, weeks))
    named = {one["team_id"]: one["name"] for one in figures.rows(con, "select team_id, max(team_name) as name from statements group by all")}
    period = figures.rows(con, "select max(period) as period from periods where starts_on < $end", **weeks)[0]["period"]
    currency = figures.rows(con, "select any_value(currency) as currency from cost_daily")[0]["currency"]
    made: dict[str, Digest] = {}
    for team in sorted({*days, *calls}):
        name = named.get(team) or team
        page = html.render(
            "digest.html.j2",
            name=name, week=label(monday), first=monday, last=monday + timedelta(days=6), currency=currency, month=figures.period_name(con, period) if period else None,
            **_parts(con, monday, team, period, days[team], calls[team], models[team], projects[team], alerts[team]),
        )  # fmt: skip
        made[f"{slug(team)}.html"] = Digest(name, page)
    return made


def _by_team(rows: Iterable[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row["team_id"]].append(row)
    return found


_DAYS = """
select team_id, usage_date, coalesce(sum(cost) filter (category <> 'shared' and not one_off), 0)::decimal(38, 12) as own,
    coalesce(sum(cost) filter (category = 'shared' and not one_off), 0)::decimal(38, 12) as shared,
    coalesce(sum(cost) filter (one_off), 0)::decimal(38, 12) as one_off
from cost_daily
where usage_date >= $first and usage_date < $end
group by all
order by team_id, usage_date
"""

# What the calls of each week were and cost, without embeddings. Measured as the table efficiency does, which knows whole months.
_CALLS = """
with calls as (
    select
        team_id, usage_date >= $monday as is_now, case when gateway_cache <> 'none' then events else requests end as calls, status = 'success' as is_success,
        input_uncached_tokens + cache_read_tokens + cache_write_5m_tokens + cache_write_1h_tokens + audio_input_tokens as asked, cache_read_tokens,
        output_tokens + reasoning_tokens + audio_output_tokens as answered, null as cost
    from usage_daily
    where usage_date >= $first and usage_date < $end and operation not in ('embedding', 'vector_query', 'index_write', 'index_maintenance')
    union all by name
    select team_id, usage_date >= $monday as is_now, cost
    from cost_daily
    where usage_date >= $first and usage_date < $end and activity = 'inference' and vector_index_id is null and not one_off
)
select
    team_id, is_now, coalesce(sum(calls), 0)::bigint as calls, coalesce(sum(calls) filter (is_success), 0)::bigint as successes,
    coalesce(sum(asked), 0)::bigint as asked, coalesce(sum(cache_read_tokens), 0)::bigint as cached, coalesce(sum(answered), 0)::bigint as answered,
    coalesce(sum(cost), 0)::decimal(38, 12) as cost
from calls
group by all
order by team_id, is_now
"""

_NAMES = ("coalesce(model, service, activity)", "coalesce(project_id, 'No project named')")
_DRIVERS = """
with summed as (
    select
        team_id, case when one_off then $one_off else {name} end as name,
        coalesce(sum(cost) filter (usage_date >= $monday), 0)::decimal(38, 12) as cost,
        coalesce(sum(cost) filter (usage_date < $monday), 0)::decimal(38, 12) as prior
    from cost_daily
    where usage_date >= $first and usage_date < $end
    group by all
)
select *, (cost - prior)::decimal(38, 12) as change
from summed
order by team_id, abs(change) desc, cost desc, name
"""


def _alerts(con: duckdb.DuckDBPyConnection, weeks: dict[str, date]) -> list[Row]:
    if not figures.has(con, "alerts"):
        return []
    found = figures.rows(
        con,
        """
        select team_id, kind, severity, raised_on, evidence, state, cost_impact
        from alerts
        where raised_on >= $monday and raised_on < $end and team_id is not null
        order by team_id, list_position($severities, severity), raised_on, alert_id
        """,
        **weeks,
        severities=list(_SEVERITIES),
    )
    return [{**one, "word": words.plain(one["kind"])} for one in found]


def _parts(
    con: duckdb.DuckDBPyConnection, monday: date, team: str, period: str | None, days: list[Row], calls: list[Row], models: list[Row], projects: list[Row], alerts: list[Row]
) -> dict[str, Any]:  # fmt: skip
    known = {one["usage_date"]: one for one in days}
    nothing = {"own": ZERO, "shared": ZERO, "one_off": ZERO}
    fortnight = [{**nothing, "usage_date": day, **known.get(day, {})} for day in (monday - _WEEK + timedelta(days=n) for n in range(14))]
    before, now = (sum((one[kind] for one in week for kind in nothing), ZERO) for week in (fortnight[:7], fortnight[7:]))
    calls_of = {one["is_now"]: one for one in calls}
    well = used.of_team(con, period, team) if period else None
    return {
        "tiles": _tiles(now, before, calls_of, well), "days": fortnight, "used": well,
        "chart": html.of_days(fortnight),
        "drivers": [("Models and services", "models", _top(models)), ("Projects", "projects", _top(projects))], "now": now, "before": before,
        "calls": _calls(calls_of), "alerts": alerts, "units": _units(con, period, team),
    }  # fmt: skip


def said(now: Decimal, before: Decimal) -> str:
    """The change against the week before in words."""
    return words.change(now, before).replace("the month before", "the week before")


def _tiles(now: Decimal, before: Decimal, calls: dict[bool, Row], well: used.Used | None) -> list[dict[str, str]]:
    each, prior = (_each(calls.get(is_now)) for is_now in (True, False))
    budgets = well.budgets if well else ()
    first = budgets[0] if budgets else None
    return [
        {"label": "This week", "value": html.money(now), "note": said(now, before)},
        {"label": "Change", "value": html.signed(now - before), "note": f"the week before: {html.money(before)}"},
        {"label": "Per successful call", "value": html.measure(each, "rate"), "note": f"the week before: {html.measure(prior, 'rate')}"},
        {"label": "Budget used", "value": html.percent(first["consumed_percent"]) if first else "none set",
         "note": f"{first['title']}: {first['word'].lower()}" if first else "budgets.yaml says what is set aside"},
    ]  # fmt: skip


def _each(calls: Row | None) -> Decimal | None:
    return calls["cost"] / calls["successes"] if calls and calls["successes"] else None


def _top(moved: list[Row]) -> list[Row]:
    """What moved most and all others as one: together the whole change."""
    top, rest = (moved, []) if len(moved) <= DRIVERS + 1 else (moved[:DRIVERS], moved[DRIVERS:])
    if rest:
        top = [*top, {"name": f"{len(rest)} others", **{key: sum((one[key] for one in rest), ZERO) for key in ("cost", "prior", "change")}}]
    return [{**one, "width": width} for one, width in zip(top, html.widths([one["change"] for one in top]), strict=True)]


def _calls(found: dict[bool, Row]) -> list[tuple[str, str, str]]:
    """(what, this week, the week before) of the calls of models; nothing where there were none."""
    if not any(one["calls"] for one in found.values()):
        return []
    now, before = (found.get(is_now) for is_now in (True, False))
    told = (
        ("Calls", lambda one: f"{one['calls']:,}"),
        ("Failed", lambda one: html.measure(_percent(one["calls"] - one["successes"], one["calls"]), "percent")),
        ("Tokens, millions", lambda one: f"{Decimal(one['asked'] + one['answered']) / 1_000_000:,.1f}"),
        ("Input read from prompt caches", lambda one: html.measure(_percent(one["cached"], one["asked"]), "percent")),
        ("Cost of these calls", lambda one: html.money(one["cost"])),
    )
    return [(what, show(now) if now else "–", show(before) if before else "–") for what, show in told]


def _percent(part: int, whole: int) -> Decimal | None:
    return Decimal(part) * 100 / whole if whole else None


def _units(con: duckdb.DuckDBPyConnection, period: str | None, team: str) -> list[Row]:
    """What an outcome cost in the newest whole month, of units that are about this team or an application that it pays for itself."""
    if period is None or not figures.has(con, "unit_economics"):
        return []
    found = figures.rows(
        con,
        """
        with mine as (
            select 'team ' || $team as word
            union
            select 'application ' || application from cost_daily where team_id = $team and category = 'direct' and application is not null
        )
        select u.name, u.period, u.currency, u.quantity, u.cost_per_outcome, u.change_percent, u.target, u.target_state, u.verdict
        from unit_economics u
        where u.is_whole and u.period <= $period and list_has_any(string_split(u.about, ', '), (select list(word order by word) from mine))
        qualify row_number() over (partition by u.unit_id order by u.period desc) = 1
        order by u.name
        """,
        period=period,
        team=team,
    )
    return [{**one, "month": month(one["period"]), "word": used.VERDICTS.get(one["verdict"], one["verdict"])} for one in found]
