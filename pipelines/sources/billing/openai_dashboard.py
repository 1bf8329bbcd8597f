"""The cost export of OpenAI's dashboard: a CSV of daily buckets, one row per amount, an empty day as a row of blanks.

The epoch columns say the day (the ISO ones may lack their offset). Of its seventeen columns those about money, project
and key are read; names and e-mail addresses are not.
"""

from __future__ import annotations

from typing import Any

import duckdb

from pipelines.sources import Delivery, Format
from pipelines.sources.billing.lines import load_rows
from pipelines.sources.billing.openai_costs import parse_costs
from pipelines.sources.billing.pages import refuse_first
from pipelines.sources.reading import known_currencies, where

COLUMNS = (
    "start_time", "end_time", "amount_value", "amount_currency", "quantity", "quantity_unit", "line_item", "api_key_id", "project_id",
    "organization_id",
)  # fmt: skip


def read(con: duckdb.DuckDBPyConnection, delivery: Delivery, source: Any) -> None:
    """`parsed`, and `coverage` of every bucket's day; any bad row refuses the file."""
    load_rows(con, delivery, COLUMNS)
    known_currencies(con)
    con.execute("create or replace temp table timed as " + TIMED, {"place": where(delivery, delivery.paths[0])})
    refuse_first(con, PROBLEMS, {"account": source.billing_account_id})
    con.execute("create or replace temp table buckets as select distinct day from timed order by day")
    con.execute("create or replace temp table costs as " + COSTS)
    parse_costs(con, source.billing_account_id)


TIMED = r"""
with moments as (
    select
        *,
        case when regexp_full_match(start_time, '\d{1,11}') then make_timestamp(start_time::bigint * 1000000) end as starts_at,
        case when regexp_full_match(end_time, '\d{1,11}') then make_timestamp(end_time::bigint * 1000000) end as ends_at
    from rows
)
select
    *,
    $place || ' record ' || record as place,
    starts_at::date as day,
    coalesce(amount_value, amount_currency, quantity, quantity_unit, line_item, api_key_id, project_id) is null as is_empty
from moments
"""

PROBLEMS = """
with first as (
    select day, min(record) as record
    from timed
    group by all
),
days as (
    select *, lag(day) over (order by day) as day_before
    from first
)
select
    place,
    case
        when starts_at is null or ends_at is null then 'start_time and end_time are not epoch seconds'
        when starts_at <> starts_at::date or ends_at <= starts_at or ends_at > starts_at + interval 1 day
            then 'a bucket that is not one UTC day'
        when d.day_before is not null and d.day_before <> t.day - 1 then 'the day after ' || d.day_before || ' is ' || t.day
        when organization_id <> $account
            then 'another organization than sources.yaml names: ' || left(organization_id, 40)
    end as problem
from timed t
left join days d using (day, record)
where problem is not null
order by record
limit 1
"""

COSTS = """
select
    row_number() over (order by record) as record,
    place,
    day,
    line_item,
    project_id,
    api_key_id,
    plain(quantity, if(quantity_unit = '1000_tokens', 3, 0)) as quantity,
    quantity_unit,
    plain(amount_value, 0) as amount,
    amount_currency as currency
from timed
where not is_empty
order by record
"""

FORMAT = Format("openai_dashboard", "billing", (".csv", ".csv.gz"), read, needs_account=True)
