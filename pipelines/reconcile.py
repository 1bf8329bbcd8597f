"""RECONCILE: what was billed against what was metered, and every charge cut into named portions."""

from __future__ import annotations

import duckdb

from pipelines import models, policy
from pipelines.errors import Refused
from pipelines.run import Run, Scope
from pipelines.warehouse import transaction


def reconcile(run: Run, scopes: list[Scope]) -> None:
    """Fills usage_meters, origin_charges, reconciliation, price_reconciliation, charge_usage and charge_portions for each period."""
    for scope in scopes:
        run.say(f"reconcile {scope.period.label}")
        policy.register(run.con, scope.policy)
        register_rates(run.con, {currency: rate for currency, (rate, _) in run.rates(scope.period.label).items()})
        with transaction(run.con):
            for model in models.stage("reconcile"):
                models.replace_period(run.con, model, scope.params)
        require_rates(run.con, scope.period.label)


def register_rates(con: duckdb.DuckDBPyConnection, rates: dict[str, str]) -> None:
    """period_rates: units of the company's currency for one of each, of which its own is one."""
    con.execute(
        "create or replace temp table period_rates as select currency, 1::decimal(38, 12) as rate from policy_company"
        " union all select unnest($currencies)::varchar, unnest($rates)::varchar::decimal(38, 12)",
        {"currencies": list(rates), "rates": list(rates.values())},
    )


def require_rates(con: duckdb.DuckDBPyConnection, period: str) -> None:
    """Refuses a commitment that use cannot be counted against: its currency, or that of our prices, has no rate in the month."""
    missing = con.execute(
        """
        select distinct n.currency
        from contract_use u
        join origin_charges o on o.usage_period = $period and o.charge_id = u.charge_id
        join policy_contracts c on c.contract_id = o.contract_id and c.kind = 'commitment'
        cross join (select unnest([o.billing_currency, price_currency()]) as currency) n
        where u.usage_period = $period and o.billing_currency <> price_currency() and n.currency not in (select currency from period_rates)
        order by all
        """,
        {"period": period},
    ).fetchall()
    if missing:
        named = " and ".join(currency for (currency,) in missing)
        raise Refused(f"no exchange rate of {named} for {period}: a commitment needs it", "data/landing/fx", "land a CSV with period,currency,rate,rate_source")
