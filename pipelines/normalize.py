"""NORMALIZE: bills, GPU usage and drivers of a period in one shape each, with what belongs to whom."""

from __future__ import annotations

from datetime import date, timedelta

import duckdb

from pipelines import models, policy, prices
from pipelines.run import Run, Scope, all_files, landed_files
from pipelines.sources import SHAPES
from pipelines.warehouse import literal, transaction

_LANDED = {
    "billing": "landed_bills", "usage": "landed_usage", "gpu": "landed_gpu", "drivers": "landed_drivers", "invoices": "landed_invoices",
}  # fmt: skip


def normalize(run: Run, scopes: list[Scope]) -> None:
    """Fills model_names, bill_lines, billed_days, provider_usage, reported_days, gpu_usage and drivers for each period."""
    _log_models(run)
    for scope in scopes:
        run.say(f"normalize {scope.period.label}")
        policy.register(run.con, scope.policy)
        _name_models(run, scope)
        for kind, view in _LANDED.items():
            _landed(run, kind, view, scope)
        with transaction(run.con):
            for model in models.stage("normalize"):
                models.replace_period(run.con, model, scope.params)


def _log_models(run: Run) -> None:
    """Remember which model names each delivery uses, once per delivery."""
    new = run.con.execute(
        "select kind, delivery_id, any_value(lake_file) from source_files where kind in ('gateway', 'billing', 'usage')"
        " and state = 'landed' and good > 0 and delivery_id not in (select delivery_id from logged_models) group by all order by 2"
    ).fetchall()
    for kind, name in (("gateway", "provider"), ("billing", "source"), ("usage", "source")):
        files = [str(run.home.lake / row[2]) for row in new if row[0] == kind]
        if files:
            run.con.execute(
                f"insert into logged_models select distinct delivery_id, {name}, model_as_logged from read_parquet(?)", [files]
            )


def _name_models(run: Run, scope: Scope) -> None:
    """One canonical model per (provider, name as logged), on record with the rule that decided it."""
    con = run.con
    con.execute(
        """
        create or replace temp table logged_pairs as
        select distinct coalesce(b.provider, u.provider, l.provider) as provider, l.model_as_logged
        from logged_models l
        left join source_files f on f.delivery_id = l.delivery_id and f.kind in ('billing', 'usage')
        left join policy_billing b on f.kind = 'billing' and b.source = f.source
        left join policy_usage u on f.kind = 'usage' and u.source = f.source
        where l.model_as_logged is not null and l.provider is not null
        """
    )
    overrides = [
        prices.Override(name.provider, name.logged, name.prices_of or name.provider, name.model)
        for name in scope.policy.sources.models
        if (name.start or date.min) <= scope.period.start < (name.end or date.max)
    ]
    prices.resolve_models(con, "logged_pairs", scope.list_prices, (scope.period.start, scope.period.end), overrides)


def _landed(run: Run, kind: str, view: str, scope: Scope) -> None:
    """The landed rows of one kind that may speak about the period, as a temp table; empty where there are none."""
    first, last = scope.period.start, scope.period.end
    if kind == "billing":  # a fee paid for a year, or a line that the vendor booked in another month
        first, last = min(first - timedelta(days=370), scope.policy.reaches_back(scope.period)), last + timedelta(days=370)
    files = all_files(run, kind) if kind in ("drivers", "invoices") else landed_files(run.con, run.home, kind, first, last)
    landed_table(run.con, view, kind, files)


def landed_table(con: duckdb.DuckDBPyConnection, name: str, kind: str, files: list[str]) -> None:
    """`name` as a temp table over lake files of one kind; with the same columns when there are none."""
    if files:
        con.execute(f"create or replace temp table {name} as select * from read_parquet($files, union_by_name = true)", {"files": files})
    else:
        con.execute(f"create or replace temp table {name} as {_nothing(kind)}")


def landed_view(con: duckdb.DuckDBPyConnection, name: str, kind: str, files: list[str], days: list[date]) -> None:
    """`name` as a temp view of some days over lake files of one kind: for what is read once or twice, and is large."""
    listed = ", ".join(literal(file) for file in files)
    of_days = ", ".join(f"date '{day}'" for day in days)
    rows = f"select * from read_parquet([{listed}], union_by_name = true) where usage_date in ({of_days})" if files else _nothing(kind)
    con.execute(f"create or replace temp view {name} as {rows}")


def _nothing(kind: str) -> str:
    extra = {**({"usage_date": "DATE"} if kind == "gateway" else {}), "source": "VARCHAR", "delivery_id": "VARCHAR", "source_row": "BIGINT", "source_file": "VARCHAR"}
    return f"select {', '.join(f'null::{type_} as {column}' for column, type_ in {**SHAPES[kind], **extra}.items())} limit 0"
