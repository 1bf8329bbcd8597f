"""A company of three teams and one vendor whose bill is a small CSV, to close months of in seconds."""

from __future__ import annotations

import shutil
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipelines import guardrails, jobs, models, publish, reports, warehouse
from pipelines.home import Home
from tests.conftest import empty_home, quiet

SOURCES = """
version: 1
billing:
  - name: vendor
    format: mapped_bill
    provider: vendor
    legal_entity: MAIN
    shrink_limit: 100
    fields: {billing_account_id: {value: acct}, day: day, cost: cost, currency: currency, charge_category: category, service: {value: API},
             sku_meter: what, sub_account_id: project}
fx: [{name: treasury, format: fx_csv}]
drivers: [{name: hr, format: drivers_csv}]
"""
COMPANY = """
version: 1
name: Three
currency: USD
legal_entities: [{id: MAIN, name: Main}, {id: SUB, name: Subsidiary}]
cost_centers: [{id: CC-1, name: One, legal_entity: MAIN}, {id: CC-2, name: Two, legal_entity: SUB}]
calendar: {first_period: 2026-09, soft_close_working_day: 2}
platform_team: platform
"""
TEAMS = """
version: 1
teams:
  - {id: platform, name: Platform, cost_center: CC-1, mode: showback}
  - {id: a, name: A, cost_center: CC-1, mode: chargeback, belongs: [{provider_project: p-a}]}
  - {id: b, name: B, cost_center: CC-2, mode: chargeback, belongs: [{provider_project: p-b}]}
"""
ALLOCATION = """
version: 1
pools: {shared: "sku_meter = 'shared'", rest: "true"}
rules:
  - {id: shared, pool: shared, by: [charge_id], method: fixed, weights: {a: 2, b: 1}}
  - {id: owner, pool: rest, method: direct, owner_column: owner, fallback: [{to: unallocated}]}
"""
CLOSE = """
version: 1
tolerance: {unallocated_percent: "100"}
"""
HEAD = "day,project,what,cost,currency,category\n"


def only_the_books(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quick nights over a few rows, for tests of the books."""
    without_reports(monkeypatch)
    few_rows(monkeypatch)


def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Queries are planned as they are written: over a few rows an optimizer costs more than it saves."""
    lock_down = warehouse.lock_down

    def plain(con: duckdb.DuckDBPyConnection, folders: list[Path]) -> None:
        con.execute("pragma disable_optimizer")
        con.execute("set threads = 1")
        lock_down(con, folders)

    monkeypatch.setattr(warehouse, "lock_down", plain)


def without_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nights end with statements, journals and exceptions: no workbook, no comment, no other mart; a full home's tables are made anew."""
    without_files(monkeypatch)
    stage, unread = models.stage, _beside_the_books()
    monkeypatch.setattr(models, "stage", lambda name: tuple(model for model in stage(name) if model.name not in unread))
    monkeypatch.setattr(publish, "TABLES", tuple(table for table in publish.TABLES if table.name not in unread))


def without_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nights end with the published tables: no workbook, no page, no comment."""
    monkeypatch.setattr(models, "code_fingerprint", cache(models.code_fingerprint))
    monkeypatch.setattr(reports, "write", lambda run, version, before: ([], reports.Pages({}, "weekly")))
    monkeypatch.setattr(guardrails, "files", lambda run: {})
    monkeypatch.setattr(publish, "_comment", lambda run: None)


def _beside_the_books() -> set[str]:
    """Marts and insights that neither the exceptions nor `apportion status` read."""
    made = {model.name: model for name in ("marts", "insight") for model in models.stage(name)}
    kept, wanted = set(), {"exceptions", "billing_coverage", "alerts", "alert_deliveries"}
    while wanted:
        kept |= wanted
        wanted = {name for model in wanted for name in made[model].reads & made.keys()} - kept
    return made.keys() - kept


class Company:
    """One home, its nights, and what they publish."""

    def __init__(self, root: Path, close: str = "") -> None:
        self.home = empty_home(root, SOURCES)
        for name, text in (("company", COMPANY), ("teams", TEAMS), ("allocation", ALLOCATION), ("close", CLOSE + close)):
            self.policy(name, text)
        self.bills = 0

    @classmethod
    def copy(cls, other: Company, root: Path) -> Company:
        """The same company at another place."""
        made = cls.__new__(cls)
        made.home, made.bills = Home(shutil.copytree(other.home.root, root, symlinks=True)), other.bills
        return made

    def policy(self, name: str, text: str) -> None:
        (self.home.policy / f"{name}.yaml").write_text(text)

    def bill(self, *lines: str, name: str = "") -> None:
        """A delivery: lines of `day,project,what,cost[,currency[,category]]`; it replaces every day it names."""
        self.bills += 1
        whole = [line + {3: ",USD,Usage", 4: ",Usage", 5: ""}[line.count(",")] for line in lines]
        self.land("billing/vendor", name or f"{self.bills:03}.csv", HEAD + "\n".join(whole) + "\n")

    def land(self, folder: str, name: str, text: str) -> None:
        path = self.home.landing / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def night(self, day: str) -> jobs.Outcome:
        outcome = jobs.nightly(self.home, date.fromisoformat(day), quiet)
        assert outcome.refused == []
        return outcome

    def close(self, label: str, actor: str = "carol") -> jobs.Outcome:
        return jobs.close(self.home, label, actor, quiet)

    def reopen(self, label: str, reason: str = "a late bill") -> jobs.Outcome:
        return jobs.reopen(self.home, label, "carol", reason, quiet)

    def rows(self, sql: str, *params: Any) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.home.current), read_only=True) as con:
            return con.execute(sql, list(params)).fetchall()

    def amounts(self, period: str, version: int = 0) -> dict[str, str]:
        """Team -> total of its statements."""
        found = self.rows("select team_id, sum(amount)::varchar from statement_lines where period = ? and version = ? group by all", period, version)
        return dict(found)

    def content(self) -> dict[str, Any]:
        """Everything that is published, table by table, and the bytes of every issued statement."""
        with duckdb.connect(str(self.home.current), read_only=True) as con:
            tables = [row[0] for row in con.execute("select table_name from duckdb_tables() order by 1").fetchall()]
            found: dict[str, Any] = {table: con.execute(f"from {table}").fetchall() for table in tables}
        return found | {str(path.relative_to(self.home.root)): path.read_bytes() for path in sorted(self.home.reports.rglob("*")) if path.is_file()}

    def forget(self) -> None:
        """Remove everything that landing, policy and books can make again."""
        self.home.warehouse.unlink()
        for folder in (self.home.lake, self.home.published):
            shutil.rmtree(folder)
