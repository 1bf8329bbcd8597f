"""What the workbooks show, read from the published tables. Exact: every amount is a Decimal."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import duckdb

Row = dict[str, Any]
ZERO = Decimal(0)
DETAIL_LIMIT = 200_000
CENT = Decimal("0.01")

# From fine to coarse: what a row of Detail is about, until it fits.
_GRAINS = (
    ("l.usage_date", "l.project_id", "l.application", "l.environment"),
    ("null::date as usage_date", "l.project_id", "l.application", "l.environment"),
    ("null::date as usage_date", "null as project_id", "null as application", "null as environment"),
)


def rows(con: duckdb.DuckDBPyConnection, sql: str, **values: Any) -> list[Row]:
    """The rows of a query as dictionaries; `values` are bound where the query names them."""
    cursor = con.execute(sql, {name: value for name, value in values.items() if f"${name}" in sql})
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def statements(con: duckdb.DuckDBPyConnection, **scope: Any) -> list[Row]:
    chosen = "and team_id = $team_id" if "team_id" in scope else ""
    return rows(
        con,
        f"from statements where period = $period and version = $version {chosen} order by legal_entity, cost_center, team_id",
        **scope,
    )


def lines(con: duckdb.DuckDBPyConnection, **scope: Any) -> list[Row]:
    """Statement lines with the exact ledger sum behind each (`exact`, in the statement's currency).

    `covered`: the line has cost, but the rate card charges for its use instead. `sold`: what the platform sold at the rate.
    """
    chosen = "and s.team_id = $team_id" if "team_id" in scope else ""
    found = rows(
        con,
        f"""
        with behind as (
            select
                line_id, sum(chargeback_cost)::decimal(38, 12) as cost, bool_or(method = 'rate') as sold,
                count(*) filter (chargeback_cost <> 0) = 0 and sum(effective_cost) <> 0 as covered
            from ledger where period = $period and version = $version group by all
        )
        select
            s.*, coalesce(b.cost, 0)::decimal(38, 12) as cost, coalesce(b.sold, false) as sold, coalesce(b.covered, false) as covered
        from statement_lines s left join behind b using (line_id)
        where s.period = $period and s.version = $version {chosen}
        order by s.team_id, s.line_no
        """,
        **scope,
    )
    for line in found:
        line["exact"] = line["cost"] * (line["fx_rate"] or 1)
    return found


def detail(con: duckdb.DuckDBPyConnection, limit: int = DETAIL_LIMIT, **scope: Any) -> tuple[list[Row], str]:
    """The team's ledger, summed to a readable grain, and that grain in words. `amount` is in the statement's currency."""
    for level, grain in enumerate(_GRAINS):
        found = rows(
            con,
            f"""
            select
                s.line_no, {", ".join(grain)}, l.category, l.activity, l.service, l.model, l.cost_pool, l.rule_id,
                l.original_period, l.estimate_status, l.billing_currency, l.consumed_unit,
                sum(l.consumed_quantity)::decimal(38, 12) as quantity, sum(l.list_cost)::decimal(38, 12) as list_cost,
                sum(l.effective_cost)::decimal(38, 12) as effective_cost,
                sum(l.chargeback_cost)::decimal(38, 12) as chargeback_cost, count(*) as ledger_rows, max(s.fx_rate) as fx_rate
            from ledger l
            left join statement_lines s on s.line_id = l.line_id and s.period = l.period and s.version = l.version and s.team_id = l.team_id
            where l.period = $period and l.version = $version and l.team_id = $team_id
            group by all
            order by all
            """,
            **scope,
        )
        if len(found) <= limit or level == len(_GRAINS) - 1:
            break
    for row in found:
        row["amount"] = row["chargeback_cost"] * (row["fx_rate"] or 1)
    words = (
        "one row per day, line, project, application, environment and rule",
        "one row per line, project, application, environment and rule: the days were summed, there were too many rows",
        "one row per line and rule: days and projects were summed, there were too many rows",
    )
    return found, words[level]


def shared(con: duckdb.DuckDBPyConnection, **scope: Any) -> list[Row]:
    """Shared cost that the team carries, pot by pot: the pot, its rule, our units, all units, our part.

    A pot is what one rule splits by one driver total. `pool_cost` is all that the rule split of the same charges: what teams
    carry of it and what it sent to support teams that passed it on. Amounts are in the bill's currency.
    """
    return rows(
        con,
        """
        select
            s.cost_pool, s.rule_id, s.part, s.driver, s.pot, s.service, s.our_units as units, s.all_units as driver_total,
            s.billing_currency, sum(s.pool_charged)::decimal(38, 12) as pool_cost, sum(s.chargeback_cost)::decimal(38, 12) as amount,
            min(s.first_day) as first_day, max(s.last_day) as last_day, max(s.reason) as reason, any_value(r.sentence) as sentence
        from shared_costs s left join allocation_rules r using (rule_id)
        where s.period = $period and s.version = $version and s.team_id = $team_id and s.category = 'shared'
        group by all
        having sum(s.chargeback_cost) <> 0
        order by s.cost_pool, s.rule_id, s.part, s.pot, first_day, s.service, s.all_units, s.our_units
        """,
        **scope,
    )


def invoices(con: duckdb.DuckDBPyConnection, **scope: Any) -> list[Row]:
    """Vendor invoices of the period: what they bill, what the ledger holds of them and, for a team, what it carries."""
    mine = "team_id = $team_id" if "team_id" in scope else "true"
    return rows(
        con,
        f"""
        with carried as (
            select
                charge_id, sum(billed_cost) as billed, sum(effective_cost) as effective,
                sum(billed_cost) filter ({mine}) as my_billed, sum(effective_cost) filter ({mine}) as my_effective
            from ledger where period = $period and version = $version group by all
        )
        select
            c.provider, c.billing_account_id, c.invoice_id, c.billing_currency, c.estimate_status,
            sum(c.billed_cost)::decimal(38, 12) as billed_cost, sum(c.effective_cost)::decimal(38, 12) as effective_cost,
            coalesce(sum(l.billed), 0)::decimal(38, 12) as ledger_billed, coalesce(sum(l.effective), 0)::decimal(38, 12) as ledger_effective,
            coalesce(sum(l.my_billed), 0)::decimal(38, 12) as my_billed, coalesce(sum(l.my_effective), 0)::decimal(38, 12) as my_effective
        from charges c left join carried l using (charge_id)
        where c.period = $period
        group by all
        having sum(c.billed_cost) <> 0 or sum(c.effective_cost) <> 0
        order by all
        """,
        **scope,
    )


def tokens(con: duckdb.DuckDBPyConnection, **scope: Any) -> tuple[Decimal, Decimal, str | None]:
    """(tokens, what they cost, currency) of the token-priced model calls charged directly; currency None when mixed."""
    mine = "and l.team_id = $team_id" if "team_id" in scope else ""
    found = rows(
        con,
        f"""
        select
            coalesce(sum(l.consumed_quantity), 0)::decimal(38, 12) as tokens,
            coalesce(sum(l.chargeback_cost), 0)::decimal(38, 12) as cost,
            case when count(distinct l.billing_currency) = 1 then max(l.billing_currency) end as currency
        from ledger l
        where l.period = $period and l.version = $version and l.category = 'direct' and l.activity = 'inference'
            and lower(l.consumed_unit) = 'tokens' {mine}
        """,
        **scope,
    )[0]
    return found["tokens"], found["cost"], found["currency"]


def ledger_rows(con: duckdb.DuckDBPyConnection, **scope: Any) -> int:
    return rows(con, "select count(*) as held from ledger where period = $period and version = $version and team_id = $team_id", **scope)[0]["held"]


def ledger_hash(con: duckdb.DuckDBPyConnection, period: str, version: int, team_id: str, cost_center: str | None) -> str | None:
    """The hash of a statement's ledger rows, computed again."""
    return con.execute(
        "select sha256(string_agg(ledger_id || ' ' || chargeback_cost::varchar, chr(10) order by ledger_id)) from ledger"
        " where period = ? and version = ? and team_id = ? and cost_center is not distinct from ?",
        [period, version, team_id, cost_center],
    ).fetchone()[0]


def sentences(con: duckdb.DuckDBPyConnection, **scope: Any) -> list[Row]:
    """The rules that the ledger rows name, in plain language."""
    mine = "and team_id = $team_id" if "team_id" in scope else ""
    return rows(
        con,
        f"""
        select r.cost_pool, r.rule_id, r.sentence from allocation_rules r
        where r.rule_id in (select rule_id from ledger where period = $period and version = $version {mine})
        order by r.rule_id
        """,
        **scope,
    )


def weights(con: duckdb.DuckDBPyConnection, **scope: Any) -> list[Row]:
    """What tokens weighed in the month on the model servers whose cost the ledger rows share."""
    mine = "and l.team_id = $team_id" if "team_id" in scope else ""
    return rows(
        con,
        f"""
        with used as (
            select c.serving_pool, min(c.usage_date) as first_day, max(c.usage_date) as last_day
            from ledger l join charges c on c.charge_id = l.charge_id
            where l.period = $period and l.version = $version and c.serving_pool is not null {mine}
            group by all
        )
        select w.serving_pool, w.sentence
        from token_weights w
        join used u on u.serving_pool = w.serving_pool
            and coalesce(w.valid_from <= u.last_day, true) and coalesce(w.valid_to > u.first_day, true)
        order by w.serving_pool, w.valid_from nulls first
        """,
        **scope,
    )


def exceptions(con: duckdb.DuckDBPyConnection, period: str) -> list[Row]:
    return rows(con, "from exceptions where period = $period order by abs(coalesce(amount, 0)) desc, kind, what", period=period)


def reconciled(con: duckdb.DuckDBPyConnection, period: str) -> list[Row]:
    """Billed against metered by account, state and treatment; None where a side or a part of the difference is not known."""
    return rows(
        con,
        """
        select
            provider, billing_account_id, state, treatment, count(*) as items,
            sum(metered_cost)::decimal(38, 12) as metered_cost, sum(billed_cost)::decimal(38, 12) as billed_cost,
            sum(quantity_variance)::decimal(38, 12) as quantity_variance, sum(price_variance)::decimal(38, 12) as price_variance,
            sum(cross_variance)::decimal(38, 12) as cross_variance
        from reconciliation where period = $period
        group by all order by all
        """,
        period=period,
    )


def differences(con: duckdb.DuckDBPyConnection, period: str, most: int) -> list[Row]:
    """What was billed and metered differently, by model, meter and state; the `most` that concern most money, largest first."""
    return rows(
        con,
        """
        select
            provider, billing_account_id, model, meter, state, count(*) as items, min(usage_date) as first_day, max(usage_date) as last_day,
            sum(metered_cost)::decimal(38, 12) as metered_cost, sum(billed_cost)::decimal(38, 12) as billed_cost,
            sum(quantity_variance)::decimal(38, 12) as quantity_variance, sum(price_variance)::decimal(38, 12) as price_variance,
            sum(cross_variance)::decimal(38, 12) as cross_variance
        from reconciliation
        where period = $period and state not in ('matched', 'non_usage', 'out_of_scope') and coalesce(billed_cost, metered_cost, 0) <> 0
        group by all
        order by greatest(abs(coalesce(sum(billed_cost), 0) - coalesce(sum(metered_cost), 0)), abs(coalesce(sum(quantity_variance), 0))) desc,
            provider, billing_account_id, model, meter, state
        limit $most
        """,
        period=period,
        most=most,
    )


def coverage(con: duckdb.DuckDBPyConnection, period: str) -> list[Row]:
    """Per account, how much of its bill the gateways had seen."""
    return rows(con, "select * exclude (period) from billing_coverage where period = $period order by all", period=period)


def documents(con: duckdb.DuckDBPyConnection, period: str) -> list[Row]:
    """Invoice documents of the period against their bills, and those of earlier months that were issued in it."""
    return rows(
        con,
        """
        select i.*
        from invoice_reconciliation i
        join periods p on p.period = $period and (i.period = p.period or (i.period < p.period and i.issued_on >= p.starts_on))
        order by all
        """,
        period=period,
    )


def by_currency(con: duckdb.DuckDBPyConnection, period: str, version: int) -> list[Row]:
    """Per billing currency: charges, ledger and statements side by side."""
    return rows(
        con,
        """
        with charged as (
            select billing_currency, sum(billed_cost)::decimal(38, 12) as billed, sum(effective_cost)::decimal(38, 12) as effective
            from charges where period = $period group by all
        ),
        held as (
            select
                l.billing_currency, sum(l.effective_cost)::decimal(38, 12) as ledger_effective,
                sum(l.chargeback_cost)::decimal(38, 12) as ledger_charged
            from ledger l where l.period = $period and l.version = $version group by all
        )
        select h.*, coalesce(c.billed, 0)::decimal(38, 12) as billed, coalesce(c.effective, 0)::decimal(38, 12) as effective
        from held h left join charged c using (billing_currency) order by 1
        """,
        period=period,
        version=version,
    )


def days(con: duckdb.DuckDBPyConnection, period: str, through: date | None) -> list[date]:
    """The days of a period, up to and with `through`; None: all of them."""
    found = con.execute(
        "select unnest(generate_series(starts_on, least(ends_on - interval 1 day, $through::date), interval 1 day))::date from periods where period = $period",
        {"period": period, "through": through},
    ).fetchall()
    return [day for (day,) in found]
