"""RATE: each event once with what it should have cost, and the rollup that everything after it reads."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from pipelines import models, policy, prices
from pipelines.normalize import landed_view
from pipelines.run import Run, Scope, digest, landed_files
from pipelines.warehouse import literal, replace_durably, transaction, write_parquet

DAILY = ("usage_daily", "usage_hourly", "latency_daily", "routing_daily", "system_prompts_daily", "conversations_daily", "chains_daily", "large_requests", "call_bursts", "calls_told_twice")  # facts of changed days
NEVER = 2**62
BATCH_ROWS = 250_000  # events worked on at once: bounds memory whatever the month
LARGE_DAY = 50_000  # events from which on a day is written straight to its file: holding it first costs more than a plan of its own


@dataclass(frozen=True)
class Day:
    """One day of events that has to be written again, and why: its fingerprint."""

    day: date
    fingerprint: str
    rows: int


def rate(run: Run, scopes: list[Scope]) -> None:
    """Fills bill_prices, rates and the facts by day, and writes one Parquet file of usage_events per changed day."""
    for scope in scopes:
        run.say(f"rate {scope.period.label}")
        policy.register(run.con, scope.policy)
        prices.register(run.con, scope.list_prices)
        by_name = {model.name: model for model in models.stage("rate")}
        with transaction(run.con):
            for name in ("bill_prices", "rates"):
                models.replace_period(run.con, by_name[name], scope.params)
        for batch in list(_batches(_changed_days(run, scope))) or [[]]:  # without traffic: empty tables
            _rate_days(run, scope, batch, by_name)


def _changed_days(run: Run, scope: Scope) -> list[Day]:
    """Days of the period up to the as-of day whose deliveries, losers, policy, prices or code changed."""
    first, last = scope.period.start, min(scope.period.end, scope.params["as_of"] + timedelta(days=1))
    inputs = run.con.execute(
        """
        with landed as (
            select d.usage_date, sum(d.rows) as rows, string_agg(f.lake_file, '|' order by f.lake_file) as files
            from delivery_days d
            join (select distinct delivery_id, lake_file from source_files where kind = 'gateway' and state = 'landed') f
                on f.delivery_id = d.delivery_id
            where d.kind = 'gateway' and d.usage_date >= $first and d.usage_date < $last
            group by all
        ),
        lost as (
            select usage_date, string_agg(concat_ws('|', delivery_id, source_file, source_row, event_id), '|'
                order by delivery_id, source_file, source_row, event_id) as losers
            from event_losers
            where usage_date >= $first and usage_date < $last
            group by all
        ),
        known as (
            select usage_date, fingerprint from usage_days where usage_date >= $first and usage_date < $last
        )
        select coalesce(l.usage_date, k.usage_date), coalesce(l.rows, 0), l.files, x.losers, k.fingerprint
        from landed l
        full join known k on k.usage_date = l.usage_date
        left join lost x on x.usage_date = l.usage_date
        order by 1
        """,
        {"first": first, "last": last},
    ).fetchall()
    rates = run.con.execute("select sha256(string_agg(to_json(r)::varchar, '' order by rate_id)) from rates r where usage_period = ?", [scope.period.label]).fetchall()
    names = run.con.execute("select sha256(string_agg(to_json(n)::varchar, '' order by provider, model_as_logged)) from model_names n where usage_period = ?", [scope.period.label]).fetchall()
    shared = [scope.policy.fingerprint_of(["teams", "sources"]), rates, names, _limits(scope), *(m.code_version for m in models.stage("rate"))]
    days = []
    for day, rows, files, losers, known in inputs:
        fingerprint = digest([files, losers, *shared])
        if fingerprint != known:
            days.append(Day(day, fingerprint, int(rows)))
    return days


def _batches(days: list[Day]) -> Iterator[list[Day]]:
    batch: list[Day] = []
    for day in days:
        if day.rows >= LARGE_DAY:
            yield [day]
            continue
        if sum(d.rows for d in batch) + day.rows > BATCH_ROWS:
            yield batch
            batch = []
        batch.append(day)
    if batch:
        yield batch


def _rate_days(run: Run, scope: Scope, batch: list[Day], by_name: dict[str, models.Model]) -> None:
    """Usage events, rollup and hours of some days; the rollup's rows and the names of the files commit together."""
    con = run.con
    days = [day.day for day in batch]
    files = landed_files(con, run.home, "gateway", days[0], days[-1] + timedelta(days=1)) if days else []
    landed_view(con, "landed_events", "gateway", files, days)
    events, usage_events = by_name["events"], by_name["usage_events"]
    large = len(batch) == 1 and batch[0].rows >= LARGE_DAY
    if large:
        select, bound = models.through(events, usage_events, scope.params)
        path = _write_day(run, days[0], select, bound)
        con.execute(f"create or replace temp view usage_events as from read_parquet({literal(str(path))})")
    else:
        models.make_through(con, events, usage_events, scope.params)
    rows_of = dict(con.execute("select usage_date, count(*) from usage_events group by all").fetchall())
    if large:
        written = {day: path for day in rows_of}
    else:
        written = {day.day: _write_day(run, day.day, "from usage_events where usage_date = $day", {"day": day.day}) for day in batch if day.day in rows_of}
    with transaction(con):
        for name in DAILY:
            models.replace_days(con, by_name[name], {**scope.params, **_limits(scope)}, days)
        con.execute("delete from usage_days where usage_date in (select unnest(?))", [days])
        rows = [(day.day, day.fingerprint, str(written[day.day].relative_to(run.home.lake)), rows_of[day.day]) for day in batch if day.day in written]
        if rows:
            con.executemany("insert into usage_days values (?, ?, ?, ?)", rows)
    con.execute(f"drop {'view' if large else 'table'} temp.usage_events; drop view temp.landed_events")


def _limits(scope: Scope) -> dict[str, Any]:
    """What the policy lets pass without an alert, where events are still single; with a kind that is off, nothing is noticed."""
    large, loop = scope.policy.alerts.large_request, scope.policy.alerts.call_loop
    return {
        "large_tokens": large.tokens if large else NEVER,
        "loop_calls": loop.calls if loop else NEVER,
        "loop_minutes": loop.minutes if loop else 1,
    }


def _write_day(run: Run, day: date, select: str, bound: dict[str, Any]) -> Path:
    """One day's usage_events as a Parquet file named by its content; the order makes equal events equal bytes."""
    folder = run.home.lake / "usage_events" / day.isoformat()
    return _name_by_content(write_parquet(run.con, f"from ({select}) order by occurred_at, source, event_id", folder / ".new.parquet", bound))


def _name_by_content(part: Path) -> Path:
    with open(part, "rb") as handle:
        name = hashlib.file_digest(handle, "sha256").hexdigest()[:20]
    return replace_durably(part, part.with_name(f"{name}.parquet"))
