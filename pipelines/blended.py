"""What things cost per unit in the last whole month: where no rate is published, and to propose one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal

import duckdb

PLACES = Decimal("0.000001")


@dataclass(frozen=True)
class Blended:
    """Cost per unit on two bases: of what worked, and with what stood idle; None where nothing tells them apart."""

    usage: Decimal | None
    full: Decimal


def last_month(con: duckdb.DuckDBPyConnection) -> tuple[str, date] | None:
    """(period, first day after it) of the newest month that was over as of the last night, else of the newest month with cost."""
    found = con.execute(
        """
        with seen as (select period, max(usage_date) as last_day from charges group by all)
        select p.period, p.ends_on from periods p join seen s using (period)
        order by s.last_day >= p.ends_on - 1 desc, p.period desc limit 1
        """
    ).fetchall()
    return found[0] if found else None


def tokens(con: duckdb.DuckDBPyConnection, period: str) -> dict[tuple[str, str], Blended]:
    """Per million tokens of our own models, by (serving pool, meter), at the newest weight of the month."""
    found = con.execute(
        """
        select serving_pool, meter, usage_rate_per_million, full_rate_per_million
        from blended_rates
        where period = ? and meter <> 'all' and full_rate_per_million is not null
        qualify row_number() over (partition by serving_pool, meter order by weight_from desc) = 1
        order by serving_pool, array_position(['input_uncached', 'cache_read', 'output'], meter)
        """,
        [period],
    ).fetchall()
    return {(pool, meter): Blended(rounded(usage), rounded(full)) for pool, meter, usage, full in found}


def gpu_hours(con: duckdb.DuckDBPyConnection, period: str) -> dict[str, Blended]:
    """Per GPU-hour that somebody held, by cluster."""
    found = con.execute(
        """
        select
            cluster,
            sum(gpu_hours) filter (use in ('used', 'idle_reserved'))::decimal(38, 6) as held,
            sum(effective_cost)::decimal(38, 12) as cost,
            coalesce(sum(effective_cost) filter (use in ('used', 'idle_reserved')), 0)::decimal(38, 12) as held_cost
        from gpu_costs where period = ? group by all having held > 0 order by all
        """,
        [period],
    ).fetchall()
    return {cluster: Blended(rounded(held_cost / held), rounded(cost / held)) for cluster, held, cost, held_cost in found}


def searches(con: duckdb.DuckDBPyConnection, period: str, vector_index: str | None) -> tuple[Blended, str] | None:
    """Per thousand searches of an index, or of all: what searches cost over how many there were; and the currency."""
    return _per_unit(
        con,
        """
        with searched as (
            select sum(u.queries) as queries from usage_daily u join periods p on u.usage_date >= p.starts_on and u.usage_date < p.ends_on
            where p.period = $period and u.operation = 'vector_query' and u.vector_index_id = coalesce($index, u.vector_index_id)
        )
        select
            sum(c.effective_cost)::decimal(38, 12), (select queries from searched)::decimal(38, 12) * 0.001::decimal(3, 3),
            c.billing_currency
        from charges c
        where c.period = $period and c.activity = 'query' and c.origin <> 'tariff'
            and c.vector_index_id = coalesce($index, c.vector_index_id)
        group by all
        """,
        period, vector_index,
    )  # fmt: skip


def storage(con: duckdb.DuckDBPyConnection, period: str, vector_index: str | None) -> tuple[Blended, str] | None:
    """Per GB-month of an index, or of all, where the bill counts GB-months or GB-hours (730 to a month); and the currency."""
    return _per_unit(
        con,
        """
        select
            sum(effective_cost)::decimal(38, 12),
            sum(case when consumed_unit ilike 'g%hours' then consumed_quantity else consumed_quantity * 730 end)::decimal(38, 6),
            billing_currency
        from charges
        where period = $period and activity = 'storage' and origin <> 'tariff' and vector_index_id = coalesce($index, vector_index_id)
            and (consumed_unit ilike 'g%hours' or consumed_unit ilike 'g%mo%')
        group by all
        """,
        period, vector_index, times=730,
    )  # fmt: skip


def _per_unit(
    con: duckdb.DuckDBPyConnection, sql: str, period: str, vector_index: str | None, times: int = 1
) -> tuple[Blended, str] | None:
    found = con.execute(sql, {"period": period, "index": vector_index}).fetchall()
    if len(found) != 1 or not found[0][1]:
        return None
    cost, units, currency = found[0]
    return Blended(None, rounded(cost * times / units)), currency


def rounded(amount: Decimal) -> Decimal:
    return amount.quantize(PLACES, ROUND_HALF_UP)
