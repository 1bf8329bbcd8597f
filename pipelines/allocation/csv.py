"""`apportion allocate`: the engine on plain CSV files, without a home."""

from __future__ import annotations

import csv
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TypeVar

import duckdb
import pyarrow as pa

from pipelines import warehouse
from pipelines.allocation import engine, rules
from pipelines.errors import Refused

COLUMNS = ("charge_id", "rule_id", "stage", "target", "weight", "weight_total", "fallback_level", "cost")
PLACES = 12  # decimals that DECIMAL(38,12) holds
LARGEST = Decimal(10) ** 18  # so that the sum of as many charges as fit on a disk fits too
DIGITS = 1000  # before or after the point: more is a mistake, and slow
WIDEST = 1_000_000  # characters of one field
BATCH = 300  # rows read at a time; few, so that the garbage collector has no lists to look through

Value = TypeVar("Value")


def allocate(rules_file: Path, charges: Path, drivers: Path | None = None, out: Path | None = None) -> None:
    """Split `charges` by the rules; writes COLUMNS to `out`, or to standard output.

    Each calendar month of the charges is a period of its own. Raises `Refused` before anything is written; `out` is
    replaced as a whole.
    """
    with _scratch(out) as scratch, warehouse.memory() as con:
        folder = Path(scratch)
        names = _drivers(con, drivers) if drivers else {}
        policy = rules.load(rules_file, drivers=names)
        months = _charges(con, charges)
        con.execute(f"set temp_directory = {warehouse.literal(f'{folder}/spill')}")
        con.execute(f"set allowed_directories = [{warehouse.literal(f'{folder}/')}]")
        con.execute("set enable_external_access = false")
        written = folder / "all.csv"
        written.write_text(",".join(COLUMNS) + "\n", encoding="utf-8")
        for start, end in months:
            _month(con, policy, names, start, end, folder / "month.csv")
            with open(written, "ab") as whole, open(folder / "month.csv", "rb") as month:
                shutil.copyfileobj(month, whole)
        _hand_over(written, out)


def _scratch(out: Path | None) -> tempfile.TemporaryDirectory[str]:
    """A folder beside `out`, so that the finished file only has to be renamed."""
    if out is not None and out.is_dir():
        raise Refused("is a folder", str(out), "name a file")
    beside = out.parent if out is not None and not _is_stream(out) else None
    try:
        return tempfile.TemporaryDirectory(prefix=".apportion-", dir=beside)
    except OSError as error:
        raise Refused("cannot be written", str(out), error.strerror or "check the path") from None


def _is_stream(out: Path | None) -> bool:
    """Standard output, or something like /dev/stdout: written to, not replaced."""
    return out is None or (out.exists() and not out.is_file())


def _hand_over(written: Path, out: Path | None) -> None:
    if out is not None and not _is_stream(out):
        warehouse.replace_durably(written, out)
        return
    with open(written, encoding="utf-8", newline="") as file:
        if out is None:
            shutil.copyfileobj(file, sys.stdout)
        else:
            with open(out, "w", encoding="utf-8", newline="") as stream:
                shutil.copyfileobj(file, stream)


def _month(
    con: duckdb.DuckDBPyConnection,
    policy: rules.AllocationPolicy,
    names: dict[str, str],
    start: date,
    end: date,
    to: Path,
) -> None:
    con.execute(
        "create or replace temp table portions as from charges where usage_date >= ? and usage_date < ?", [start, end]
    )
    engine.run(con, policy, portions="portions", measures=["cost"], period=(start, end), driver=names.get)
    con.execute(
        f"""
        copy (
            select {", ".join(COLUMNS)}
            from allocations
            order by charge_id, stage, rule_id, part, target, cost
        ) to {warehouse.literal(str(to))} (format csv, header false, use_tmp_file false)
        """
    )


def _charges(con: duckdb.DuckDBPyConnection, path: Path) -> list[tuple[date, date]]:
    """Table `charges` from the file; returns the months it covers as [first day, first day of the next)."""
    given = _File(path, ("charge_id", "usage_date", "cost"))
    given.once("charge_id")
    days = given.each("usage_date", _day)
    costs = given.each("cost", _cost)
    others = {name: column for name, column in given.columns.items() if name not in ("usage_date", "cost", "portion")}
    data = {name: pa.array(column, pa.string()) for name, column in others.items()}
    data |= {"usage_date": pa.array(days, pa.date32()), "cost": pa.array(costs, pa.string())}
    _create(con, "charges", data, "* replace (cost::decimal(38, 12) as cost), 'whole' as portion")
    months = sorted({day.replace(day=1) for day in days})
    return [(month, date(month.year + month.month // 12, month.month % 12 + 1, 1)) for month in months]


def _drivers(con: duckdb.DuckDBPyConnection, path: Path) -> dict[str, str]:
    """A table for each driver in the file, by the driver's name. Weights keep every digit."""
    given = _File(path, ("driver", "target", "weight"))
    names = given.each("driver", _filled)
    given.each("target", _filled)
    weights = given.each("weight", _weight)
    members: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        members.setdefault(name, []).append(row)
    columns = {key: pa.array(column, pa.string()) for key, column in given.columns.items() if key not in ("driver", "weight")}
    if "usage_date" in columns:
        columns["usage_date"] = pa.array(given.each("usage_date", lambda text: text and _day(text)), pa.date32())
    found = {}
    for name, rows in members.items():
        data = {key: column.take(rows) for key, column in columns.items()}
        texts, kind = _exact([weights[row] for row in rows])
        found[name] = f"given_{len(found)}"
        _create(con, found[name], data | {"weight": pa.array(texts, pa.string())}, f"* replace (weight::{kind} as weight)")
    return found


def _create(con: duckdb.DuckDBPyConnection, table: str, data: dict[str, pa.Array], select: str) -> None:
    con.register("given", pa.table(data))
    con.execute(f"create temp table {table} as select {select} from given")
    con.unregister("given")


def _exact(weights: Sequence[Decimal]) -> tuple[list[str], str]:
    """Weights as text that the named type holds exactly, also their sum; else as whole numbers of any size."""
    places = max(max(0, -int(w.as_tuple().exponent)) for w in set(weights))
    if len(weights) * max(weights).scaleb(places) < Decimal(10) ** 37:
        return [f"{w:f}" for w in weights], f"decimal(38, {places})"
    return [f"{_scaled(w, places)}" for w in weights], "bignum"


def _scaled(number: Decimal, places: int) -> int:
    """A number that is not negative, times ten to the power of `places`, which leaves no decimals."""
    _, digits, exponent = number.as_tuple()
    return int("".join(map(str, digits))) * 10 ** (int(exponent) + places)


class _File:
    """A CSV file by column; blank fields are None. Refused, with the line, if it is not one."""

    def __init__(self, path: Path, needed: tuple[str, ...]) -> None:
        self.path = path
        csv.field_size_limit(WIDEST)
        try:
            with open(path, encoding="utf-8-sig", newline="") as file:
                header, columns = self.read(csv.reader(file, strict=True), needed)
        except OSError as error:
            raise Refused("cannot be read", path.name, error.strerror or "check the path") from None
        except UnicodeDecodeError:
            raise Refused("is not CSV in UTF-8", path.name, "save it as UTF-8") from None
        except csv.Error as error:
            raise Refused(f"is not CSV: {error}", self.where(None), "correct the line") from None
        # A name that is blank or starts with _ is nothing a rule can use; the engine has such names for itself.
        self.columns = {name: column for name, column in zip(header, columns, strict=True) if name and name[0] != "_"}

    def read(self, reader: Iterator[list[str]], needed: tuple[str, ...]) -> tuple[list[str], list[list[str | None]]]:
        header = [name.strip() for name in next(filter(None, reader), [])]
        self.check_header(header, needed)
        columns: list[list[str | None]] = [[] for _ in header]
        tidy = _Tidy()
        read = 0
        while batch := list(islice(filter(None, reader), BATCH)):
            if set(map(len, batch)) != {len(header)}:
                bad = next(i for i, fields in enumerate(batch) if len(fields) != len(header))
                what = f"{len(batch[bad])} fields instead of {len(header)}"
                raise Refused(what, self.where(read + bad), "correct the line")
            for column, fields in zip(columns, zip(*batch, strict=True), strict=True):
                column.extend(map(tidy.__getitem__, fields))
            read += len(batch)
        return header, columns

    def where(self, row: int | None) -> str:
        """FILE:LINE where a row starts, or what cannot be read as a row. The file is read again: only a refusal asks."""
        with open(self.path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            at, line = -2, 1  # the header is no row
            try:
                for fields in reader:
                    at += bool(fields)
                    if at == row:
                        break
                    line = reader.line_num + 1
            except csv.Error:
                pass
        return f"{self.path.name}:{line}"

    def check_header(self, header: list[str], needed: tuple[str, ...]) -> None:
        missing = [name for name in needed if name not in header]
        names = [name.lower() for name in header if name]
        if missing or len(set(names)) != len(names):
            what = f"no column {missing[0]}" if missing else "two columns of the same name"
            raise Refused(what, f"{self.path.name}:1", f"the header names {', '.join(needed)} and others once")

    def each(self, name: str, convert: Callable[[str | None], Value]) -> list[Value]:
        """A column converted, each different text once; what `convert` refuses gets its line."""
        column, known = self.columns[name], {}
        for text in dict.fromkeys(column):
            try:
                known[text] = convert(text)
            except Refused as refused:
                raise Refused(refused.what, self.where(column.index(text)), refused.fix) from None
        return [known[text] for text in column]

    def once(self, name: str) -> None:
        """Refused unless every row has a value of its own in this column."""
        column = self.columns[name]
        seen: set[str] = set()
        for row, text in enumerate(column):
            if text is None or text in seen:
                what = f"{name} is blank" if text is None else f"{name} appears twice"
                raise Refused(what, self.where(row), "give every row its own")
            seen.add(text)


class _Tidy(dict[str, str | None]):
    """Fields without blanks around them; the same text is the same object, which saves memory."""

    def __missing__(self, field: str) -> str | None:
        self[field] = field.strip() or None
        return self[field]


def _filled(text: str | None) -> str:
    if text is None:
        raise Refused("driver or target is blank", fix="name both")
    return text


def _cost(text: str | None) -> str:
    cost = _number(text, "cost")
    if abs(cost) >= LARGEST or (Fraction(cost) * 10**PLACES).denominator != 1:
        raise Refused("cost has more digits than twelve decimals, or more than 18 before them", fix="round it")
    return f"{cost:f}"


def _weight(text: str | None) -> Decimal:
    weight = _number(text, "weight")
    if weight < 0:
        raise Refused("negative weight", fix="weights are zero or more")
    return weight


def _number(text: str | None, what: str) -> Decimal:
    try:
        number = Decimal(text or "")
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or "_" in (text or ""):
        raise Refused(f"{what} is not a number", fix="write digits with a decimal point")
    if abs(number.adjusted()) > DIGITS or len(number.as_tuple().digits) > DIGITS:
        raise Refused(f"{what} has more than {DIGITS} digits", fix="round it")
    return number


def _day(text: str | None) -> date:
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text or "", re.ASCII):
            return date.fromisoformat(text or "")
    except ValueError:
        pass
    raise Refused("usage_date is not a day", fix="write it as YYYY-MM-DD")
