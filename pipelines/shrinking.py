"""A bill that replaces a larger one is held back: an export that broke off or came empty looks like a very good month.

A new delivery is compared with what counts until now on the account-days that it covers, per account and billing period:
the effective cost, and the lines of days that are final already. Where either falls by more than `shrink_limit` percent of
the source (50 if it says nothing), the delivery waits for a person: `accept` of the source names its path or its SHA-256.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

import duckdb

from pipelines.home import Home

LIMIT = Decimal(50)  # percent
MIN_DIGITS = 12  # of a SHA-256 that names a delivery


class Held(Exception):
    """Why a delivery does not count yet."""


# Deliveries that may count until now on the account-days of `coverage`, and their files.
BEFORE = """
create or replace temp table counted_before as
with before as (
    select delivery_id, seq, lake_file, good
    from source_files
    where kind = 'billing' and source = $source and state = 'landed' and seq < $seq
),
told as (
    select distinct c.delivery_id, b.seq, b.lake_file, b.good, c.billing_account_id, c.billing_period, c.usage_date
    from bill_coverage c
    join before b on b.delivery_id = c.delivery_id
    join coverage n on n.billing_account_id = c.billing_account_id and n.billing_period = c.billing_period
),
whole as (
    select billing_account_id, billing_period, max(seq) as seq from told where usage_date is null group by all
)
select t.*
from told t
left join whole w on w.billing_account_id = t.billing_account_id and w.billing_period = t.billing_period
where t.seq >= coalesce(w.seq, 0)
qualify t.seq = max(t.seq) over (partition by t.billing_account_id, t.billing_period, t.usage_date)
"""
COMPARED = """
with old as (
    select l.billing_account_id, l.billing_period, l.effective_cost, l.usage_date, l.billing_currency
    from read_parquet($files, union_by_name = true) l
    join (select distinct delivery_id, seq from counted_before) b on b.delivery_id = l.delivery_id
    left join counted_before w on w.billing_account_id = l.billing_account_id and w.billing_period = l.billing_period
        and w.usage_date is null
    left join counted_before d on d.billing_account_id = l.billing_account_id and d.billing_period = l.billing_period
        and d.usage_date = l.usage_date
    where b.seq >= coalesce(w.seq, 0) and b.seq >= coalesce(d.seq, 0)
        and exists (
            select 1 from coverage n
            where n.billing_account_id = l.billing_account_id and n.billing_period = l.billing_period
                and (n.usage_date is null or n.usage_date = l.usage_date))
),
sums as (
    select billing_account_id, billing_period, effective_cost as old_cost, 0 as new_cost, true as is_old, usage_date, billing_currency
    from old
    union all
    select billing_account_id, billing_period, 0 as old_cost, effective_cost as new_cost, false as is_old, usage_date, billing_currency
    from parsed
    where reject is null
)
select
    billing_account_id, billing_period, coalesce(sum(old_cost), 0) as old_cost, coalesce(sum(new_cost), 0) as new_cost,
    count(*) filter (is_old and usage_date + $final_after_days::integer <= $night::date) as old_lines,
    count(*) filter (not is_old and usage_date + $final_after_days::integer <= $night::date) as new_lines,
    any_value(billing_currency) as currency
from sums
group by all
order by all
"""


def hold_back(con: duckdb.DuckDBPyConnection, home: Home, entry: Any, seq: int, night: date, names: set[str]) -> None:
    """Raises `Held` where `parsed` and `coverage` tell of much less than what counts before `seq`, unless a name is accepted."""
    accepted = getattr(entry, "accept", None) or []
    if any(said in names or (len(said) >= MIN_DIGITS and any(name.startswith(said) for name in names)) for said in accepted):
        return
    con.execute(BEFORE, {"source": entry.name, "seq": seq})
    files = con.execute("select distinct lake_file from counted_before where good > 0").fetchall()
    rows = []
    if files:
        params = {"files": [str(home.lake / file) for (file,) in files], "night": night}
        params["final_after_days"] = getattr(entry, "final_after_days", 5)
        rows = con.execute(COMPARED, params).fetchall()
    con.execute("drop table counted_before")
    limit = getattr(entry, "shrink_limit", LIMIT)
    for account, period, old, new, old_lines, new_lines, currency in rows:
        if old > 0 and _fell(old, new, limit):
            what = f"the cost of {account} in {period} falls from {old:,.2f} to {new:,.2f} {currency}"
        elif _fell(old_lines, new_lines, limit):
            what = f"the final lines of {account} in {period} fall from {old_lines:,} to {new_lines:,} ({old:,.2f} to {new:,.2f} {currency})"
        else:
            continue
        digest = min(name[:MIN_DIGITS] for name in names if "/" not in name)
        raise Held(
            f"{what}, more than shrink_limit {limit}%; what was there counts on: remove the file,"
            f" or accept it under {entry.name} in sources.yaml: (accept: [{digest}])"
        )


def _fell(old: Any, new: Any, limit: Decimal) -> bool:
    return Fraction(new) * 100 < Fraction(old) * (100 - Fraction(limit))
