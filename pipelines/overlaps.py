"""One account is billed by one source: a bill that claims days which another source of record has billed waits for sources.yaml.

Compared are the lines that would be charged: of the newest bill of a day, in the source's `scope`, inside its `record`, a recurring
fee on every day that it is spread over. What was there counts on; once the hand-over is declared, the bill lands in its place in the
order of arrival, so that it does not matter which of the two came first.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any

import duckdb

from pipelines.home import Home
from pipelines.shrinking import Held


class Claimed(Held):
    """Two sources of record for one account-day."""


def remember_sources(con: duckdb.DuckDBPyConnection, entries: Iterable[Any]) -> None:
    """Temp table `bill_sources` of what sources.yaml says each source of bills is the record of."""
    con.execute("create or replace temp table bill_sources(source varchar, record_from date, record_to date, scope varchar[])")
    for entry in entries:
        record, scope = getattr(entry, "record", None), getattr(entry, "scope", None)
        span = [getattr(record, "start", None) or date.min, getattr(record, "end", None) or date.max]
        con.execute("insert into bill_sources values (?, ?, ?, ?)", [entry.name, *span, getattr(scope, "sub_account_id", None)])


CLAIMS = """
create or replace temp table claims as
select distinct c.delivery_id, f.seq, f.lake_file, f.good, c.source, c.billing_account_id, c.billing_period, c.usage_date
from bill_coverage c
join source_files f on f.delivery_id = c.delivery_id and f.kind = 'billing' and f.state = 'landed'
join bill_sources o on o.source = c.source
join bill_sources s on s.source = $source
where c.source <> $source and o.record_from < s.record_to and s.record_from < o.record_to
    and c.billing_account_id in (select billing_account_id from parsed where reject is null)
"""

CLASHES = """
with theirs as (
    select l.*
    from read_parquet($files, union_by_name = true) l
    join (select distinct delivery_id, seq from claims) b on b.delivery_id = l.delivery_id
    left join (select source, billing_account_id, billing_period, max(seq) as seq from claims where usage_date is null group by all) w
        on w.source = l.source and w.billing_account_id = l.billing_account_id and w.billing_period = l.billing_period
    left join (select source, billing_account_id, billing_period, usage_date, max(seq) as seq from claims group by all) d
        on d.source = l.source and d.billing_account_id = l.billing_account_id and d.billing_period = l.billing_period
        and d.usage_date = l.usage_date
    where b.seq >= coalesce(w.seq, 0) and b.seq >= coalesce(d.seq, 0)
),
lines as (
    select source, {columns} from theirs
    union all by name
    select $source as source, {columns} from parsed where reject is null
),
spread as (
    select
        source, billing_account_id, sub_account_id,
        charge_frequency = 'Recurring' and charge_category in ('Usage', 'Purchase') as recurs,
        if(recurs, greatest(charge_period_start::date, billing_period_start), usage_date) as first_day,
        if(recurs, least((charge_period_end - interval 1 microsecond)::date, billing_period_end - 1), usage_date) as last_day
    from lines
),
days as (
    select source, billing_account_id, sub_account_id,
        unnest(generate_series(first_day::timestamp, greatest(first_day, last_day)::timestamp, interval 1 day))::date as day
    from spread
),
claimed as (
    select distinct d.source, d.billing_account_id, d.day
    from days d
    join bill_sources s on s.source = d.source and d.day >= s.record_from and d.day < s.record_to
    where s.scope is null or len(list_filter(s.scope, lambda g: d.sub_account_id glob g)) > 0
)
select t.billing_account_id, t.source, min(t.day) as first_day, max(t.day) as last_day, count(*) as days
from claimed o
join claimed t on t.billing_account_id = o.billing_account_id and t.day = o.day and t.source <> o.source
where o.source = $source
group by all
order by all
"""
COLUMNS = (
    "billing_account_id", "sub_account_id", "charge_category", "charge_frequency", "usage_date", "charge_period_start", "charge_period_end",
    "billing_period_start", "billing_period_end",
)  # fmt: skip


def hold_back(con: duckdb.DuckDBPyConnection, home: Home, source: str) -> None:
    """Raises `Claimed` where `parsed` bills account-days that landed bills of another source have billed."""
    con.execute(CLAIMS, {"source": source})
    files = con.execute("select distinct lake_file from claims where good > 0 order by 1").fetchall()
    clashes = []
    if files:
        sql = CLASHES.replace("{columns}", ", ".join(COLUMNS))
        clashes = con.execute(sql, {"source": source, "files": [str(home.lake / file) for (file,) in files]}).fetchall()
    con.execute("drop table claims")
    for account, other, first, last, days in clashes:
        when = f"{first}" if days == 1 else f"{days} days, {first} to {last}"
        raise Claimed(
            f"{account} is billed by {other} and by {source} ({when}); what {other} billed counts on: say in sources.yaml which of them counts,"
            f" such as (record: {{to: {first}}}) under {other} and (record: {{from: {first}}}) under {source}, or remove the file"
        )
