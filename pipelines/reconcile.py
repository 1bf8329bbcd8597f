"""RECONCILE: what was billed against what was metered, and every charge cut into named portions."""

from __future__ import annotations

import duckdb

from pipelines import models, policy
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


def register_rates(con: duckdb.DuckDBPyConnection, rates: dict[str, str]) -> None:
    """period_rates: units of the company's currency for one of each, of which its own is one."""
    con.execute(
        "create or replace temp table period_rates as select currency, 1::decimal(38, 12) as rate from policy_company"
        " union all select unnest($currencies)::varchar, unnest($rates)::varchar::decimal(38, 12)",
        {"currencies": list(rates), "rates": list(rates.values())},
    )
