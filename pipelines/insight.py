"""INSIGHT: what a cost means while it can still be changed: budgets, forecasts, and what is out of the ordinary."""

from __future__ import annotations

from datetime import timedelta

from pipelines import alerts, models, policy
from pipelines.normalize import landed_table
from pipelines.run import Run, all_files


def insight(run: Run) -> None:
    """Fills the tables of `sql/insight/`, from the published figures and today's policy."""
    policy.register(run.con, run.policy)
    landed_table(run.con, "landed_outcomes", "outcomes", all_files(run, "outcomes"))
    alerts.remember(run)
    next_day = run.through + timedelta(days=1)
    period = run.policy.company.calendar.holding(next_day)  # none after the last one that is declared
    dates = {"next_period": period.label, "next_period_end": period.end} if period else {"next_period": None, "next_period_end": None}
    for model in models.stage("insight"):
        models.replace_all(run.con, model, {"through": run.through, **dates})
