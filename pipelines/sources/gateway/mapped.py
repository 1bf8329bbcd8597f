"""Any log of calls in CSV, JSON lines or Parquet, read through the field map of its source.

    fields:
      event_id: request_id              # a column; dots lead into nested objects
      provider: {value: aws}            # the same for every row
      status: {column: outcome, map: {ok: success}}
    tokens: inclusive                   # or exclusive: whether input contains cached input, and output reasoning

Names from the map are bound as values or quoted as identifiers. A column that is not there refuses a CSV or Parquet file.
"""

from __future__ import annotations

import glob
from dataclasses import dataclass, field
from typing import Any

import duckdb

from pipelines.errors import Refused
from pipelines.sources import Delivery, Format
from pipelines.sources.gateway.lines import LINES, LOGGED, clean, macros, number_lines
from pipelines.sources.reading import load_csv, where

SUFFIXES = {
    "csv": (".csv", ".csv.gz"),
    "jsonl": (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz", ".json", ".json.gz"),
    "parquet": (".parquet",),
}
ALIASES = {"model": "model_as_logged", "input_uncached_tokens": "input_tokens"}


@dataclass(frozen=True)
class Mapped:
    """Where one canonical field comes from."""

    column: str | None = None
    value: str | None = None
    words: dict[str, str] = field(default_factory=dict)


def fields_of(source: Any) -> dict[str, Mapped]:
    """Canonical name -> where it comes from."""
    found: dict[str, Mapped] = {}
    for name, entry in source.fields.items():
        if isinstance(entry, str):
            found[ALIASES.get(name, name)] = Mapped(column=entry)
            continue
        parts = entry if isinstance(entry, dict) else {key: getattr(entry, key, None) for key in ("column", "value", "map")}
        value = parts.get("value")
        words = {str(k): str(v) for k, v in (parts.get("map") or {}).items()}
        found[ALIASES.get(name, name)] = Mapped(parts.get("column"), None if value is None else str(value), words)
    unknown = sorted(found.keys() - set(LOGGED))
    if unknown:
        raise Refused(f"unknown field {unknown[0]}", "sources.yaml", "use the names of usage_events")
    return found


def read(con: duckdb.DuckDBPyConnection, delivery: Delivery, source: Any) -> None:
    """`parsed`: one row per line (JSON) or record (CSV, Parquet; the header of a CSV does not count)."""
    macros(con)
    (path,) = delivery.paths
    if not path.name.endswith(SUFFIXES[source.file]):
        raise Refused(f"sources.yaml says {source.file}", where(delivery, path), f"deliver {' or '.join(SUFFIXES[source.file])}")
    fields = fields_of(source)
    columns = sorted({mapped.column for mapped in fields.values() if mapped.column})
    texts = {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}[source.file](con, delivery, columns)
    params: dict[str, Any] = {"zone": getattr(source, "time_zone", None) or "UTC"}
    selects = [f"{_expression(name, fields.get(name, Mapped()), texts, params)} as {name}" for name in LOGGED if name != "occurred_at"]
    moment = _expression("occurred_at", fields.get("occurred_at", Mapped()), texts, params)
    time_format = getattr(source, "time_format", None)
    if time_format:
        params["time_format"] = time_format
        moment = f"in_range(timezone('UTC', timezone($zone, try_strptime({moment}, $time_format)::timestamp)))"
    else:
        moment = f"any_time({moment}, $zone)"
    if "$zone" not in moment:
        del params["zone"]
    con.execute(
        f"create or replace temp table logged as select source_row, bad_record, {moment} as occurred_at, {', '.join(selects)} from texts",
        params,
    )
    con.execute("drop table texts")
    clean(con, inclusive=getattr(source, "tokens", None) != "exclusive", made_ids="event_id" not in fields)
    if source.file == "jsonl":
        number_lines(con, delivery)


def _expression(name: str, mapped: Mapped, texts: dict[str, str], params: dict[str, Any]) -> str:
    """The field as text; every word of the policy is bound."""
    if mapped.column is None:
        if mapped.value is None:
            return "'1'" if name == "requests" else "null::varchar"
        params[f"value_{name}"] = mapped.value
        return f"$value_{name}::varchar"
    column = texts[mapped.column]
    if not mapped.words:
        return column
    params[f"from_{name}"], params[f"to_{name}"] = list(mapped.words), list(mapped.words.values())
    return f"coalesce(map($from_{name}::varchar[], $to_{name}::varchar[])[trim({column})], {column})"


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


FORMAT = Format("mapped", "gateway", tuple(suffix for group in SUFFIXES.values() for suffix in group), read)
