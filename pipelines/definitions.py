"""What Dagster loads: one multi-asset per stage, its tables as outputs; two jobs; a nightly schedule. No logic."""

import os
from collections.abc import Iterator
from datetime import date
from typing import Any

import dagster as dg

from pipelines import allocate, checks, close, insight, jobs, models, normalize, notify, publish, rate, reconcile
from pipelines.home import Home
from pipelines.run import Run, open_run

LANDED = ("source_files", "quarantine", "delivery_days", "bill_coverage", "event_losers")
MONEY_COLUMNS = ("effective_cost", "chargeback_cost", "billed_cost", "contracted_cost", "amount")


@dg.resource(
    config_schema={
        "home": dg.Field(dg.Noneable(str), default_value=None, is_required=False),
        "through": dg.Field(dg.Noneable(str), default_value=None, is_required=False, description="YYYY-MM-DD; default: yesterday, UTC"),
    },
    description="The home, locked, with its database and books open, as of one day.",
)
def run_resource(context: dg.InitResourceContext) -> Iterator[Run]:
    home = Home.find(context.resource_config["home"])
    given = context.resource_config["through"]
    through = date.fromisoformat(given) if given else jobs.default_through(home)
    with open_run(home, through, context.log.info if context.log else print) as run:
        yield run


def _spec(model: models.Model, upstream: set[str]) -> dg.AssetSpec:
    reads = sorted(model.reads & upstream)
    columns = [dg.TableColumn(name, description=text) for name, text in model.columns.items()]
    return dg.AssetSpec(
        model.name,
        deps=reads,
        group_name=model.stage,
        kinds={"duckdb", "sql"},
        description=f"{model.description}\n\nGrain: {model.grain}\n\n```sql\n{model.sql}\n```",
        code_version=model.code_version,
        metadata={"dagster/column_schema": dg.TableSchema(columns)} if columns else {},
    )


def _specs(stage: str) -> list[dg.AssetSpec]:
    before = {*LANDED, *(m.name for s in models.STAGES[: models.STAGES.index(stage) + 1] for m in models.stage(s))}
    specs = [_spec(model, before - {model.name}) for model in models.stage(stage)]
    first = LANDED if stage == "normalize" else tuple(m.name for m in models.stage(models.STAGES[models.STAGES.index(stage) - 1]))
    # A stage reads only the stages before it, and starts when the one before is done.
    return [spec.merge_attributes(deps=[name for name in first if name not in {d.asset_key.to_user_string() for d in spec.deps}]) for spec in specs]


def _measures(run: Run, table: str) -> dict[str, Any]:
    """Rows, columns and dollars of a table as metadata: dollars both exactly and as a number to plot."""
    columns = run.con.execute(
        "select column_name, data_type from duckdb_columns() where table_name = ? and database_name = 'warehouse' order by column_index", [table]
    ).fetchall()
    if not columns:
        return {}
    words = models.dictionary()["columns"]
    found: dict[str, Any] = {
        "dagster/row_count": run.con.execute(f"select count(*) from {table}").fetchall()[0][0],
        "dagster/table_name": table,
        "dagster/column_schema": dg.TableSchema([dg.TableColumn(n, t, words.get(n, "")) for n, t in columns]),
    }
    names = {name for name, _ in columns}
    for column in MONEY_COLUMNS:
        if column in names:
            total = run.con.execute(f"select sum({column})::decimal(38, 2) from {table}").fetchall()[0][0]
            found[f"{column}_exact"] = str(total or 0)
            found[f"{column}"] = float(total or 0)
            break
    return found


def _materialized(run: Run, tables: list[str]) -> Iterator[dg.MaterializeResult]:
    for table in tables:
        yield dg.MaterializeResult(table, metadata=_measures(run, table))


@dg.multi_asset(
    name="land",
    specs=[dg.AssetSpec(name, group_name="land", kinds={"duckdb"}, description=f"Landing: {name}.") for name in LANDED],
)
def land(context: dg.AssetExecutionContext, run: dg.ResourceParam[Run]) -> Iterator[dg.MaterializeResult]:
    """Each delivery once: checksum, quarantine, arrival record."""
    if run.landed is None:
        jobs.land(run)
    for refused in run.refused:
        context.log.error(str(refused))
    yield from _materialized(run, list(LANDED))


def _stage_asset(stage: str, work: Any) -> dg.AssetsDefinition:
    @dg.multi_asset(name=f"{stage}_stage", specs=_specs(stage))
    def stage_asset(run: dg.ResourceParam[Run]) -> Iterator[dg.MaterializeResult]:
        work(run, run.stale())
        yield from _materialized(run, [model.name for model in models.stage(stage)])

    return stage_asset


@dg.multi_asset(
    name="close_stage",
    specs=_specs("close"),
    check_specs=[
        dg.AssetCheckSpec(m.name, asset="ledger", blocking=checks.severity(m.name) == "fail", description=m.description)
        for m in models.checks()
    ],
)
def close_stage(run: dg.ResourceParam[Run]) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """Charges and ledger as booked, statements in cents, and every invariant over them."""
    close.book(run, run.scopes())
    yield from _materialized(run, [model.name for model in models.stage("close")])
    for result in checks.run_checks(run):
        yield dg.AssetCheckResult(
            passed=not result.bad_rows,
            asset_key="ledger",
            check_name=result.name,
            severity=dg.AssetCheckSeverity.ERROR if result.severity == "fail" else dg.AssetCheckSeverity.WARN,
            metadata={"bad_rows": result.bad_rows, "first": result.first},
        )


@dg.multi_asset(
    name="publish_stage",
    specs=[
        *_specs("marts"),
        *_specs("insight"),
        dg.AssetSpec(
            "current",
            deps=[m.name for m in models.stage("close")],
            group_name="publish",
            kinds={"duckdb", "excel", "html"},
            description="The published DuckDB file, the statements and the door page; the pointer moves last.",
        ),
    ],
    check_specs=[
        dg.AssetCheckSpec("no_open_alerts", asset="alerts", description="Nothing out of the ordinary waits for an answer."),
        dg.AssetCheckSpec("alerts_delivered", asset="alert_deliveries", description="Every channel took the alerts that are for it."),
    ],
)
def publish_stage(context: dg.AssetExecutionContext, run: dg.ResourceParam[Run]) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """Tables for analysts, alerts for their owners, workbooks for finance, one pointer."""
    publish.marts(run)
    insight.insight(run)
    unsent = notify.deliver(run)
    for refused in unsent:
        context.log.warning(str(refused))
    opened = run.con.execute("select raised_on || ' ' || evidence from alerts where state = 'open' order by raised_on, alert_id").fetchall()
    yield _warning("alerts", "no_open_alerts", [row[0] for row in opened])
    yield _warning("alert_deliveries", "alerts_delivered", [str(refused) for refused in unsent])
    yield from _materialized(run, [model.name for stage in ("marts", "insight") for model in models.stage(stage)])
    version = publish.publish(run)
    links = {"path": str(version)}
    base = os.environ.get("REPORTS_URL")
    if base:
        links["statements"] = dg.MetadataValue.url(f"{base.rstrip('/')}/index.html")
    yield dg.MaterializeResult("current", metadata=links)


def _warning(asset: str, name: str, found: list[str]) -> dg.AssetCheckResult:
    """A check that warns of everything found."""
    return dg.AssetCheckResult(
        passed=not found,
        asset_key=asset,
        check_name=name,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"count": len(found), "first": found[0] if found else ""},
    )


class CloseMonth(dg.Config):
    """Which month to close, and who closes it."""

    period: str
    actor: str = "dagster"
    home: str | None = None


@dg.op
def close_month(context: dg.OpExecutionContext, config: CloseMonth) -> None:
    """Run the close checks, freeze the period, issue version 1."""
    jobs.close(Home.find(config.home), config.period, config.actor, context.log.info)


@dg.job(description="Close a month: checks, freeze, version 1.")
def month_close() -> None:
    close_month()


ASSETS = [
    land,
    _stage_asset("normalize", normalize.normalize),
    _stage_asset("rate", rate.rate),
    _stage_asset("reconcile", reconcile.reconcile),
    _stage_asset("allocate", allocate.allocate),
    close_stage,
    publish_stage,
]

nightly = dg.define_asset_job(
    "nightly",
    selection=dg.AssetSelection.all(),
    description="Everything new in landing, through to published tables and draft statements.",
)

defs = dg.Definitions(
    assets=ASSETS,
    jobs=[nightly, month_close],
    schedules=[dg.ScheduleDefinition(name="every_night", job=nightly, cron_schedule="0 4 * * *", execution_timezone="UTC")],
    resources={"run": run_resource},
    executor=dg.in_process_executor,
)
