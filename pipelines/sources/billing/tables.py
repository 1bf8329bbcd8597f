"""The rows of a bill that is a table: one file or several, CSV or Parquet, the wanted columns as text.

Parquet columns of binary floating point are read as their shortest decimal text.
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

import duckdb

from pipelines.errors import Refused
from pipelines.sources import Delivery
from pipelines.sources.reading import (
    are_missing,
    csv_header,
    note_ignored_columns,
    refuse_other_types,
    select_csv,
    where,
)

Columns = Mapping[str, tuple[str, ...]]  # our name -> the names a file may use for it, as `named` gives them; the first wins


def load_tables(
    con: duckdb.DuckDBPyConnection, delivery: Delivery, table: str, columns: Columns, required: Collection[str], *,
    named: Callable[[str], str] = str.lower, nothing: Sequence[str] = ("",), promised: Collection[str] = (), kinds: Mapping[str, str] | None = None,
) -> set[str]:  # fmt: skip
    """Temp table of `record` (from 1, through all files), `file`, `line` (record in its file) and the columns as text.

    Absent columns are NULL; returns ours that some file has. Refused, with what differs: a file without a required
    column, with a wanted one twice, without one that the manifest promises, or, in Parquet, with one of another type
    than `kinds` says of ours (reading.PROMISED; text where it says nothing).
    """
    names = ", ".join(f'"{name}" varchar' for name in columns)
    con.execute(f"create or replace temp table {table}(file integer, line bigint, {names})")
    present: set[str] = set()
    for number, path in enumerate(delivery.paths):
        into = f"insert into {table} by name select {number} as file, * exclude (record), record as line from ({{}})"
        if path.suffix == ".parquet":
            found = _load_parquet(con, delivery, path, into, columns, required, named, promised, kinds or {})
        else:
            header = csv_header(delivery, path)
            found = _positions(delivery, path, header, columns, required, named, promised)
            select_csv(con, delivery, path, into, found, len(header), nothing)
            note_ignored_columns(con, header, {header[n] for n in found.values() if n is not None})
        present |= {name for name, position in found.items() if position is not None}
    con.execute(
        f"create or replace temp table {table} as select row_number() over (order by file, line) as record, * from {table}"
    )
    return present


def header_of(con: duckdb.DuckDBPyConnection, delivery: Delivery, path: Path) -> list[str]:
    """The names of a file's columns."""
    if path.suffix != ".parquet":
        return csv_header(delivery, path)
    try:
        rows = con.execute("select column_name from (describe from read_parquet($path))", {"path": glob.escape(str(path))}).fetchall()
    except duckdb.Error:
        raise Refused("not a readable Parquet file", where(delivery, path), "deliver the file again, whole") from None
    return [row[0] for row in rows]


def refuse_first_row(
    con: duckdb.DuckDBPyConnection, delivery: Delivery, select: str, params: dict[str, object] | None = None
) -> None:
    """Refuses the delivery for the first row of `select` (file, line, problem), if there is one."""
    bad = con.execute(select, params or {}).fetchall()
    if bad:
        file, line, problem = bad[0]
        raise Refused(problem, where(delivery, delivery.paths[file], line), "nothing of this bill was read; deliver it again")


def are_empty(columns: Iterable[str]) -> list[str]:
    """Tests of a bill's rows, as WHEN with the problem in words: a column that must say something says nothing."""
    return [f"""when "{name}" is null then '{name} is empty'""" for name in columns]


def are_no_numbers(columns: Iterable[str]) -> list[str]:
    """Tests as of `are_empty`: a text that is no number, or is too large for money."""
    return [
        f"""when "{name}" is not null and (not is_number("{name}") or rounded("{name}") is null)
            then '{name} is not a number: ' || shown("{name}")"""
        for name in columns
    ]


def are_no_times(columns: Iterable[str]) -> list[str]:
    """Tests as of `are_empty`: a text that is no moment."""
    return [
        f"""when moment("{name}") is null or written_day("{name}") is null then '{name} is not a time: ' || shown("{name}")"""
        for name in columns
    ]


def cover_periods(con: duckdb.DuckDBPyConnection) -> None:
    """Temp table `coverage`: every billing account and period that `parsed` names, whole."""
    con.execute(
        "create or replace temp table coverage as select distinct billing_account_id, billing_period, null::date as usage_date"
        " from parsed"
    )


def _load_parquet(
    con: duckdb.DuckDBPyConnection, delivery: Delivery, path: Path, into: str, columns: Columns, required: Collection[str],
    named: Callable[[str], str], promised: Collection[str], kinds: Mapping[str, str],
) -> dict[str, int | None]:  # fmt: skip
    file = {"path": glob.escape(str(path))}
    try:
        types = con.execute("select column_name, column_type from (describe from read_parquet($path))", file).fetchall()
        found = _positions(delivery, path, [row[0] for row in types], columns, required, named, promised)
        wanted_types = {types[position][0]: kinds.get(name, "text") for name, position in found.items() if position is not None}
        refuse_other_types(con, delivery, path, dict(types), wanted_types)
        wanted = ", ".join(
            f'null::varchar as "{name}"' if position is None else f'{_as_text(*types[position])} as "{name}"'
            for name, position in found.items()
        )
        con.execute(into.format(f"select row_number() over () as record, {wanted} from read_parquet($path)"), file)
        note_ignored_columns(con, [row[0] for row in types], {types[n][0] for n in found.values() if n is not None})
    except duckdb.Error:
        raise Refused("not a readable Parquet file", where(delivery, path), "deliver the file again, whole") from None
    return found


def _as_text(name: str, type_: str) -> str:
    column = '"' + name.replace('"', '""') + '"'
    if type_ == "TIMESTAMP WITH TIME ZONE":
        return f"make_timestamp(epoch_us({column}))::varchar"
    nested = type_.startswith(("MAP", "STRUCT", "JSON")) or type_.endswith("]")
    text = f"to_json({column})::varchar" if nested else f"{column}::varchar"
    return f"nullif(nullif(trim({text}), ''), 'NULL')"


def _positions(
    delivery: Delivery, path: Path, header: Sequence[str], columns: Columns, required: Collection[str],
    named: Callable[[str], str], promised: Collection[str],
) -> dict[str, int | None]:  # fmt: skip
    """Where each of our columns stands in the file."""
    places: dict[str, list[int]] = {}
    for position, name in enumerate(header):
        places.setdefault(named(name), []).append(position)
    found = {name: next((places[other] for other in others if other in places), None) for name, others in columns.items()}
    missing = [name for name in columns if name in required and found[name] is None]
    missing += [name for name in promised if named(name) not in places]
    if missing:
        what = are_missing(missing, header)
        raise Refused(what, where(delivery, path), "deliver the file with its full header")
    if twice := [name for name, positions in found.items() if positions and len(positions) > 1]:
        raise Refused(f"column {twice[0]} appears twice", where(delivery, path), "deliver the file with unique column names")
    return {name: None if positions is None else positions[0] for name, positions in found.items()}
