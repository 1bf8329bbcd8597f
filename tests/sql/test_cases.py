"""Small cases for models, one folder a model: rows in, rows out.

A case is a YAML file: `through` the as-of day, `params` other parameters of the model, `given` rows of the tables that the model reads (a column that is left out is
NULL, a table that is left out is empty), `expect` all rows of the model (`where` says otherwise), by the columns that matter. Tables have the shapes
that a real night gives them; a column that no table has is an error.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from pipelines import models
from pipelines.home import Home, asset
from pipelines.normalize import landed_table
from pipelines.policy.tables import COLUMNS

CASES = sorted(Path(__file__).parent.glob("*/*.yaml"))
Shapes = dict[str, dict[str, str]]


@pytest.fixture(scope="session")
def shapes(small_company: Home) -> Shapes:
    """Table -> column -> type, of a warehouse after a night, of what lands, of events, and of the policy."""
    con = duckdb.connect()
    con.execute(f"attach '{small_company.warehouse}' as w (read_only)")
    found: Shapes = {}
    for table, column, kind in con.execute("select table_name, column_name, data_type from duckdb_columns() where database_name = 'w'").fetchall():
        found.setdefault(table, {})[column] = kind
    for kind in ("invoices", "outcomes"):
        landed_table(con, f"landed_{kind}", kind, [])
        found[f"landed_{kind}"] = {row[0]: row[1] for row in con.execute(f"describe landed_{kind}").fetchall()}
    events = next(small_company.lake.glob("usage_events/*/*.parquet"))
    found["usage_events"] = {row[0]: row[1] for row in con.execute("describe from read_parquet(?)", [str(events)]).fetchall()}
    for name, columns in COLUMNS.items():
        con.execute(f"create temp table policy_{name}({columns})")
        found[f"policy_{name}"] = {row[0]: row[1] for row in con.execute(f"describe policy_{name}").fetchall()}
    con.close()
    published = duckdb.connect(str(small_company.current), read_only=True)
    found["usage_events"] = {row[0]: row[1] for row in published.execute("describe usage_events").fetchall()}
    published.close()
    return found


def plain(value: Any) -> str | None:
    """A value as text, however it is written: 1.50 is 1.5, a date is YYYY-MM-DD."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, Decimal)):
        return f"{Decimal(value).normalize():f}"
    if isinstance(value, float):
        return plain(Decimal(f"{value:.12g}"))
    if isinstance(value, str) and value.replace(".", "", 1).lstrip("-").isdigit():
        return plain(Decimal(value))
    return None if value is None else str(value)


def fill(con: duckdb.DuckDBPyConnection, table: str, shape: dict[str, str], rows: list[dict[str, Any]]) -> None:
    con.execute(f"create temp table {table}(" + ", ".join(f'"{name}" {kind}' for name, kind in shape.items()) + ")")
    for row in rows:
        unknown = row.keys() - shape.keys()
        assert not unknown, f"{table} has no column {sorted(unknown)}"
        names = ", ".join(f'"{name}"' for name in row)
        values = [None if value is None else str(value) for value in row.values()]
        con.execute(f"insert into {table}({names}) values ({', '.join('?' * len(values))})", values)


def test_every_figure_and_alert_has_cases() -> None:
    without = {m.name for m in models.stage("insight")} - {path.parent.name for path in CASES}
    assert not without, f"no case under tests/sql/ for {sorted(without)}"


@pytest.mark.parametrize("path", CASES, ids=[f"{path.parent.name}/{path.stem}" for path in CASES])
def test_case(path: Path, shapes: Shapes) -> None:
    case = yaml.safe_load(path.read_text(encoding="utf-8"))
    model = next(m for stage in models.STAGES for m in models.stage(stage) if m.name == path.parent.name)
    given = case.get("given") or {}
    assert given.keys() <= model.reads, f"{model.name} does not read {sorted(given.keys() - model.reads)}"
    con = duckdb.connect()
    con.execute(asset("sql", "macros.sql").read_text(encoding="utf-8"))
    for table in model.reads:
        fill(con, table, shapes[table], given.get(table, []))
    through = case.get("through", date(2026, 10, 31))
    models.make(con, model, {"through": through, **case.get("params", {})})
    result = con.execute(f"from {model.name} where {case.get('where', 'true')}")
    names = [column[0] for column in result.description]
    rows = [dict(zip(names, row, strict=True)) for row in result.fetchall()]
    wanted = case["expect"] or []
    columns = list(dict.fromkeys(name for row in wanted for name in row))
    assert set(columns) <= set(names), f"{model.name} has no column {sorted(set(columns) - set(names))}"
    found = sorted(repr({name: plain(row[name]) for name in columns}) for row in rows)
    assert found == sorted(repr({name: plain(row.get(name)) for name in columns}) for row in wanted)
