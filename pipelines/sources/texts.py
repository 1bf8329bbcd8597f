"""Records of CSV, JSON and Parquet files as texts, whatever the file: the temp table `texts` that a reader selects from."""

from __future__ import annotations

import glob
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import duckdb

from pipelines.errors import Refused
from pipelines.sources import Delivery
from pipelines.sources.gateway.lines import BAD_RECORD, JSON_SUFFIXES, json_records, note_ignored
from pipelines.sources.reading import (
    are_missing,
    csv_header,
    load_csv,
    note_ignored_columns,
    quoted,
    refuse_other_types,
    where,
)

SUFFIXES = {"csv": (".csv", ".csv.gz"), "jsonl": JSON_SUFFIXES, "parquet": (".parquet",)}
ALL_SUFFIXES = tuple(suffix for group in SUFFIXES.values() for suffix in group)

Names = Mapping[str, Sequence[str]]  # our name -> the names it may have in the file, the first that is there counts


def load(
    con: duckdb.DuckDBPyConnection, delivery: Delivery, names: Names, optional: Collection[str] = (), kinds: Mapping[str, str] | None = None,
) -> dict[str, str]:  # fmt: skip
    """Temp table `texts` of source_row, bad_record and the named columns; returns the SQL of each column in it.

    A column that is in none of its names refuses a CSV or Parquet file unless it is optional; then it is NULL. Records of
    JSON differ, so each is asked for every name; a name with dots is looked for as it is written, then as a path.
    `kinds` says what a column of ours is in Parquet, where it is no text: reading.PROMISED.
    """
    (path,) = delivery.paths
    kind = _kind_of(path)
    if kind == "parquet":
        return _parquet(con, delivery, names, optional, kinds or {})
    return {"csv": _csv, "jsonl": _jsonl}[kind](con, delivery, names, optional)


def _kind_of(path: Path) -> str:
    return next(kind for kind, suffixes in SUFFIXES.items() if path.name.endswith(suffixes))


def _found(
    delivery: Delivery, names: Names, there: Collection[str], optional: Collection[str], header: Iterable[str]
) -> dict[str, str | None]:
    """Which of its names each column has in this file."""
    found = {name: next((n for n in choices if n in there), None) for name, choices in names.items()}
    missing = [names[name][0] for name, column in found.items() if column is None and name not in optional]
    if missing:
        raise Refused(are_missing(missing, header), where(delivery, delivery.paths[0]), "deliver the file with all its columns")
    return found


def _csv(con: duckdb.DuckDBPyConnection, delivery: Delivery, names: Names, optional: Collection[str]) -> dict[str, str]:
    header = {name.lower(): name for name in csv_header(delivery, delivery.paths[0])}
    there = {choice for choices in names.values() for choice in choices if choice.lower() in header}
    found = _found(delivery, names, there, optional, header.values())
    load_csv(con, delivery, "texts", sorted({column for column in found.values() if column}))
    con.execute("alter table texts rename column record to source_row")
    con.execute("alter table texts add column bad_record boolean default false")
    return {name: quoted(column) if column else "null::varchar" for name, column in found.items()}


def _jsonl(con: duckdb.DuckDBPyConnection, delivery: Delivery, names: Names, _optional: Collection[str]) -> dict[str, str]:
    (path,) = delivery.paths
    at: list[str] = []
    selects = []
    for n, choices in enumerate(names.values()):
        asked = [path for column in choices for path in json_paths(column)]
        selects.append(f"coalesce({', '.join(f'found[{len(at) + m}]' for m in range(1, 1 + len(asked)))}) as t{n}")
        at += asked
    con.execute(
        "create or replace temp table texts as with records as (select ordinality as source_row,"
        f" {BAD_RECORD} as bad_record, json ->> $at::varchar[] as found from {json_records(path)})"
        f" select source_row, bad_record, {', '.join(selects)} from records",
        {"path": glob.escape(str(path)), "at": at},
    )
    note_ignored(con, path, {name for choices in names.values() for column in choices for name in (column, column.split(".")[0])})
    return {name: f"t{n}" for n, name in enumerate(names)}


def _parquet(
    con: duckdb.DuckDBPyConnection, delivery: Delivery, names: Names, optional: Collection[str], kinds: Mapping[str, str]
) -> dict[str, str]:
    (path,) = delivery.paths
    file = glob.escape(str(path))
    types = {row[0]: row[1] for row in con.execute("describe select * from read_parquet($path)", {"path": file}).fetchall()}
    choices = {column for options in names.values() for column in options}
    there = {column for column in choices if column in types or column.split(".")[0] in types}
    found = _found(delivery, names, there, optional, types)
    promised = {column: kinds.get(name, "text") for name, column in found.items() if column in types}
    refuse_other_types(con, delivery, path, types, promised)
    selects = []
    for n, column in enumerate(found.values()):
        if column is None:
            selects.append(f"null::varchar as t{n}")
            continue
        parts = [column] if column in types else column.split(".")
        value = ".".join(quoted(part) for part in parts)
        nested = types.get(column, "").startswith(("MAP", "STRUCT")) or types.get(column, "").endswith("]")
        selects.append(f"{f'to_json({value})' if nested else f'({value})'}::varchar as t{n}")
    con.execute(
        "create or replace temp table texts as select row_number() over () as source_row, false as bad_record,"
        f" {', '.join(selects)} from read_parquet($path)",
        {"path": file},
    )
    note_ignored_columns(con, types, {name for column in found.values() if column for name in (column, column.split(".")[0])})
    return {name: f"t{n}" for n, name in enumerate(names)}


def json_paths(name: str) -> list[str]:
    """Where a name may lead: as it is written, then, with dots, into nested objects."""
    return [json_path([name]), *([json_path(name.split("."))] if "." in name else [])]


def json_path(parts: list[str]) -> str:
    """Where to find a value below these names, whatever is in them."""
    return "$" + "".join('."' + part.replace('"', '\\"') + '"' for part in parts)
