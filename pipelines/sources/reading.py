"""What the readers of bills, GPUs and drivers share: exact numbers from text, CSV without guessing, plain refusals."""

from __future__ import annotations

import csv
import difflib
import glob
import io
import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from pipelines.content import last_byte, open_content, read_bytes
from pipelines.errors import Refused
from pipelines.sources import SHAPES, Delivery
from pipelines.sources.currency import CURRENCIES
from pipelines.warehouse import define

# is_number    plain or scientific notation; no separators, no NaN, no infinity
# plain        the number times a power of ten in plain notation, still as text: nothing is lost (DuckDB's own reading of
#              exponents drops digits of long numbers); what is no number stays as it is
# rounded      of plain: DECIMAL(38,12), half even
# left_out     of plain: exact minus rounded, DECIMAL(38,30): exact to thirty decimals (eighteen from one hundred million on)
# moment       TIMESTAMP in UTC; NULL where the text is not one
# written_day  the day as the vendor wrote it, whatever the zone; NULL outside 2000 to 2199
# shown        of a text that is not what it should be what a refusal says: a number, a word or a few characters; of what could be a sentence its length
# token_power  Tokens, 1000 Tokens, 1K tokens, 1,000,000 Tokens, Million tokens ... -> 0, 3, 3, 6, 6; NULL for what is not tokens
MACROS = """
create or replace temp macro is_number(t) as regexp_full_match(t, '[+-]?(\\d+\\.?\\d*|\\.\\d+)([eE][+-]?\\d{1,5})?');
create or replace temp macro shifted(sign, digits, point) as sign || case
    when point < -60 then '0'
    when point > 60 then '1E60'
    when point <= 0 then '0.' || repeat('0', -point) || digits
    else rpad(left(digits, point), point::integer, '0') || '.' || substr(digits, point + 1) || '0' end;
create or replace temp macro plain(t, power) as case
    when not is_number(t) or (power = 0 and not regexp_matches(t, '[eE]')) then t
    else shifted(
        regexp_extract(t, '^-'),
        regexp_replace(regexp_extract(t, '^[^eE]*'), '[-+.]', '', 'g'),
        length(regexp_extract(t, '^[-+]?(\\d*)', 1))::integer + power
            + coalesce(try_cast(nullif(regexp_extract(t, '[eE](.*)$', 1), '') as integer), 0)) end;
create or replace temp macro rounded(t) as
    coalesce(round_even(try_cast(t as decimal(38, 30)), 12), round_even(try_cast(t as decimal(38, 18)), 12))::decimal(38, 12);
create or replace temp macro left_out(t) as coalesce(
    try_cast(t as decimal(38, 30)) - try_cast(rounded(t) as decimal(38, 30)),
    (try_cast(t as decimal(38, 18)) - rounded(t))::decimal(38, 30));
create or replace temp macro moment(t) as case
    when regexp_matches(t, ':\\d\\d(\\.\\d+)? ?[+-]\\d\\d(:?\\d\\d)?$') then timezone('UTC', try_cast(t as timestamptz))
    else try_cast(regexp_replace(t, ' UTC$', '') as timestamp) end;
create or replace temp macro written_day(t) as
    case when regexp_matches(t, '^2[01]\\d\\d-\\d\\d?-\\d\\d?([T ]|$)') then try_cast(left(t, 10) as date) end;
create or replace temp macro shown(t) as
    if(regexp_full_match(t, '[-+.,:/ \\dETZe$€£%]{1,30}|[A-Za-z]{1,30}|.{1,10}'), t, length(t) || ' characters');
create or replace temp macro token_power(unit) as
    case when regexp_full_match(lower(unit), '(10*|1(,000)+)? ?(k|m|thousand|million)? ?tokens?') then
        greatest(length(replace(regexp_extract(lower(unit), '^[\\d,]*'), ',', '')) - 1, 0)
        + case regexp_extract(lower(unit), '(k|m|thousand|million) ?tokens?$', 1)
            when 'k' then 3 when 'thousand' then 3 when 'm' then 6 when 'million' then 6 else 0 end
    end;
"""


def macros(con: duckdb.DuckDBPyConnection) -> None:
    define(con, MACROS)


def where(delivery: Delivery, path: Path, record: int | str | None = None) -> str:
    """`billing/openai/page-1.json` or `... record 3`: how a refusal names a place."""
    name = f"{delivery.kind}/{delivery.source}/{path.name}"
    return name if record is None else f"{name} record {record}"


def read_text(delivery: Delivery, path: Path) -> str:
    """The whole file, without a byte order mark."""
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = where(delivery, path)
        raise Refused(f"not UTF-8 at byte {error.start}", place, "export the file as UTF-8") from None


def text_lines(delivery: Delivery, path: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their physical numbers from 1; read one by one, since a file may be larger than memory."""
    with open_content(path) as content, io.TextIOWrapper(content, encoding="utf-8-sig", newline="\n") as lines:
        try:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield number, line.removesuffix("\n")
        except UnicodeDecodeError:
            raise Refused("not UTF-8", where(delivery, path), "export the file as UTF-8") from None


def read_json(text: str, place: str, fix: str) -> Any:
    """The JSON value; every number in it stays a text with the digits it had. NaN and infinity are no JSON."""
    try:
        value = json.loads(text, parse_float=str, parse_int=str, parse_constant=_no_constant)
        if re.search(r"\\u[dD][89a-fA-F]", text):
            json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is no text
        return value
    except RecursionError:
        raise Refused("JSON that is nested too deeply", place, fix) from None
    except ValueError as error:
        line = f" line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise Refused("not JSON", place + line, fix) from None


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def create_parsed(
    con: duckdb.DuckDBPyConnection, kind: str, select: str, params: dict[str, object] | None = None
) -> None:
    """Temp table `parsed` of a kind's shape, filled by name; columns that `select` does not give are NULL."""
    columns = {**SHAPES[kind], "source_row": "BIGINT", "reject": "VARCHAR"}
    con.execute(
        f"create or replace temp table parsed({', '.join(f'{name} {type_}' for name, type_ in columns.items())})"
    )
    con.execute(f"insert into parsed by name {select}", params or {})


def note_ignored_fields(con: duckdb.DuckDBPyConnection, records: Iterable[Any], read: Mapping[str, Any]) -> None:
    """Adds to temp table `ignored` the fields of JSON objects that are not in the shape `read`: name -> type, or the shape below it."""
    note_ignored(con, Counter(tuple(sorted(unread(record, read))) for record in records if isinstance(record, dict)))


def unread(found: Mapping[str, Any], read: Mapping[str, Any]) -> Iterator[str]:
    """Dotted names of an object's fields that are not in the shape."""
    for name, value in found.items():
        if name not in read:
            yield name
        elif isinstance(value, dict) and isinstance(read[name], Mapping):
            yield from (f"{name}.{below}" for below in unread(value, read[name]))


def shape(names: Iterable[str]) -> dict[str, Any]:
    """The shape of an object with these dotted names."""
    made: dict[str, Any] = {}
    for name in names:
        *above, last = name.split(".")
        place = made
        for part in above:
            place = place.setdefault(part, {})
        place[last] = "VARCHAR"
    return made


def note_ignored(con: duckdb.DuckDBPyConnection, counted: Mapping[tuple[str, ...], int | None]) -> None:
    """Adds to temp table `ignored` names that are not read, with the number of records that have them; None: all records."""
    con.execute("create temp table if not exists ignored(place bigint, names varchar[], records bigint)")
    for names, records in counted.items():
        con.execute("insert into ignored values (null, ?, ?)", [list(names), records])


def known_currencies(con: duckdb.DuckDBPyConnection) -> None:
    """Temp table `currencies(code)`."""
    con.execute(
        "create or replace temp table currencies as select unnest($codes) as code", {"codes": sorted(CURRENCIES)}
    )


# --- CSV -----------------------------------------------------------------------------------------------------------


def csv_header(delivery: Delivery, path: Path) -> list[str]:
    """The names in the first line."""
    with open_content(path) as content, io.TextIOWrapper(content, encoding="utf-8-sig", newline="") as text:
        try:
            return [name.strip() for name in next(csv.reader(text, strict=True), [])]
        except (csv.Error, UnicodeDecodeError):
            raise Refused("not CSV in UTF-8", where(delivery, path), "deliver the file as UTF-8 CSV") from None


def positions(delivery: Delivery, path: Path, names: Sequence[str], required: Iterable[str]) -> dict[str, int]:
    """Lower-cased column name -> position; a missing or repeated column refuses the file."""
    found = {name.lower(): n for n, name in enumerate(names)}
    missing = [name for name in required if name.lower() not in found]
    if missing:
        raise Refused(are_missing(missing, names), where(delivery, path), "deliver the file with its full header")
    if len(found) < len(names):
        raise Refused("a column name appears twice", where(delivery, path), "deliver the file with unique column names")
    return found


def quoted(name: str) -> str:
    """The name as an identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'


SHOWN = 12  # names of missing columns in a refusal


def are_missing(names: Sequence[str], there: Iterable[str] = ()) -> str:
    """What a refusal says of a header that drifted: every column that is not there, and which that are there look like the first."""
    more = [*names[1:SHOWN], *([f"{len(names) - SHOWN} more"] if len(names) > SHOWN else [])]
    header = {name.lower(): name for name in there}
    like = [header[name][:60] for name in difflib.get_close_matches(names[0].lower(), header, 3)]
    return (
        f"column {names[0]} is missing"
        + (f" (and {', '.join(more)})" if more else "")
        + (f" (there is {', '.join(like)})" if like else "")
    )


# What a column of a Parquet file may be, by what its format promises: binary floating point is no name, and a list no number.
_WHOLE = "U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?"
_TEXT = "VARCHAR|UUID|JSON|ENUM\\(.*"
_TIME = "DATE|TIMESTAMP.*"
PROMISED = {
    "text": f"{_TEXT}|{_WHOLE}|BOOLEAN|{_TIME}",
    "number": f"{_TEXT}|{_WHOLE}|DECIMAL.*|FLOAT|DOUBLE",
    "time": f"{_TEXT}|{_TIME}",
    "moment": f"{_TEXT}|{_TIME}|{_WHOLE}|DECIMAL.*|FLOAT|DOUBLE",  # epochs too
    "object": r".*[\])]|VARCHAR|JSON",
}


def refuse_other_types(
    con: duckdb.DuckDBPyConnection, delivery: Delivery, path: Path, types: Mapping[str, str], promised: Mapping[str, str]
) -> None:
    """Refuses a Parquet file whose columns (name -> type) are not what is `promised` of them (name -> key of PROMISED), with the difference."""
    other = [name for name, kind in promised.items() if not re.fullmatch(PROMISED[kind], types[name], re.DOTALL)]
    if not other:
        return
    counts = ", ".join(f"count({quoted(name)})" for name in other)  # a column of nothing has any type
    (held,) = con.execute(f"select {counts} from read_parquet($path)", {"path": glob.escape(str(path))}).fetchall()
    wrong = [f"column {name}: expected {promised[name]}, found {types[name][:40]}" for name, count in zip(other, held, strict=True) if count]
    if wrong:
        what = "; ".join([*wrong[:SHOWN], *([f"{len(wrong) - SHOWN} more"] if len(wrong) > SHOWN else [])])
        raise Refused(what, where(delivery, path), "deliver the file with the types its format has")


def load_csv(
    con: duckdb.DuckDBPyConnection, delivery: Delivery, table: str, required: Sequence[str], optional: Sequence[str] = (),
    nothing: Sequence[str] = ("",),
) -> dict[str, int]:  # fmt: skip
    """Temp table of `record` (from 1) and the wanted columns as text; absent columns are NULL. Returns positions."""
    (path,) = delivery.paths
    header = csv_header(delivery, path)
    found = positions(delivery, path, header, required)
    columns = {name: found.get(name.lower()) for name in (*required, *optional)}
    note_ignored_columns(con, header, {header[n] for n in columns.values() if n is not None})
    select_csv(con, delivery, path, f"create or replace temp table {table} as {{}}", columns, len(header), nothing)
    return found


CSV = "$path, columns = $columns, auto_detect = false, header = true, delim = ',', quote = '\"', escape = '\"', strict_mode = true"


def note_ignored_columns(con: duckdb.DuckDBPyConnection, header: Iterable[str], read: Collection[str]) -> None:
    """Adds to temp table `ignored` the names of a header that are not read; they are those of every record."""
    note_ignored(con, {tuple(name for name in header if name not in read): None})


def select_csv(
    con: duckdb.DuckDBPyConnection, delivery: Delivery, path: Path, into: str, columns: Mapping[str, int | None], width: int,
    nothing: Sequence[str] = ("",),
) -> None:  # fmt: skip
    """Runs `into` with the select of `record` and of the columns at these positions (NULL: absent) in its braces, as text."""
    wanted = ", ".join(
        f"null::varchar as {quoted(name)}" if n is None else f"nullif(trim(c{n}), '') as {quoted(name)}" for name, n in columns.items()
    )
    said = {"path": glob.escape(str(path)), "nothing": list(nothing)}
    try:
        con.execute(
            into.format(f"select row_number() over () as record, {wanted} from read_csv({CSV}, null_padding = false, nullstr = $nothing)"),
            {**said, "columns": {f"c{n}": "VARCHAR" for n in range(width)}},
        )
        # The engine lets one blank value too many pass: a comma that nobody quoted, which moved every value after it.
        beyond = con.execute(
            f"select min(record) from (select row_number() over () as record, c{width} from read_csv({CSV}, null_padding = true,"
            f" nullstr = $nothing, parallel = false)) where c{width} is not null",
            {**said, "nothing": ["\x01"], "columns": {f"c{n}": "VARCHAR" for n in range(width + 1)}},
        ).fetchall()[0][0]
    except duckdb.Error as error:
        line = re.search(r"Line: (\d+)", str(error))
        place = where(delivery, path) + (f" line {line[1]}" if line else "")
        raise Refused("not the CSV its header promises", place, "deliver the file again, whole") from None
    if beyond is not None:
        raise Refused(f"{width + 1} values under {width} columns", where(delivery, path, beyond), "quote values that contain a comma")


def require_whole_rows(delivery: Delivery, numbers: Sequence[str]) -> None:
    """Refuses what the engine lets pass: a row with one blank value too many, and a file that may stop inside a number.

    Only the end of its line says that a number in the last column is whole.
    """
    (path,) = delivery.paths
    try:
        with open_content(path) as content, io.TextIOWrapper(content, encoding="utf-8-sig", newline="") as text:
            rows = csv.reader(text, strict=True)
            header = next(rows, [])
            for record, row in enumerate((row for row in rows if row), 1):
                if len(row) != len(header):
                    problem = f"{len(row)} values under {len(header)} columns"
                    raise Refused(problem, where(delivery, path, record), "quote values that contain a comma")
    except (csv.Error, UnicodeDecodeError):
        raise Refused("not CSV in UTF-8", where(delivery, path), "deliver the file again, whole") from None
    last = header[-1].strip().lower()
    if last in {name.lower() for name in numbers} and last_byte(path) not in b"\r\n":
        raise Refused("the last line does not end", where(delivery, path), "deliver the file again, whole")


def csv_dicts(delivery: Delivery, required: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a small CSV file as texts, stripped; record n is item n - 1. A ragged row refuses the file."""
    (path,) = delivery.paths
    try:
        rows = [row for row in csv.reader(io.StringIO(read_text(delivery, path), newline=""), strict=True) if any(row)]
    except csv.Error:
        raise Refused("not CSV", where(delivery, path), "deliver comma-separated values with a header") from None
    header = [name.strip() for name in rows[0]] if rows else []
    positions(delivery, path, header, required)
    for record, row in enumerate(rows[1:], 1):
        if len(row) != len(header):
            problem = f"{len(row)} values under {len(header)} columns"
            raise Refused(problem, where(delivery, path, record), "give every column a value or leave it blank")
    return [dict(zip(map(str.lower, header), map(str.strip, row), strict=True)) for row in rows[1:]]


def exact_weight(text: str) -> bool:
    """Whether the text is a number >= 0 that DECIMAL(38,12) holds without rounding."""
    match = re.fullmatch(r"\+?0*(\d*)(?:\.(\d*?)0*)?", text)
    return bool(match and re.search(r"\d", text) and len(match[1]) <= 26 and len(match[2] or "") <= 12)
