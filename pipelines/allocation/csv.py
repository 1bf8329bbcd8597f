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
ODD = b'"\t\x00\x0b\x0c\x1c\x1d\x1e\x1f\xc2\xe1\xe2\xe3'  # bytes of quotes and blanks that only Python's own reader understands
BATCH = 300  # rows read at a time; few, so that the garbage collector has no lists to look through


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
    given = _File(con, path, ("charge_id", "usage_date", "cost"))
    given.once("charge_id")
    given.check("usage_date", _day)
    given.check("cost", _cost, r"-?[0-9]{1,17}(\.[0-9]{1,12})?")
    others = given.columns("usage_date", "cost", "portion")
    con.execute(
        f"create temp table charges as select {others}usage_date::date as usage_date, cost::decimal(38, {PLACES}) as cost,"
        " 'whole' as portion from given"
    )
    months = con.execute("select distinct date_trunc('month', usage_date)::date from charges order by 1").fetchall()
    con.execute("drop table given")
    return [(month, date(month.year + month.month // 12, month.month % 12 + 1, 1)) for (month,) in months]


def _drivers(con: duckdb.DuckDBPyConnection, path: Path) -> dict[str, str]:
    """A table for each driver in the file, by the driver's name. Weights keep every digit."""
    given = _File(con, path, ("driver", "target", "weight"))
    given.check("driver", _filled, ".*")
    given.check("target", _filled, ".*")
    given.check("weight", _weight, r"[0-9]{1,17}(\.[0-9]{1,12})?")
    others = given.columns("driver", "weight", "usage_date")
    if "usage_date" in given.names:
        given.check("usage_date", lambda text: text and _day(text))
        others += "usage_date::date as usage_date, "
    found = {}
    for (name,) in con.execute("select driver from given group by driver order by min(_row)").fetchall():
        found[name] = f"given_{len(found)}"
        weight = _exact(con, name)
        con.execute(f"create temp table {found[name]} as select {others}{weight} as weight from given where driver = ?", [name])
    con.execute("drop table given")
    return found


def _exact(con: duckdb.DuckDBPyConnection, driver: str) -> str:
    """SQL for a driver's weights in a type that holds them exactly, also their sum; else as whole numbers of any size."""
    decimals = "case when contains(weight, '.') then length(weight) - strpos(weight, '.') else 0 end"
    rows, places, longest = con.execute(
        f"select count(*), max({decimals}), max(length(weight)) from given where driver = ?", [driver]
    ).fetchall()[0]
    scaled = f"replace(weight, '.', '') || repeat('0', {places} - {decimals})"
    largest = 10 ** (longest + places)
    if rows * largest >= 10**37:
        digits = f"ltrim({scaled}, '0')"
        (digits,) = con.execute(
            f"select max({{'length': length({digits}), 'digits': {digits}}}).digits from given where driver = ?", [driver]
        ).fetchall()[0]
        largest = int(digits or 0)
    return f"weight::decimal(38, {places})" if rows * largest < 10**37 else f"({scaled})::bignum"


class _File:
    """A CSV file as the temp table `given`: its columns as text, blank fields null, and _row. Refused, with the line, if it is none."""

    def __init__(self, con: duckdb.DuckDBPyConnection, path: Path, needed: tuple[str, ...]) -> None:
        self.con, self.path = con, path
        csv.field_size_limit(WIDEST)
        try:
            with open(path, encoding="utf-8-sig", newline="") as file:
                reader = csv.reader(file, strict=True)
                header = [name.strip() for name in next(filter(None, reader), [])]
                self.check_header(header, needed)
                # A name that is blank or starts with _ is nothing a rule can use; the engine has such names for itself.
                self.names = {name: f"c{i}" for i, name in enumerate(header) if name and name[0] != "_"}
                if not self.read_plain(len(header)):
                    self.read(reader, len(header))
        except OSError as error:
            raise Refused("cannot be read", path.name, error.strerror or "check the path") from None
        except UnicodeDecodeError:
            raise Refused("is not CSV in UTF-8", path.name, "save it as UTF-8") from None
        except csv.Error as error:
            raise Refused(f"is not CSV: {error}", self.where(None), "correct the line") from None

    def create(self, source: str, columns: Callable[[str], str], values: Sequence[object] = ()) -> None:
        chosen = "".join(f", {columns(column)} as {_quoted(name)}" for name, column in self.names.items())
        self.con.execute(f"create or replace temp table given as select row_number() over () - 1 as _row{chosen} from {source}", values)

    def read_plain(self, width: int) -> bool:
        """By DuckDB, ten times as fast; False if the file has anything that DuckDB might read in another way than `read`.

        Where nothing is quoted, every row has one comma less than fields: their count shows that no field was lost.
        """
        commas = _plain_commas(self.path)
        if commas is None:
            return False
        types = ", ".join(f"'c{i}': 'varchar'" for i in range(width))
        source = (
            f"read_csv(?, columns = {{{types}}}, auto_detect = false, header = false, skip = 1, delim = ',', quote = '', escape = '',"
            f" strict_mode = true, compression = 'none', max_line_size = {WIDEST})"
        )
        try:
            self.create(source, lambda column: f"nullif(trim({column}), '')", [str(self.path)])
        except duckdb.Error:
            return False
        return commas == (self.con.execute("select count(*) + 1 from given").fetchall()[0][0]) * (width - 1)

    def read(self, reader: Iterator[list[str]], width: int) -> None:
        columns: list[list[str | None]] = [[] for _ in range(width)]
        tidy = _Tidy()
        read = 0
        while batch := list(islice(filter(None, reader), BATCH)):
            if set(map(len, batch)) != {width}:
                bad = next(i for i, fields in enumerate(batch) if len(fields) != width)
                what = f"{len(batch[bad])} fields instead of {width}"
                raise Refused(what, self.where(read + bad), "correct the line")
            for column, fields in zip(columns, zip(*batch, strict=True), strict=True):
                column.extend(map(tidy.__getitem__, fields))
            read += len(batch)
        table = pa.table({f"c{i}": pa.array(column, pa.string()) for i, column in enumerate(columns)})
        self.con.register("read", table)
        self.create("read", str)
        self.con.unregister("read")

    def columns(self, *without: str) -> str:
        """The others, as the start of a select list."""
        return "".join(f"{_quoted(name)}, " for name in self.names if name not in without)

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

    def check(self, name: str, convert: Callable[[str | None], str | None], plain: str = "") -> None:
        """Replaces every text in a column that is not `plain` by what `convert` makes of it; what that refuses gets its line."""
        odd = self.con.execute(
            f"select {name}, min(_row) from given where regexp_full_match({name}, ?, 's') is not true group by {name} order by 2", [plain]
        ).fetchall()
        new = {}
        for text, row in odd:
            try:
                new[text] = convert(text)
            except Refused as refused:
                raise Refused(refused.what, self.where(row), refused.fix) from None
        changed = {text: to for text, to in new.items() if to != text}
        if changed:
            table = pa.table({"text": pa.array(changed, pa.string()), "new": pa.array(changed.values(), pa.string())})
            self.con.register("changed", table)
            self.con.execute(f"update given set {name} = changed.new from changed where {name} = changed.text")
            self.con.unregister("changed")

    def once(self, name: str) -> None:
        """Refused unless every row has a value of its own in this column."""
        bad = self.con.execute(
            f"select _row, {name} from given where {name} is null or {name} in (select {name} from given group by all having count(*) > 1)"
            f" qualify {name} is null or row_number() over (partition by {name} order by _row) > 1 order by _row limit 1"
        ).fetchall()
        if bad:
            row, text = bad[0]
            raise Refused(f"{name} is blank" if text is None else f"{name} appears twice", self.where(row), "give every row its own")


def _plain_commas(path: Path) -> int | None:
    """How many commas a file has; None if it has quotes, blanks other than spaces, stray line ends or a name like a pattern."""
    if not path.is_file() or set(str(path)) & set("*?[]{}"):
        return None
    commas, last = 0, b""
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            # 0xC2 and 0xE1 to 0xE3 start the blanks of other alphabets in UTF-8, among others.
            if len(block.translate(None, ODD)) < len(block):
                return None
            pairs = block.count(b"\r\n") + (last.endswith(b"\r") and block.startswith(b"\n"))
            if block.count(b"\r") + last.endswith(b"\r") - block.endswith(b"\r") != pairs:
                return None
            commas += block.count(b",")
            last = block[-1:]
    return None if last == b"\r" else commas


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


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


def _weight(text: str | None) -> str:
    weight = _number(text, "weight")
    if weight < 0:
        raise Refused("negative weight", fix="weights are zero or more")
    return f"{weight.copy_abs():f}"


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


def _day(text: str | None) -> str:
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text or "", re.ASCII):
            return date.fromisoformat(text or "").isoformat()
    except ValueError:
        pass
    raise Refused("usage_date is not a day", fix="write it as YYYY-MM-DD")
