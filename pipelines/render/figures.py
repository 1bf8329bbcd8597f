"""What the workbooks show, read from the published tables. Exact: every amount is a Decimal."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from io import BytesIO
from typing import Any

import duckdb
from pyarrow.parquet import ParquetWriter

from pipelines.render import names
from pipelines.render.rows import BATCH

Row = dict[str, Any]
ZERO = Decimal(0)
DETAIL_LIMIT = 200_000
CENT = Decimal("0.01")

# From fine to coarse: what a row of Detail no longer says, until it fits.
_GRAINS = (
    ((), "one row per day, line, project, application, environment, meter and rule"),
    (
        ("application", "environment", "meter", "cost_pool", "rule_id"),
        "one row per day, line and project: meters, applications and rules were summed, there were too many rows",
    ),
    (
        ("usage_date", "application", "environment", "meter", "cost_pool", "rule_id"),
        "one row per line and project: days, meters, applications and rules were summed, there were too many rows",
    ),
    (
        ("usage_date", "project_id", "application", "environment", "meter", "cost_pool", "rule_id"),
        "one row per line: days and projects were summed, there were too many rows",
    ),
)
MOST_USES = 200  # rows of Usage; what is smaller is summed in the last one


def rows(con: duckdb.DuckDBPyConnection, sql: str, **values: Any) -> list[Row]:
    """The rows of a query as dictionaries; `values` are bound where the query names them."""
    cursor = con.execute(sql, {name: value for name, value in values.items() if f"${name}" in sql})
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def has(con: duckdb.DuckDBPyConnection, table: str) -> bool:
    """Whether the database has this table: one that was published before the table was known has not."""
    return con.execute("select count(*) > 0 from duckdb_tables() where table_name = $table", {"table": table}).fetchall()[0][0]


def period_name(con: duckdb.DuckDBPyConnection, period: str) -> str:
    """The period as a heading says it: its month, what finance calls it, and its days where it is no calendar month."""
    found = rows(con, "select fiscal_period as fiscal, starts_on as start, ends_on as end from periods where period = $period", period=period)
    return names.period_name(period, **found[0]) if found else names.month(period)


def _fx(con: duckdb.DuckDBPyConnection) -> tuple[str, str]:
    """(join, rate) that convert ledger row `l` to the currency of its line `s`; a line of several months has a rate for each."""
    if not has(con, "exchange_rates"):
        return "", "coalesce(s.fx_rate, 1)"
    return (
        "left join exchange_rates x on x.period = l.original_period and x.currency = l.billing_currency",
        "coalesce(s.fx_rate, case when l.billing_currency <> s.currency then x.rate end, 1)",
    )


def statements(con: duckdb.DuckDBPyConnection, **scope: Any) -> list[Row]:
    chosen = "and team_id = $team_id" if "team_id" in scope else ""
    return rows(
        con,
        f"from statements where period = $period and version = $version {chosen} order by legal_entity, cost_center, team_id",
        **scope,
    )


def lines(con: duckdb.DuckDBPyConnection, **scope: Any) -> list[Row]:
    """Statement lines with the exact ledger sum behind each: `cost` in the bill's currency, `exact` in the statement's.

    `covered`: the line has cost, but the rate card charges for its use instead. `sold`: what the platform sold at the rate.
    Of one team `take` first.
    """
    chosen, source = ("and s.team_id = $team_id", "mine l") if "team_id" in scope else ("", _charged(con))
    return rows(
        con,
        f"""
        with behind as (
            select
                l.line_id, sum(l.chargeback_cost)::decimal(38, 12) as cost, sum(l.amount)::decimal(38, 12) as exact, bool_or(l.method = 'rate') as sold,
                count(*) filter (l.chargeback_cost <> 0) = 0 and sum(l.effective_cost) <> 0 as covered
            from {source}
            where l.line_no is not null
            group by all
        )
        select
            s.*, coalesce(b.cost, 0)::decimal(38, 12) as cost, coalesce(b.exact, 0)::decimal(38, 12) as exact, coalesce(b.sold, false) as sold, coalesce(b.covered, false) as covered
        from statement_lines s left join behind b using (line_id)
        where s.period = $period and s.version = $version {chosen}
        order by s.team_id, s.line_no
        """,
        **scope,
    )


def _charged(con: duckdb.DuckDBPyConnection) -> str:
    """The ledger rows of a version with the line that charges them, for a from clause; `amount` is in the statement's currency."""
    join, rate = _fx(con)
    return f"""(
        select l.*, s.line_no, (l.chargeback_cost * {rate})::decimal(38, 12) as amount
        from ledger l
        left join statement_lines s on s.line_id = l.line_id and s.period = l.period and s.version = l.version and s.team_id = l.team_id
        {join}
        where l.period = $period and l.version = $version
    ) l"""


def roundings(con: duckdb.DuckDBPyConnection, period: str, version: int) -> int:
    """How often the lines were rounded: a version of a reopened month keeps the cents of the one before and rounds only what came since."""
    return version or con.execute("select version + 1 from periods where period = $period", {"period": period}).fetchall()[0][0]


def take(con: duckdb.DuckDBPyConnection, **scope: Any) -> None:
    """The ledger rows of one team as the temporary table `mine`: read once, summed by everything that follows.

    `amount` is in the statement's currency. `use_no` is the row of the sheet Usage: 1 is what costs most of the project that costs most.
    """
    con.execute(
        f"""
        create or replace temp table mine as
        with meters as (select charge_id, any_value(sku_meter) as meter from charges where period = $period group by all)
        select
            l.ledger_id, l.charge_id, l.line_no, l.line_id, l.usage_date, l.category, l.activity, l.service, l.model, m.meter, l.project_id, l.application,
            l.environment, l.cost_pool, l.rule_id, l.method, l.original_period, l.estimate_status, l.billing_currency, l.consumed_unit as unit,
            l.consumed_quantity as quantity, l.list_cost, l.effective_cost, l.billed_cost, l.chargeback_cost, l.amount
        from {_charged(con)}
        left join meters m on m.charge_id = l.charge_id
        where l.team_id = $team_id
        """,
        scope,
    )
    con.execute(
        """
        create or replace temp table uses as
        with summed as (
            select
                project_id, service, model, meter, unit, billing_currency, sum(quantity)::decimal(38, 12) as quantity,
                sum(list_cost)::decimal(38, 12) as list_cost, sum(amount)::decimal(38, 12) as amount
            from mine where category = 'direct' group by all
        ),
        projects as (select project_id, sum(amount)::decimal(38, 12) as project_amount from summed group by all)
        select
            row_number() over (
                order by p.project_amount desc, p.project_id nulls last, s.amount desc, s.service, s.model, s.meter, s.unit, s.billing_currency
            ) as use_no, s.*
        from summed s join projects p on p.project_id is not distinct from s.project_id
        """
    )


@dataclass(frozen=True)
class Detail:
    """What the temporary table `detail` holds: how many rows, of what grain in words, and their sums."""

    count: int
    grain: str
    ledger_rows: int
    amount: Decimal
    is_whole: bool  # nothing was summed away


def detail(con: duckdb.DuckDBPyConnection, limit: int = DETAIL_LIMIT) -> Detail:
    """The team's ledger (`take` first) as the temporary table `detail`, summed to the finest grain that has no more than `limit` rows."""
    for left_out, grain in _GRAINS:
        con.execute("create or replace temp table detail as " + _detail_select(left_out))
        (count, ledger_rows, amount) = con.execute("select count(*), coalesce(sum(ledger_rows), 0), coalesce(sum(amount), 0) from detail").fetchall()[0]
        found = Detail(count, grain, int(ledger_rows), amount, not left_out)
        if count <= limit:
            break
    return found


def full_detail(con: duckdb.DuckDBPyConnection) -> bytes:
    """Every row of the finest grain as Parquet: what a workbook with too many rows could not hold. `take` first."""
    reader = con.sql(f"select * exclude (use_no) from ({_detail_select(())})").to_arrow_reader(BATCH)
    out = BytesIO()
    with ParquetWriter(out, reader.schema, compression="zstd") as writer:
        for batch in reader:
            writer.write_batch(batch)
    return out.getvalue()


def _detail_select(left_out: tuple[str, ...]) -> str:
    kept = ("usage_date", "project_id", "application", "environment", "meter", "cost_pool", "rule_id")
    shown = [f"null::{'date' if name == 'usage_date' else 'varchar'} as {name}" if name in left_out else f"m.{name}" for name in kept]
    return f"""
        select
            m.line_no, case when m.category = 'direct' then least(u.use_no, {MOST_USES}) end as use_no, {", ".join(shown)}, m.category, m.activity,
            m.service, m.model, m.unit, m.original_period, m.estimate_status, m.billing_currency,
            sum(m.quantity)::decimal(38, 12) as quantity, sum(m.list_cost)::decimal(38, 12) as list_cost,
            sum(m.effective_cost)::decimal(38, 12) as effective_cost, sum(m.amount)::decimal(38, 12) as amount, count(*) as ledger_rows
        from mine m
        left join uses u on m.category = 'direct' and u.project_id is not distinct from m.project_id and u.service is not distinct from m.service
            and u.model is not distinct from m.model and u.meter is not distinct from m.meter and u.unit is not distinct from m.unit
            and u.billing_currency = m.billing_currency
        group by all
        order by all
    """


def uses(con: duckdb.DuckDBPyConnection) -> list[Row]:
    """The team's own usage by project, service, model and meter, by `use_no`; the last row holds all that are smaller."""
    return rows(
        con,
        f"""
        select * from uses where use_no < {MOST_USES}
        union all by name
        select
            {MOST_USES} as use_no, 'all smaller ones' as service, sum(list_cost)::decimal(38, 12) as list_cost, sum(amount)::decimal(38, 12) as amount,
            case when count(distinct billing_currency) = 1 then max(billing_currency) end as billing_currency
        from uses where use_no >= {MOST_USES} having count(*) > 0
        order by use_no
        """,
    )


def by_resource(con: duckdb.DuckDBPyConnection) -> list[tuple[str, Decimal]]:
    """(model, kind of GPU or service, amount) of the team, the largest first."""
    return _sums(con, "coalesce(case when lower(unit) like 'gpu%hour%' then 'GPU ' || model end, model, service, 'other')")


def by_project(con: duckdb.DuckDBPyConnection) -> list[tuple[str, Decimal]]:
    """(project, amount) of the team, the largest first; what names none says why."""
    return _sums(con, "coalesce(project_id, case category when 'shared' then 'share of common cost' when 'recovery' then 'recovery' else 'no project named' end)")


def common_pools(con: duckdb.DuckDBPyConnection) -> list[tuple[str, Decimal]]:
    """(cost pool, amount) of what the team carries of common cost, the largest first."""
    return _sums(con, "cost_pool", "where category = 'shared'")


def _sums(con: duckdb.DuckDBPyConnection, name: str, chosen: str = "") -> list[tuple[str, Decimal]]:
    return con.execute(
        f"select {name} as name, sum(amount)::decimal(38, 12) as amount from mine {chosen} group by all having sum(amount) <> 0 order by abs(sum(amount)) desc, 1"
    ).fetchall()


def by_day(con: duckdb.DuckDBPyConnection, period: str) -> tuple[dict[date, tuple[Decimal, Decimal]], Decimal]:
    """(own, shared) of every day that has cost, and what was booked for earlier months."""
    found = con.execute(
        """
        select
            case when original_period = $period then usage_date end as day, coalesce(sum(amount) filter (category <> 'shared'), 0)::decimal(38, 12),
            coalesce(sum(amount) filter (category = 'shared'), 0)::decimal(38, 12)
        from mine group by all order by all
        """,
        {"period": period},
    ).fetchall()
    return {day: (own, shared) for day, own, shared in found if day}, sum((own + shared for day, own, shared in found if not day), ZERO)


def largest_of_days(con: duckdb.DuckDBPyConnection, period: str) -> list[Row]:
    """What cost most on each day of the month: activity, model or service, amount."""
    return rows(
        con,
        """
        with summed as (
            select usage_date, activity, coalesce(model, service) as what, sum(amount)::decimal(38, 12) as amount
            from mine where original_period = $period and category <> 'recovery' group by all
        )
        from summed where amount > 0
        qualify row_number() over (partition by usage_date order by amount desc, activity, what) = 1
        order by usage_date
        """,
        period=period,
    )


def estimated(con: duckdb.DuckDBPyConnection) -> Decimal:
    """How much of the team's charge has no final bill yet."""
    return con.execute("select coalesce(sum(amount), 0)::decimal(38, 12) from mine where estimate_status = 'Estimated'").fetchall()[0][0]


def changes(con: duckdb.DuckDBPyConnection, **scope: Any) -> list[Row]:
    """Why each line moved since the month before, the largest move first."""
    return rows(
        con,
        """
        from cost_changes where period = $period and version = $version and team_id = $team_id
        order by abs(change) desc, category, activity, service, model
        """,
        **scope,
    )


def trend(con: duckdb.DuckDBPyConnection, **scope: Any) -> list[Row]:
    """Up to thirteen months to this one, oldest first, each in its newest version (this one in the version shown)."""
    return rows(
        con,
        """
        with totals as (
            select
                period, version, sum(direct_amount)::decimal(18, 2) as own, sum(shared_amount)::decimal(18, 2) as shared,
                sum(adjustment_amount + recovery_amount)::decimal(18, 2) as other, sum(total_amount)::decimal(18, 2) as total
            from statements
            where team_id = $team_id and (period < $period or (period = $period and version = $version))
            group by all
        ),
        tokens as (
            select
                l.period, l.version, sum(l.consumed_quantity)::decimal(38, 12) as tokens, sum(l.chargeback_cost)::decimal(38, 12) as token_cost,
                count(distinct l.billing_currency) as currencies
            from ledger l
            where l.team_id = $team_id and l.category = 'direct' and l.activity = 'inference' and lower(l.consumed_unit) = 'tokens'
            group by all
        )
        select t.*, k.tokens, case when k.currencies = 1 then k.token_cost end as token_cost
        from totals t left join tokens k on k.period = t.period and k.version = t.version
        qualify row_number() over (partition by t.period order by t.version desc) = 1
        order by t.period desc limit 13
        """,
        **scope,
    )[::-1]


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


def _carried(scope: dict[str, Any]) -> str:
    """The ledger rows of one team (`take` first) or of the whole version, for a from clause."""
    return "mine" if "team_id" in scope else "ledger where period = $period and version = $version"


def invoices(con: duckdb.DuckDBPyConnection, **scope: Any) -> list[Row]:
    """Vendor invoices of the period: what they bill, and what the ledger, or one team (`take` first), carries of them."""
    return rows(
        con,
        f"""
        with carried as (
            select charge_id, sum(billed_cost) as billed, sum(effective_cost) as effective from {_carried(scope)} group by all
        )
        select
            c.provider, c.billing_account_id, c.invoice_id, c.billing_currency, c.estimate_status,
            sum(c.billed_cost)::decimal(38, 12) as billed_cost, sum(c.effective_cost)::decimal(38, 12) as effective_cost,
            coalesce(sum(l.billed), 0)::decimal(38, 12) as ledger_billed, coalesce(sum(l.effective), 0)::decimal(38, 12) as ledger_effective
        from charges c left join carried l using (charge_id)
        where c.period = $period
        group by all
        having sum(c.billed_cost) <> 0 or sum(c.effective_cost) <> 0
        order by all
        """,
        **scope,
    )


def tokens(con: duckdb.DuckDBPyConnection) -> tuple[Decimal, Decimal, str | None]:
    """(tokens, what they cost, currency) of the team's token-priced model calls charged directly; currency None when mixed."""
    return con.execute(
        """
        select
            coalesce(sum(quantity), 0)::decimal(38, 12), coalesce(sum(chargeback_cost), 0)::decimal(38, 12),
            case when count(distinct billing_currency) = 1 then max(billing_currency) end
        from mine where category = 'direct' and activity = 'inference' and lower(unit) = 'tokens'
        """
    ).fetchall()[0]


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
    """The rules that the ledger rows, or those of one team (`take` first), name, in plain language."""
    return rows(
        con,
        f"""
        select r.cost_pool, r.rule_id, r.sentence from allocation_rules r
        where r.rule_id in (select rule_id from {_carried(scope)})
        order by r.rule_id
        """,
        **scope,
    )


def weights(con: duckdb.DuckDBPyConnection, **scope: Any) -> list[Row]:
    """What tokens weighed in the month on the model servers whose cost the ledger rows, or those of one team (`take` first), share."""
    return rows(
        con,
        f"""
        with used as (
            select c.serving_pool, min(c.usage_date) as first_day, max(c.usage_date) as last_day
            from (from {_carried(scope)}) l join charges c on c.charge_id = l.charge_id
            where c.serving_pool is not null
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


def posted(con: duckdb.DuckDBPyConnection, **scope: Any) -> list[Row]:
    """The journal lines that post the team's statements; none where no journal was made."""
    if not has(con, "journal_lines"):
        return []
    return rows(
        con,
        """
        from journal_lines where period = $period and version = $version
            and reference in (select statement_id from statements where period = $period and version = $version and team_id = $team_id)
        order by je_id, line_no
        """,
        **scope,
    )


def approvals(con: duckdb.DuckDBPyConnection, period: str, version: int) -> list[Row]:
    """Who prepared, reviewed and approved the version, as far as it counts; of a draft, the version it will be."""
    if not has(con, "approvals"):
        return []
    return rows(
        con,
        "select a.step, a.actor, a.through from approvals a join periods p using (period)"
        " where a.period = $period and a.counts and a.version = case when $version = 0 then p.version + 1 else $version end order by a.number nulls first",
        period=period,
        version=version,
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
        where period = $period and state not in ('matched', 'covered', 'non_usage', 'out_of_scope') and coalesce(billed_cost, metered_cost, 0) <> 0
        group by all
        order by greatest(abs(coalesce(sum(billed_cost), 0) - coalesce(sum(metered_cost), 0)), abs(coalesce(sum(quantity_variance), 0))) desc,
            provider, billing_account_id, model, meter, state
        limit $most
        """,
        period=period,
        most=most,
    )


def shared_keys(con: duckdb.DuckDBPyConnection, period: str, version: int) -> list[Row]:
    """Projects, workspaces and accounts of vendors that no one team owns and several call through, and how the bill for these calls was shared."""
    return rows(
        con,
        """
        with carried as (
            select charge_id, team_id, portion, billed_cost
            from ledger
            where period = $period and version = $version and portion in ('metered', 'excess')
        ),
        unowned as (
            select distinct charge_id from bill_lines where sub_account_id is not null and owner is null
        )
        select
            c.provider, c.billing_account_id, c.sub_account_id, c.billing_currency,
            count(distinct l.team_id) filter (l.portion = 'metered' and l.billed_cost <> 0) as teams,
            sum(l.billed_cost)::decimal(38, 12) as billed_cost,
            coalesce(sum(l.billed_cost) filter (l.portion = 'metered'), 0)::decimal(38, 12) as metered_cost,
            coalesce(sum(l.billed_cost) filter (l.portion = 'excess'), 0)::decimal(38, 12) as excess_cost
        from carried l join charges c using (charge_id)
        where coalesce(c.corrects_charge_id, c.charge_id) in (from unowned)
        group by all
        having teams > 1
        order by all
        """,
        period=period,
        version=version,
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


def journal(con: duckdb.DuckDBPyConnection, **scope: Any) -> list[Row]:
    """The lines that a version posts; of a draft also its accrual."""
    return rows(con, "from journal_lines where period = $period and version = $version order by je_id, line_no", **scope)


def expensed(con: duckdb.DuckDBPyConnection, period: str, version: int) -> Decimal:
    """What the journals of a month have posted as expense with this version and those before it."""
    found = con.execute(
        "select coalesce(sum(debit - credit), 0)::decimal(18, 2) from journal_lines where period = $period and role = 'expense'"
        " and kind not in ('accrual', 'reversal') and (version = $version or (version > 0 and ($version = 0 or version < $version)))",
        {"period": period, "version": version},
    )
    return found.fetchall()[0][0]


def adjustments(con: duckdb.DuckDBPyConnection, **scope: Any) -> list[Row]:
    """Corrections of earlier months that are booked in this one, by month, team and what they correct; in the bill's currency."""
    return rows(
        con,
        """
        select
            l.original_period, l.team_id, t.team_name, l.cost_center, c.provider, l.service, l.activity, l.billing_currency,
            sum(l.effective_cost)::decimal(38, 12) as effective_cost, sum(l.chargeback_cost)::decimal(38, 12) as amount, count(*) as ledger_rows,
            count(distinct l.charge_id) as charges
        from ledger l
        join charges c on c.charge_id = l.charge_id
        left join (select distinct team_id, team_name from statements where period = $period and version = $version) t on t.team_id = l.team_id
        where l.period = $period and l.version = $version and l.original_period <> l.period
        group by all
        having sum(abs(l.chargeback_cost)) <> 0
        order by l.original_period, abs(sum(l.chargeback_cost)) desc, l.team_id, l.cost_center, c.provider, l.service, l.activity
        """,
        **scope,
    )


def disputes(con: duckdb.DuckDBPyConnection, **scope: Any) -> list[Row]:
    """Disputes of the month's statements, and those of earlier ones that were opened in the month or whose adjustment is booked in it."""
    if not has(con, "disputes"):
        return []
    mine = "and d.team_id = $team_id" if "team_id" in scope else ""
    return rows(
        con,
        f"""
        select d.*
        from disputes d join periods p on p.period = $period
        where (d.period = p.period or d.adjustment_period = p.period or (d.opened_on >= p.starts_on and d.opened_on < p.ends_on)) {mine}
        order by d.opened_on, d.dispute_id
        """,
        **scope,
    )


def unallocated(con: duckdb.DuckDBPyConnection, **scope: Any) -> list[Row]:
    """Cost without an owner, by reason and what it is for; in the bill's currency."""
    return rows(
        con,
        """
        select
            l.reason, c.provider, l.service, l.model, l.activity, l.billing_currency, sum(l.chargeback_cost)::decimal(38, 12) as amount, count(*) as ledger_rows
        from ledger l join charges c on c.charge_id = l.charge_id
        where l.period = $period and l.version = $version and l.team_id = 'unallocated'
        group by all
        having sum(l.chargeback_cost) <> 0
        order by abs(sum(l.chargeback_cost)) desc, l.reason, c.provider, l.service, l.model, l.activity
        """,
        **scope,
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


def so_far(con: duckdb.DuckDBPyConnection, period: str, through: date | None) -> str | None:
    """`after 5 of 31 days`, of a month that is not over: it is not to be compared with a whole one. None once it is."""
    known, whole = len(days(con, period, through)), len(days(con, period, None))
    return f"after {known} of {whole} days" if known < whole else None
