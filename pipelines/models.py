"""The SQL under `sql/`: one SELECT per file, the file name is the table, the header says what it is.

A header looks like this, and its words become the comments of the published table and of the Dagster asset:

    -- One sentence of purpose.
    -- grain: the columns that identify a row
    --   column: what it holds, where the shared dictionary `sql/columns.yaml` does not say it;
    --     further words of it, indented

A driver under `sql/allocate/drivers/` also says what it counts, for sentences and for FOCUS:

    -- called: searches
    -- unit: Queries, or `currency` where it is that of the charge
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import duckdb

from pipelines.home import asset
from pipelines.warehouse import tables

STAGES = ("normalize", "rate", "reconcile", "allocate", "close", "marts", "insight")


@dataclass(frozen=True)
class Model:
    """One SQL file: a SELECT over other tables by name, with `$parameters` for values."""

    stage: str
    name: str
    sql: str
    description: str
    grain: str
    columns: Mapping[str, str] = field(default_factory=dict)
    reads: frozenset[str] = frozenset()
    called: str = ""
    unit: str = ""

    @property
    def parameters(self) -> frozenset[str]:
        return frozenset(re.findall(r"\$([a-z_]+)", re.sub(r"--[^\n]*", "", self.sql)))

    @property
    def code_version(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()[:12]


@cache
def stage(name: str) -> tuple[Model, ...]:
    """The models of one stage, in the order in which they can be made."""
    models = {m.name: m for m in (_read(name, path) for path in sorted(asset("sql", name).glob("*.sql")))}
    order = TopologicalSorter({m.name: m.reads & models.keys() - {m.name} for m in models.values()})
    return tuple(models[n] for n in order.static_order())


@cache
def checks() -> tuple[Model, ...]:
    return tuple(_read("checks", path) for path in sorted(asset("sql", "checks").glob("*.sql")))


@cache
def drivers() -> dict[str, Model]:
    """What cost can be shared by, by name: a SELECT with target, weight and keys."""
    return {path.stem: _read("drivers", path) for path in sorted(asset("sql", "allocate", "drivers").glob("*.sql"))}


@cache
def dictionary() -> dict[str, str]:
    """What each column name means wherever it appears."""
    from ruamel.yaml import YAML

    return dict(YAML(typ="safe").load(asset("sql", "columns.yaml")))


def sql_fingerprint() -> str:
    """A digest of the models: tables made by others are made anew."""
    return hashlib.sha256("".join(m.stage + m.name + m.sql for s in STAGES for m in stage(s)).encode()).hexdigest()


def code_fingerprint() -> str:
    """A digest of everything that decides figures: the SQL and the modules of the stages."""
    package = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted([*asset("sql").rglob("*.sql"), *package.rglob("*.py")]):
        part = path.relative_to(package).parts[0] if path.is_relative_to(package) else "sql"
        if part not in ("sample", "cli.py", "definitions.py", "_assets"):
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def make(con: duckdb.DuckDBPyConnection, model: Model, params: Mapping[str, Any]) -> None:
    """The model as a temp table of its own name, made anew."""
    con.execute(f"create or replace temp table {model.name} as {model.sql}", _bound(model, params))


def make_through(con: duckdb.DuckDBPyConnection, inner: Model, model: Model, params: Mapping[str, Any]) -> None:
    """The model as a temp table of its own name, made anew; `inner`, which only it reads, is never held on its own."""
    select, bound = through(inner, model, params)
    con.execute(f"create or replace temp table {model.name} as {select}", bound)


def through(inner: Model, model: Model, params: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The model as one SELECT together with `inner`, which only it reads, and its values."""
    select = f"with {inner.name} as not materialized ({inner.sql}) from ({model.sql})"
    return select, {**_bound(inner, params), **_bound(model, params)}


def replace_period(con: duckdb.DuckDBPyConnection, model: Model, params: Mapping[str, Any]) -> None:
    """The model's rows of one usage period, replacing those it had, in the warehouse table of its name.

    The table gets a first column `usage_period`.
    """
    body = f"select $period as usage_period, * from ({model.sql})"
    bound = {**_bound(model, params), "period": params["period"]}
    _replace(con, model.name, body, bound, "usage_period = $period", {"period": params["period"]})


def replace_days(con: duckdb.DuckDBPyConnection, model: Model, params: Mapping[str, Any], days: list[date]) -> None:
    """The model's rows of some days, replacing those they had, in the warehouse table of its name."""
    bound = _bound(model, params)
    _replace(con, model.name, model.sql, bound, "usage_date in (select unnest($days))", {"days": days})


def replace_all(con: duckdb.DuckDBPyConnection, model: Model, params: Mapping[str, Any]) -> None:
    """The whole warehouse table of the model's name, made anew."""
    con.execute(f"create or replace table warehouse.main.{model.name} as {model.sql}", _bound(model, params))
    tables(con).add(model.name)


def _replace(con: duckdb.DuckDBPyConnection, name: str, body: str, bound: dict[str, Any], where: str, values: dict[str, Any]) -> None:
    """The rows of a warehouse table that are `where`, replaced by those of `body`; the table is made where it is missing."""
    table = f"warehouse.main.{name}"
    if name in tables(con):
        con.execute(f"delete from {table} where {where}", values)
        con.execute(f"insert into {table} {body}", bound)
    else:
        con.execute(f"create table {table} as {body}", bound)
        tables(con).add(name)


def _bound(model: Model, params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: params[name] for name in model.parameters}


def _read(stage_name: str, path: Path) -> Model:
    text = path.read_text(encoding="utf-8")
    header = [line[2:].rstrip() for line in text.splitlines() if line.startswith("--")]
    facts = dict(found.groups() for line in header if (found := re.match(r" (grain|called|unit): (.*)", line)))
    prose = [line.strip() for line in header if re.match(r" \S", line) and not re.match(r" (grain|called|unit): ", line)]
    columns = dict(
        (part.strip() for part in line.split(":", 1)) for line in _whole(header) if line.startswith("   ") and ":" in line
    )
    body = "\n".join(line for line in text.splitlines() if not line.startswith("--")).strip().rstrip(";")
    return Model(stage_name, path.stem, body, " ".join(prose), facts.pop("grain", ""), columns, _tables(body), **facts)


def _whole(header: list[str]) -> list[str]:
    """Lines of a header, those that are indented as a continuation joined to the one before."""
    lines: list[str] = []
    for line in header:
        if lines and line.startswith("     "):
            lines[-1] += " " + line.strip()
        else:
            lines.append(line)
    return lines


def _tables(sql: str) -> frozenset[str]:
    """Names of the tables that a SELECT reads, as DuckDB itself parses it."""
    con = _parser()
    tree = json.loads(con.execute("select json_serialize_sql(?)", [sql]).fetchall()[0][0])
    if tree.get("error"):
        raise ValueError(f"{tree.get('error_message')}: {sql[:80]}")
    found: set[str] = set()
    names: set[str] = set()

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if node.get("type") == "BASE_TABLE":
                found.add(node["table_name"])
            for entry in (node.get("cte_map") or {}).get("map", []):
                names.add(entry["key"])
            for child in node.values():
                walk(child)
        elif isinstance(node, list):
            for child in node:
                walk(child)

    walk(tree)
    return frozenset(found - names)


@cache
def _parser() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()
