"""What a business counts, kept by hand: `metric, quantity`, and `period` (YYYY-MM) or `usage_date`; where known `team, project,
application, unit, value`.

A row is about one day or one whole month, and about what its team, project and application say. `quantity` may be below zero (a
count that is taken back); of a money metric such as revenue it is an amount in the company's currency, as `value` is. Other columns
are not read. A bad row refuses the file.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Any

import duckdb

from pipelines.errors import Refused
from pipelines.sources import OUTCOME, Delivery, Format
from pipelines.sources.reading import create_parsed, csv_dicts, exact_weight, note_ignored_columns, where

KEYS = ("period", "usage_date", "team", "project", "application", "metric")


def read(con: duckdb.DuckDBPyConnection, delivery: Delivery, source: Any) -> None:
    """`parsed`, one row per record; the period of a dated row is the month of its day."""
    (path,) = delivery.paths
    rows: list[dict[str, str | None]] = []
    seen: dict[tuple[str | None, ...], int] = {}
    found = csv_dicts(delivery, ("metric", "quantity"))
    note_ignored_columns(con, next(iter(found), ()), OUTCOME)
    for record, given in enumerate(found, 1):
        place = where(delivery, path, record)
        row = _row(given, place)
        key = tuple(row[name] for name in KEYS)
        if key in seen:
            raise Refused(f"{row['metric']} again, after record {seen[key]}", place, "add the two up")
        seen[key] = record
        rows.append(row)
    select = ", ".join(f"unnest(${name})::varchar::{kind} as {name}" for name, kind in OUTCOME.items())
    columns: dict[str, object] = {name: [row[name] for row in rows] for name in OUTCOME}
    create_parsed(
        con, "outcomes", f"select {select}, unnest($source_row)::bigint as source_row", {**columns, "source_row": list(range(1, len(rows) + 1))}
    )


def _row(given: dict[str, str], place: str) -> dict[str, str | None]:
    row = {name: given.get(name) or None for name in OUTCOME}
    if not re.fullmatch(r"[a-z][a-z0-9_]*", row["metric"] or ""):
        raise Refused("metric is not a name", place, "name what is counted in small letters, digits and _")
    if (row["period"] is None) == (row["usage_date"] is None):
        raise Refused("a row needs period or usage_date, and only one of them", place, "write YYYY-MM or YYYY-MM-DD")
    if row["usage_date"] is not None:
        try:
            row["usage_date"] = date.fromisoformat(row["usage_date"]).isoformat()
        except ValueError:
            raise Refused("usage_date is not a day", place, "write YYYY-MM-DD") from None
        row["period"] = row["usage_date"][:7]
    if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", row["period"] or ""):
        raise Refused("period is not a month", place, "write YYYY-MM")
    for name in ("quantity", "value"):
        text = row[name]
        if not (exact_weight(text.removeprefix("-")) if text is not None else name == "value"):
            raise Refused(f"{name} is not a number", place, "write a number with at most 12 decimals")
    return row


FORMAT = Format("outcomes_csv", "outcomes", (".csv", ".csv.gz"), read)
