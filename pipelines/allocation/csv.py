"""`apportion allocate`: the engine on plain CSV files, without a home."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TextIO

import duckdb
import pyarrow as pa

from pipelines import warehouse
from pipelines.allocation import engine, rules
from pipelines.errors import Refused

COLUMNS = ("charge_id", "rule_id", "stage", "target", "weight", "weight_total", "fallback_level", "cost")
PLACES = 12  # decimals that DECIMAL(38,12) holds
LARGEST = Decimal(10) ** 25


def allocate(rules_file: Path, charges: Path, drivers: Path | None = None, out: Path | None = None) -> None:
    """Split `charges` by the rules; writes COLUMNS to `out`, or to standard output.

    Each calendar month of the charges is a period of its own. Raises `Refused` before anything is written.
    """
    con = warehouse.memory()
    try:
        names = _drivers(con, drivers) if drivers else {}
        policy = rules.load(rules_file, drivers=names)
        months = _charges(con, charges)
        con.execute("set enable_external_access = false")
        rows: list[tuple[Any, ...]] = []
        for start, end in months:
            rows += _month(con, policy, names, start, end)
    finally:
        con.close()
    if out is None:
        _write(sys.stdout, rows)
    else:
        with open(out, "w", encoding="utf-8", newline="") as file:
            _write(file, rows)


def _month(
    con: duckdb.DuckDBPyConnection, policy: rules.AllocationPolicy, names: dict[str, str], start: date, end: date
) -> list[tuple[Any, ...]]:
    con.execute(
        "create or replace temp table portions as from charges where usage_date >= ? and usage_date < ?", [start, end]
    )
    engine.run(con, policy, portions="portions", measures=["cost"], period=(start, end), driver=names.get)
    return con.execute(
        """
        select charge_id, rule_id, stage, target, coalesce(driver_quantity, 1), coalesce(driver_total, 1), fallback_level, cost
        from allocations
        order by charge_id, stage, rule_id, part, target, cost
        """
    ).fetchall()


def _write(file: TextIO, rows: Iterable[tuple[Any, ...]]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for *head, weight, total, level, cost in rows:
        writer.writerow([*head, _plain(weight), _plain(total), level, f"{cost:f}"])


def _plain(number: Decimal | int) -> str:
    text = f"{number:f}" if isinstance(number, Decimal) else str(number)
    return text.rstrip("0").rstrip(".") if "." in text else text


def _charges(con: duckdb.DuckDBPyConnection, path: Path) -> list[tuple[date, date]]:
    """Table `charges` from the file; returns the months it covers as [first day, first day of the next)."""
    columns, rows = _read(path, ("charge_id", "usage_date", "cost"))
    days, costs, seen = [], [], set()
    for where, row in rows:
        if not row["charge_id"] or row["charge_id"] in seen:
            raise Refused(
                "charge_id is blank" if not row["charge_id"] else "charge_id appears twice",
                where,
                "give every charge its own id",
            )
        seen.add(row["charge_id"])
        days.append(_day(row["usage_date"], where))
        cost = _number(row["cost"], "cost", where)
        if cost != round(cost, PLACES) or abs(cost) >= LARGEST:
            raise Refused("cost has more digits than twelve decimals, or more than 25 before them", where, "round it")
        costs.append(f"{cost:f}")
    text = {name: [row[name] for _, row in rows] for name in columns if name not in ("usage_date", "cost", "portion")}
    table = pa.table(
        {
            **{n: pa.array(v, pa.string()) for n, v in text.items()},
            "usage_date": pa.array(days, pa.date32()),
            "cost": pa.array(costs, pa.string()),
        }
    )
    con.register("given", table)
    con.execute(
        "create temp table charges as select * replace (cost::decimal(38, 12) as cost), 'whole' as portion from given"
    )
    con.unregister("given")
    months = sorted({day.replace(day=1) for day in days})
    return [(month, date(month.year + month.month // 12, month.month % 12 + 1, 1)) for month in months]


def _drivers(con: duckdb.DuckDBPyConnection, path: Path) -> dict[str, str]:
    """Table `drivers`, and one SELECT for each driver in it, by name. Weights keep every digit."""
    columns, rows = _read(path, ("driver", "target", "weight"))
    per: dict[str, list[tuple[Decimal, dict[str, Any]]]] = {}
    for where, row in rows:
        if not row["driver"] or not row["target"]:
            raise Refused("driver or target is blank", where, "name both")
        weight = _number(row["weight"], "weight", where)
        if weight < 0:
            raise Refused("negative weight", where, "weights are zero or more")
        if "usage_date" in row:
            row["usage_date"] = _day(row["usage_date"], where) if row["usage_date"] else None
        per.setdefault(row["driver"], []).append((weight, row))
    found = {}
    for number, (name, members) in enumerate(per.items()):
        table = f"given_{number}"
        keys = [c for c in columns if c not in ("driver", "weight")]
        data = {
            c: pa.array([row[c] for _, row in members], pa.date32() if c == "usage_date" else pa.string()) for c in keys
        }
        whole, kind = _exact([weight for weight, _ in members])
        con.register("given", pa.table({**data, "weight": pa.array(whole, pa.string())}))
        con.execute(f"create temp table {table} as select * replace (weight::{kind} as weight) from given")
        con.unregister("given")
        found[name] = table
    return found


def _exact(weights: list[Decimal]) -> tuple[list[str], str]:
    """Weights as text that the named type holds exactly: decimals where they fit, else whole numbers of any size."""
    places = max(max(0, -int(w.as_tuple().exponent)) for w in weights)
    if places <= PLACES and all(w < LARGEST for w in weights) and len(weights) * max(weights) < LARGEST:
        return [f"{w:f}" for w in weights], f"decimal(38, {places})"
    shifted = []
    for w in weights:
        _, digits, exponent = w.as_tuple()
        shifted.append(str(int("".join(map(str, digits))) * 10 ** (int(exponent) + places)))
    return shifted, "bignum"


def _read(path: Path, needed: tuple[str, ...]) -> tuple[list[str], list[tuple[str, dict[str, Any]]]]:
    """Column names and rows with their place, `FILE:LINE`; blank fields are None."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            columns = [name.strip() for name in next(reader, [])]
            missing = [name for name in needed if name not in columns]
            if missing or len(set(columns)) != len(columns):
                what = f"no column {missing[0]}" if missing else "two columns of the same name"
                raise Refused(what, f"{path.name}:1", f"the header names {', '.join(needed)} and others once")
            rows = []
            for fields in reader:
                if not fields:
                    continue
                where = f"{path.name}:{reader.line_num}"
                if len(fields) != len(columns):
                    raise Refused(f"{len(fields)} fields instead of {len(columns)}", where, "correct the line")
                rows.append((where, {name: field.strip() or None for name, field in zip(columns, fields, strict=True)}))
            return columns, rows
    except OSError as error:
        raise Refused("cannot be read", path.name, error.strerror or "check the path") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise Refused("is not CSV in UTF-8", path.name, type(error).__name__) from None


def _number(text: str | None, what: str, where: str) -> Decimal:
    try:
        number = Decimal(text or "")
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or abs(number.adjusted()) > 1000 or "_" in (text or ""):
        raise Refused(f"{what} is not a number", where, "write digits with a decimal point")
    return number


def _day(text: str | None, where: str) -> date:
    try:
        return date.fromisoformat(text or "")
    except ValueError:
        raise Refused("usage_date is not a day", where, "write it as YYYY-MM-DD") from None
