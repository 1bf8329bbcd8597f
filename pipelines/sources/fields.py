"""Field maps of sources.yaml: canonical fields as texts, from CSV, JSON lines or Parquet, for any kind of source.

    fields:
      event_id: request_id              # a column; dots lead into nested objects
      provider: {value: aws}            # the same for every row
      status: {column: outcome, map: {ok: success}}

Names from the map are bound as values or quoted as identifiers. A column that is not there refuses a CSV or Parquet file.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import duckdb

from pipelines.errors import Refused
from pipelines.sources import Delivery
from pipelines.sources.gateway.lines import LINES
from pipelines.sources.reading import load_csv, where

SUFFIXES = {
    "csv": (".csv", ".csv.gz"),
    "jsonl": (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz", ".json", ".json.gz"),
    "parquet": (".parquet",),
}


@dataclass(frozen=True)
class Mapped:
    """Where one canonical field comes from."""

    column: str | None = None
    value: str | None = None
    words: dict[str, str] = field(default_factory=dict)


def fields_of(entries: dict[str, Any], known: Iterable[str], aliases: dict[str, str], table: str) -> dict[str, Mapped]:
    """Canonical name -> where it comes from; a name that is not `known` is refused."""
    found: dict[str, Mapped] = {}
    for name, entry in entries.items():
        if isinstance(entry, str):
            found[aliases.get(name, name)] = Mapped(column=entry)
            continue
        parts = entry if isinstance(entry, dict) else {key: getattr(entry, key, None) for key in ("column", "value", "map")}
        value = parts.get("value")
        words = {str(k): str(v) for k, v in (parts.get("map") or {}).items()}
        found[aliases.get(name, name)] = Mapped(parts.get("column"), None if value is None else str(value), words)
    unknown = sorted(found.keys() - set(known))
    if unknown:
        raise Refused(f"unknown field {unknown[0]}", "sources.yaml", f"use the names of {table}")
    return found


def load_texts(con: duckdb.DuckDBPyConnection, delivery: Delivery, file: str, fields: dict[str, Mapped]) -> dict[str, str]:
    """Temp table `texts(source_row, bad_record, ...)`: one row per line (JSON) or record; returns the expression of each column."""
    (path,) = delivery.paths
    if not path.name.endswith(SUFFIXES[file]):
        raise Refused(f"sources.yaml says {file}", where(delivery, path), f"deliver {' or '.join(SUFFIXES[file])}")
    columns = sorted({mapped.column for mapped in fields.values() if mapped.column})
    return {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}[file](con, delivery, columns)


def expression(name: str, mapped: Mapped, texts: dict[str, str], params: dict[str, Any]) -> str:
    """The field as text; every word of the policy is bound."""
    if mapped.column is None:
        if mapped.value is None:
            return "null::varchar"
        params[f"value_{name}"] = mapped.value
        return f"$value_{name}::varchar"
    column = texts[mapped.column]
    if not mapped.words:
        return column
    params[f"from_{name}"], params[f"to_{name}"] = list(mapped.words), list(mapped.words.values())
    return f"coalesce(map($from_{name}::varchar[], $to_{name}::varchar[])[trim({column})], {column})"


def moment(name: str, fields: dict[str, Mapped], texts: dict[str, str], params: dict[str, Any], source: Any) -> str:
    """The field as TIMESTAMP in UTC, by the source's `time_zone` and `time_format`; NULL where the text is no time."""
    text = expression(name, fields.get(name, Mapped()), texts, params)
    params["zone"] = getattr(source, "time_zone", None) or "UTC"
    time_format = getattr(source, "time_format", None)
    if not time_format:
        return f"any_time({text}, $zone)"
    params["time_format"] = time_format
    return f"in_range(timezone('UTC', timezone($zone, try_strptime({text}, $time_format)::timestamp)))"


def _csv(con: duckdb.DuckDBPyConnection, delivery: Delivery, columns: list[str]) -> dict[str, str]:
    load_csv(con, delivery, "texts", columns)
    con.execute("alter table texts rename column record to source_row")
    con.execute("alter table texts add column bad_record boolean default false")
    return {column: _quoted(column) for column in columns}


def _jsonl(con: duckdb.DuckDBPyConnection, delivery: Delivery, columns: list[str]) -> dict[str, str]:
    """A name with dots is looked for as it is written, then as a path."""
    params: dict[str, Any] = {"path": glob.escape(str(delivery.paths[0]))}
    selects = []
    for n, column in enumerate(columns):
        params[f"flat_{n}"] = _json_path([column])
        text = f"json ->> $flat_{n}"
        if "." in column:
            params[f"deep_{n}"] = _json_path(column.split("."))
            text = f"coalesce({text}, json ->> $deep_{n})"
        selects.append(f"{text} as t{n}")
    con.execute(
        "create or replace temp table texts as select ordinality as source_row,"
        f" json is null or json_type(json) <> 'OBJECT' as bad_record, {', '.join(selects)} from {LINES}",
        params,
    )
    return {column: f"t{n}" for n, column in enumerate(columns)}


def _parquet(con: duckdb.DuckDBPyConnection, delivery: Delivery, columns: list[str]) -> dict[str, str]:
    (path,) = delivery.paths
    file = glob.escape(str(path))
    there = {row[0] for row in con.execute("describe select * from read_parquet($path)", {"path": file}).fetchall()}
    selects = []
    for n, column in enumerate(columns):
        parts = [column] if column in there else column.split(".")
        if parts[0] not in there:
            raise Refused(f"column {column} is missing", where(delivery, path), "deliver the file with all its columns")
        selects.append(f"({'.'.join(_quoted(part) for part in parts)})::varchar as t{n}")
    con.execute(
        "create or replace temp table texts as select row_number() over () as source_row, false as bad_record,"
        f" {', '.join(selects)} from read_parquet($path)",
        {"path": file},
    )
    return {column: f"t{n}" for n, column in enumerate(columns)}


def _json_path(parts: list[str]) -> str:
    return "$" + "".join('."' + part.replace('"', '\\"') + '"' for part in parts)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
