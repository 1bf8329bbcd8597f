"""Any log of calls in CSV, JSON lines or Parquet, read through the field map of its source.

    fields:
      event_id: request_id              # a column; dots lead into nested objects
      provider: {value: aws}            # the same for every row
      status: {column: outcome, map: {ok: success}}
    tokens: inclusive                   # or exclusive: whether input contains cached input, and output reasoning

Names from the map are bound as values or quoted as identifiers. A column that is not there refuses a CSV or Parquet file.
"""

from __future__ import annotations

from typing import Any

import duckdb

from pipelines.sources import Delivery, Format
from pipelines.sources.fields import Mapped, expression, fields_of, load_texts, moment
from pipelines.sources.gateway.lines import LOGGED, clean, in_lines, macros, number_lines
from pipelines.sources.texts import ALL_SUFFIXES

ALIASES = {"model": "model_as_logged", "input_uncached_tokens": "input_tokens"}


def read(con: duckdb.DuckDBPyConnection, delivery: Delivery, source: Any) -> None:
    """`parsed`: one row per line (JSON) or record (CSV, Parquet; the header of a CSV does not count)."""
    macros(con)
    fields = {"requests": Mapped(value="1"), **fields_of(source.fields, LOGGED, ALIASES, "usage_events")}
    texts = load_texts(con, delivery, source.file, fields)
    params: dict[str, Any] = {}
    selects = [f"{expression(name, fields.get(name, Mapped()), texts, params)} as {name}" for name in LOGGED if name != "occurred_at"]
    occurred_at = moment("occurred_at", fields, texts, params, source)
    logged = f"select source_row, bad_record, {occurred_at} as occurred_at, {', '.join(selects)} from texts"
    clean(con, logged, params, inclusive=getattr(source, "tokens", None) != "exclusive", made_ids="event_id" not in fields)
    con.execute("drop table texts")
    if source.file == "jsonl":
        number_lines(con, delivery)


FORMAT = Format("mapped", "gateway", ALL_SUFFIXES, read, line_records=in_lines)
