"""PUBLISH: one versioned DuckDB file, the drafts and the door page, a manifest; the pointer moves last."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from pipelines import guardrails, models, policy, reports
from pipelines.books import file_sha256
from pipelines.errors import Refused
from pipelines.home import Home
from pipelines.normalize import landed_table
from pipelines.policy import prose
from pipelines.run import Run, all_files, digest
from pipelines.warehouse import literal, replace_durably, sync, transaction, write_text

KEEP_VERSIONS = 3
STORAGE = "v1.2.0"  # so that DuckDB 1.x clients can open the file


@dataclass(frozen=True)
class Published:
    """A table as analysts see it: where it comes from, and the order of its rows."""

    name: str
    order: str
    columns: str = "*"

    @property
    def source(self) -> str:
        return f"select {self.columns} from warehouse.main.{self.name}"


TABLES = (
    Published("charges", "charge_id"),
    Published(
        "ledger",
        "period, team_id, usage_date, ledger_id",
        "*, rule_id as allocated_method_id, allocated_details(allocated_ratio, driver_unit, driver_quantity) as allocated_method_details",
    ),
    Published("allocation_steps", "all"),
    Published("shared_costs", "all"),
    Published("statement_lines", "period, version, team_id, line_no"),
    Published("statements", "period, version, team_id, cost_center"),
    Published("cost_changes", "all"),
    Published("journal_lines", "period, version, je_id, line_no"),
    Published("bill_lines", "charge_id, source_file, source_row, usage_date", "* exclude (usage_period)"),
    Published("reconciliation", "all", "usage_period as period, * exclude (usage_period)"),
    Published("price_reconciliation", "all", "usage_period as period, * exclude (usage_period)"),
    Published("billing_coverage", "all"),
    Published("invoices", "all"),
    Published("invoice_reconciliation", "all"),
    Published("provider_usage", "all", "* exclude (usage_period)"),
    Published("usage_evidence", "all"),
    Published("usage_daily", "all"),
    Published("usage_hourly", "all"),
    Published("latency_daily", "all"),
    Published("routing_daily", "all"),
    Published("system_prompts_daily", "all"),
    Published("conversations_daily", "all"),
    Published("chains_daily", "all"),
    Published("gpu_usage", "all", "* exclude (usage_period)"),
    Published("gpu_hourly", "all", "* exclude (usage_period)"),
    Published("serving_coverage", "all", "usage_period as period, * exclude (usage_period)"),
    Published("rates", "all", "distinct * exclude (usage_period)"),
    Published("model_names", "all", "distinct * exclude (usage_period)"),
    Published("blended_rates", "all"),
    Published("gpu_costs", "all"),
    Published("contract_costs", "all"),
    Published("rate_card", "all"),
    Published("gpu_equivalents", "all"),
    Published("recovery", "all"),
    Published("periods", "period"),
    Published("approvals", "period, version, number nulls first"),
    Published("disputes", "period, dispute_id"),
    Published("exchange_rates", "period, currency"),
    Published("period_events", "number"),
    Published("exceptions", "all"),
    Published("cost_daily", "all"),
    Published("budgets", "all"),
    Published("budget_status", "all"),
    Published("budget_thresholds", "all"),
    Published("budget_draws", "all"),
    Published("forecast", "all"),
    Published("anomalies", "all"),
    Published("alerts", "raised_on, alert_id"),
    Published("alert_deliveries", "all"),
    Published("large_requests", "all"),
    Published("call_bursts", "all"),
    Published("forecast_backtest", "all"),
    Published("efficiency", "all"),
    Published("model_mix", "all"),
    Published("cache_savings", "all"),
    Published("index_costs", "all"),
    Published("index_unit_costs", "all"),
    Published("rag_costs", "all"),
    Published("outcomes", "all"),
    Published("unit_economics", "all"),
    Published("guardrails", "all"),
    Published("suggested_limits", "all"),
    Published("gpu_efficiency", "all"),
    Published("gpu_queue", "all"),
    Published("commitment_use", "all"),
    Published("levers", "period, rank"),
    Published("self_hosting", "all"),
    Published("allocation_rules", "rule_id"),
    Published("token_weights", "serving_pool, valid_from nulls first"),
    Published("source_files", "kind, source, path, delivery_id", "* exclude (modified_ns, reader)"),
    Published("quarantine", "kind, source, path, source_row"),
)


def state_fingerprint(run: Run) -> str:
    """A digest of everything that the published content depends on: equal means that there is nothing to do."""
    last = run.books.entries[-1].sha256 if run.books.entries else ""
    files = run.con.execute(
        "select concat_ws('|', kind, source, path, delivery_id, state, reason) from source_files order by 1"
    ).fetchall()
    scopes = [scope.fingerprint for scope in run.scopes()]
    return digest([run.through, run.code, run.policy.fingerprint, last, *scopes, *(row[0] for row in files)])


def current_manifest(home: Home) -> dict[str, Any] | None:
    """The manifest of the version that `current.duckdb` points to, or nothing."""
    if not home.current.is_symlink():
        return None
    path = home.published / Path(os.readlink(home.current)).with_suffix(".manifest.json").name
    return reports.read_manifest(path, "through", "state", "reports", "totals") if path.is_file() else None


def require_manifest(home: Home) -> dict[str, Any]:
    """The manifest of the current version; `Refused` where nothing is published yet."""
    manifest = current_manifest(home)
    if manifest is None:
        raise Refused("nothing is published yet", str(home.root), "run: apportion nightly")
    return manifest


def is_current(run: Run) -> bool:
    """Whether what is published is what would be published now, and all of it is still there."""
    home, manifest = run.home, current_manifest(run.home)
    if manifest is None or manifest["state"] != state_fingerprint(run):
        return False
    wanted = [home.current, *(home.reports / one["path"] for one in (*manifest["reports"], *manifest["pages"]))]
    return all(path.is_file() for path in wanted)


def marts(run: Run) -> None:
    """Fills the tables of `sql/marts/`, the rules in plain language, and what tokens weigh."""
    con = run.con
    policy.register(con, run.policy)
    landed_table(con, "landed_invoices", "invoices", all_files(run, "invoices"))
    for model in models.stage("marts"):
        models.replace_all(con, model, {"through": run.through})
    con.execute("create or replace table warehouse.main.allocation_rules(rule_id varchar, cost_pool varchar, sentence varchar)")
    con.executemany("insert into allocation_rules values (?, ?, ?)", prose.sentences(run.policy))
    con.execute(
        "create or replace table warehouse.main.token_weights(serving_pool varchar, valid_from date, valid_to date,"
        " input_weight decimal(12, 6), cache_read_weight decimal(12, 6), output_weight decimal(12, 6), sentence varchar)"
    )
    if weights := prose.token_weights(run.policy):
        con.executemany("insert into token_weights values (?, ?, ?, ?, ?, ?, ?)", weights)


def publish(run: Run) -> Path:
    """Build the next version, write the drafts, then move the pointer. Returns the published file."""
    home, state = run.home, state_fingerprint(run)
    name = f"apportion-{run.through}-{state[:12]}"
    home.published.mkdir(parents=True, exist_ok=True)
    run.say("publish tables")
    version = home.published / f"{name}.duckdb"
    if not version.exists():
        _build(run, version)
    run.say("write statements")
    before = current_manifest(home)
    files, pages = reports.write(run, version, {one["path"]: one["sha256"] for one in before["reports"]} if before else {})
    pages.texts.update(guardrails.files(run))
    manifest = _manifest(run, state, version, files, pages)
    write_text(home.published / f"{name}.manifest.json", json.dumps(manifest, indent=1, default=str) + "\n")
    pages.write(home.reports)
    _point(home, version)
    pages.clear(home.reports)
    _collect(run)
    return version


def _build(run: Run, version: Path) -> None:
    part = version.with_name(f".{version.name}.part")
    for leftover in (part, Path(f"{part}.wal")):
        leftover.unlink(missing_ok=True)
    con = run.con
    con.execute(f"attach $path as pub (storage_version '{STORAGE}')", {"path": str(part)})
    try:
        for table in TABLES:
            con.execute(f"create table pub.{table.name} as select * from ({table.source}) order by {table.order}")
        with transaction(con):  # a thousand comments: each on its own would wait for the disk
            _views(run)
            _comment(run)
        con.execute("checkpoint pub")
    finally:
        con.execute("detach pub")
    _verify_copy(run, part)
    os.chmod(part, 0o444)
    replace_durably(part, version)


def _views(run: Run) -> None:
    """Views over lake files that are named one by one: never a glob, so that nothing unfinished is ever read."""
    con = run.con
    days = con.execute("select lake_file from usage_days where lake_file is not null order by usage_date").fetchall()
    if days:
        paths = ", ".join(literal(str(run.home.lake / row[0])) for row in days)
        con.execute(f"create view pub.usage_events as select * from read_parquet([{paths}])")


def _comment(run: Run) -> None:
    """COMMENT ON every table and column, from the SQL headers and the shared dictionary."""
    con = run.con
    known = {model.name: model for stage in models.STAGES for model in models.stage(stage)}
    words = models.dictionary()
    relations = con.execute(
        "select table_name, 'table' from duckdb_tables() where database_name = 'pub' union all"
        " select view_name, 'view' from duckdb_views() where database_name = 'pub' and not internal order by 1"
    ).fetchall()
    for name, kind in relations:
        model = known.get(name)
        about = words["tables"].get(name) or (f"{model.description} Grain: {model.grain}." if model else "")
        con.execute(f"comment on {kind} pub.{name} is {literal(about)}")
        columns = con.execute("select column_name from duckdb_columns() where database_name = 'pub' and table_name = ?", [name]).fetchall()
        for (column,) in columns:
            meaning = (model.columns.get(column) if model else None) or words["columns"].get(column, "")
            con.execute(f'comment on column pub.{name}."{column}" is {literal(meaning)}')


def _verify_copy(run: Run, part: Path) -> None:
    """Read the finished file again and compare its rows and totals with the warehouse; a difference stops the night."""
    con = run.con
    con.execute("attach $path as copy_of (read_only)", {"path": str(part)})
    try:
        for table in TABLES:
            there = con.execute(f"select count(*) from copy_of.{table.name}").fetchall()
            here = con.execute(f"select count(*) from ({table.source})").fetchall()
            if there != here:
                raise RuntimeError(f"published table {table.name} has {there[0][0]} rows, the warehouse {here[0][0]}")
        for sums in ("sum(effective_cost)", "sum(chargeback_cost)"):
            if con.execute(f"select {sums} from copy_of.ledger").fetchall() != con.execute(f"select {sums} from ledger").fetchall():
                raise RuntimeError(f"published ledger differs in {sums}")
    finally:
        con.execute("detach copy_of")


def _manifest(run: Run, state: str, version: Path, files: list[reports.Issued], pages: reports.Pages) -> dict[str, Any]:
    con, home = run.con, run.home
    previous = home.published / Path(os.readlink(home.current)).with_suffix(".manifest.json").name if home.current.is_symlink() else None
    totals = con.execute(
        "select period, sum(effective_cost)::varchar, sum(billed_cost)::varchar, sum(chargeback_cost)::varchar, count(*)"
        " from ledger group by all order by 1"
    ).fetchall()
    lake = con.execute("select lake_file, rows from usage_days where lake_file is not null order by usage_date").fetchall()
    return {
        "state": state,
        "through": run.through,
        "previous": file_sha256(previous) if previous and previous.is_file() and previous.stem.removesuffix(".manifest") != version.stem else None,
        "books": {"entries": len(run.books.entries), "sha256": run.books.entries[-1].sha256 if run.books.entries else None},
        "database": {"path": version.name, "bytes": version.stat().st_size, "sha256": file_sha256(version)},
        "lake": [{"path": path, "rows": rows, "sha256": file_sha256(home.lake / path)} for path, rows in lake],
        "reports": [{"path": issued.href, "bytes": issued.bytes, "sha256": issued.sha256} for issued in files],
        "pages": pages.checksums,
        "totals": [dict(zip(("period", "effective_cost", "billed_cost", "chargeback_cost", "ledger_rows"), row, strict=True)) for row in totals],
        "policy": run.policy.fingerprint,
        "code": run.code,
        "engine": f"duckdb {duckdb.__version__}",
    }


def _point(home: Home, version: Path) -> None:
    link = home.published / ".current.new"
    link.unlink(missing_ok=True)
    link.symlink_to(version.name)
    os.replace(link, home.current)
    sync(home.published)


def _collect(run: Run) -> None:
    """Remove old versions and lake files that neither the kept versions nor the warehouse name; last of all."""
    home = run.home
    current = os.readlink(home.current)
    versions = sorted(home.published.glob("apportion-*.duckdb"), key=lambda p: (p.name == current, p.stat().st_mtime_ns), reverse=True)
    needed: set[str] = {row[0] for row in run.con.execute("select lake_file from usage_days where lake_file is not null").fetchall()}
    for path in versions[:KEEP_VERSIONS]:
        manifest = path.with_suffix(".manifest.json")
        if manifest.is_file():
            needed |= {entry["path"] for entry in json.loads(manifest.read_text(encoding="utf-8"))["lake"]}
    for path in versions[KEEP_VERSIONS:]:
        path.with_suffix(".manifest.json").unlink(missing_ok=True)
        path.unlink()
    for path in (home.lake / "usage_events").rglob("*.parquet"):
        if str(path.relative_to(home.lake)) not in needed:
            path.unlink()
    known = {row[0] for row in run.con.execute("select lake_file from source_files where lake_file is not null").fetchall()}
    for path in (home.lake / "landed").rglob("*.parquet"):
        if str(path.relative_to(home.lake)) not in known:
            path.unlink()
    for path in home.published.glob(".*.part*"):
        if re.fullmatch(r"\.apportion-.*\.part(\.wal)?", path.name):
            path.unlink()
