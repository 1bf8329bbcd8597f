"""RECONCILE: what was billed against what was metered, and every charge cut into named portions."""

from __future__ import annotations

from pipelines import models, policy
from pipelines.run import Run, Scope
from pipelines.warehouse import transaction


def reconcile(run: Run, scopes: list[Scope]) -> None:
    """Fills usage_meters, origin_charges, reconciliation, price_reconciliation, charge_usage and charge_portions for each period."""
    for scope in scopes:
        run.say(f"reconcile {scope.period.label}")
        policy.register(run.con, scope.policy)
        with transaction(run.con):
            for model in models.stage("reconcile"):
                models.replace_period(run.con, model, scope.params)
