"""Field maps of sources.yaml: where canonical fields stand in the files of a source, for any kind of source and format.

    fields:
      event_id: request_id              # a column; dots lead into nested objects
      provider: {value: aws}            # the same for every row
      status: {column: outcome, map: {ok: success}}

Names from the map are bound as values or quoted as identifiers. A column that is not there refuses a CSV or Parquet file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import duckdb

from pipelines.errors import Refused
from pipelines.sources import SHAPES, Delivery
from pipelines.sources.reading import where
from pipelines.sources.texts import SUFFIXES, load


@dataclass(frozen=True)
class Mapped:
    """Where one canonical field comes from."""

    column: str | None = None
    value: str | None = None
    words: dict[str, str] = field(default_factory=dict)


def fields_of(entries: Mapping[str, Any] | None, known: Iterable[str], aliases: dict[str, str], table: str) -> dict[str, Mapped]:
    """Canonical name -> where it comes from; a name that is not `known` is refused."""
    found: dict[str, Mapped] = {}
    for name, entry in (entries or {}).items():
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
    columns = {mapped.column: (mapped.column,) for _, mapped in sorted(fields.items()) if mapped.column}
    return load(con, delivery, columns, kinds={mapped.column: _kind(name, delivery.kind) for name, mapped in fields.items() if mapped.column})


def _kind(name: str, kind: str) -> str:
    """What a Parquet column may be (reading.PROMISED) that a canonical field of this kind of source comes from."""
    type_ = SHAPES[kind].get(name, "BIGINT" if name.endswith("_tokens") else "VARCHAR")
    return {"VARCHAR": "text", "TIMESTAMP": "moment"}.get(type_, "number")


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
