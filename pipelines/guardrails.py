"""What a gateway needs to enforce budgets, each night as files under reports/guardrails/: nothing is enforced here.

`budgets.json` has every budget with what is left of it; `litellm.json` the settings of LiteLLM's /team/update for budgets that are
about one team and nothing else. `suggested.json` has a limit for each team and application without a budget of its own:
nobody decided it, so it is never in LiteLLM's file, where it would enforce itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import date, timedelta
from decimal import ROUND_DOWN, Decimal
from typing import Any

from pipelines.policy import Period, Policy
from pipelines.policy.checks import span
from pipelines.policy.insight import Budget
from pipelines.run import Run

FOLDER = "guardrails"
CENT = Decimal("0.01")
Row = dict[str, Any]


def files(run: Run) -> dict[str, str]:
    """The text of the three files by their place under reports/."""
    rows = _rows(run, "select * exclude (about) from guardrails order by budget_id, for_project")
    suggested = _rows(run, "select * exclude (as_of) from suggested_limits order by team_id, application nulls first")
    period = run.policy.company.calendar.holding(run.through + timedelta(days=1))
    since = period.start if period else None
    spent = dict(run.con.execute("select caller_team_id, sum(source_cost) from usage_daily where usage_date >= ? group by all", [since]).fetchall())
    declared = {budget.id: budget for budget in run.policy.budgets.budgets}
    litellm = list(_litellm(rows, declared, spent, run.policy, run.through, period))
    feeds = {"budgets": list(_budgets(rows, declared)), "litellm": litellm, "suggested": suggested}
    return {f"{FOLDER}/{name}.json": as_json({"as_of": run.through, name: content}) for name, content in feeds.items()}


def _rows(run: Run, select: str) -> list[Row]:
    result = run.con.execute(select)
    names = [column[0] for column in result.description]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def as_json(value: Any) -> str:
    """JSON in which a DECIMAL is a number with the digits that it has, never a float."""
    marked = json.dumps(value, indent=1, ensure_ascii=False, default=lambda one: f"\0{one:f}" if isinstance(one, Decimal) else str(one))
    return re.sub(r'"\\u0000([-0-9.]+)"', r"\1", marked) + "\n"


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(CENT, ROUND_DOWN)


def _budgets(rows: list[Row], declared: dict[str, Budget]) -> Iterable[Row]:
    for row in rows:
        budget = declared[row["budget_id"]]
        scope: dict[str, list[str]] = {}
        for field, value in budget.scope:
            scope.setdefault(field, []).append(value)
        if row["for_project"]:
            scope["project"] = [row["for_project"]]
        money = {name: _cents(row[name]) for name in ("amount", "consumed", "remaining", "daily_limit")}
        rest = {name: row[name] for name in ("period", "currency", "days_left", "resets_on", "state", "owner")}
        yield {"id": row["budget_id"], "name": row["name"], "kind": row["kind"], "scope": scope, **money, **rest, "allowed_models": budget.models}


def _litellm(rows: list[Row], declared: dict[str, Budget], spent: dict[str, Decimal | None], policy: Policy, through: date, period: Period | None) -> Iterable[Row]:
    """A budget per team name of a gateway; of several budgets of a team the one that leaves least.

    LiteLLM stops a team when its own count since the last reset reaches `max_budget`. It does not see shared cost or idle GPUs, so
    `max_budget` is what it counted this month and what is left of the budget: it stops when the budget is used up.
    """
    duration = f"{period.days}d" if period and not period.is_month else "1mo"
    least: dict[str, Row] = {}
    for row in rows:
        scope = declared[row["budget_id"]].scope
        if len(scope) == 1 and scope[0][0] == "team":
            team = scope[0][1]
            least[team] = min(least.get(team, row), row, key=lambda one: one["remaining"])
    for team in policy.teams.teams:
        row = least.get(team.id)
        if row is None:
            continue
        models = declared[row["budget_id"]].models
        for one in team.belongs:
            first, last = span(one)
            if one.gateway_team is None or not first <= row["day"] < last:
                continue
            settings = {
                "team_id": one.gateway_team, "team_alias": team.name, "max_budget": _cents((spent.get(team.id) or Decimal(0)) + row["remaining"]),
                "budget_duration": duration, "budget_reset_at": f"{row['resets_on']}T00:00:00Z",
            }  # fmt: skip
            metadata = {"budget_id": row["budget_id"], "remaining": _cents(row["remaining"]), "daily_limit": row["daily_limit"], "currency": row["currency"], "as_of": through}
            yield {**settings, **({"models": models} if models else {}), "metadata": metadata}
