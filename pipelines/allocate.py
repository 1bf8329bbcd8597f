"""ALLOCATE: every portion of every charge to the teams that carry it, by the rules of data/policy/allocation.yaml."""

from __future__ import annotations

import re
from dataclasses import replace

from pipelines import models, policy
from pipelines.allocation import engine, words
from pipelines.errors import Refused
from pipelines.run import Run, Scope
from pipelines.warehouse import transaction

MEASURES = ["effective_cost", "list_cost", "contracted_cost", "billed_cost", "consumed_quantity", "allocated_ratio"]
DIMENSIONS = ["project_id", "application", "environment", "activity"]


def allocate(run: Run, scopes: list[Scope]) -> None:
    """Fills tariffs, period_charges, period_ledger and period_steps for each period; a scope is done after this."""
    for scope in scopes:
        run.say(f"allocate {scope.period.label}")
        policy.register(run.con, scope.policy)
        con = run.con
        con.execute(
            "create or replace temp table portions as select * exclude (usage_period) from charge_portions where usage_period = ?",
            [scope.period.label],
        )
        engine.run(
            con,
            scope.policy.allocation,
            portions="portions",
            measures=MEASURES,
            period=(scope.period.start, scope.period.end),
            driver=lambda name, scope=scope: driver_table(run, scope, name),
            dims=DIMENSIONS,
            known_targets=None,
        )
        _units(run, scope)
        with transaction(con):
            for model in models.stage("allocate"):
                models.replace_period(con, model, scope.params)
            con.execute("insert or replace into period_runs values (?, ?)", [scope.period.label, scope.fingerprint])


def _units(run: Run, scope: Scope) -> None:
    """driver_units: what the quantities of the policy's drivers are counted in; NULL is the currency of the charge."""
    names = sorted({name for rule in scope.policy.allocation.rules for part in rule.parts for name, _ in part.needs})
    run.con.execute("create or replace temp table driver_units(driver varchar, unit varchar)")
    if names:
        run.con.executemany("insert into driver_units values (?, ?)", [(name, words.unit(name)) for name in names])


def driver_table(run: Run, scope: Scope, name: str) -> str | None:
    """A temp table with the driver's rows: one of `sql/allocate/drivers/`, else a landed driver of that name.

    A landed driver that says nothing about this period is empty, so that its rule falls back; one never landed is unknown.
    """
    con = run.con
    table = f"driver_{re.sub(r'[^a-z0-9_]', '_', name)}"
    if model := models.drivers().get(name):
        models.make(con, replace(model, name=table), scope.params)
        return table
    if not con.execute("select count(*) from drivers where driver = ?", [name]).fetchall()[0][0]:
        return None
    landed = con.execute("select distinct unnest(json_keys(keys)) from drivers where driver = ?", [name]).fetchall()
    keys = sorted(row[0] for row in landed)
    odd = [key for key in keys if not re.fullmatch(r"[a-z_][a-z0-9_]*", key)]
    if odd:
        raise Refused(f"driver {name} has a column named {odd[0]!r}", "data/landing/drivers", "use lower-case names with _")
    columns = "".join(f", keys ->> '$.{key}' as {key}" for key in keys)
    con.execute(
        f"create or replace temp table {table} as select usage_date, target, weight{columns} from drivers"
        " where usage_period = $period and driver = $driver",
        {"period": scope.period.label, "driver": name},
    )
    return table
