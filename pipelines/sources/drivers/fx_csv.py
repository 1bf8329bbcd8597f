"""Exchange rates that finance keeps: `period, currency, rate, rate_source`.

`rate` is units of the company's currency for one unit of `currency`, in the month `period`. A bad row refuses the file.
"""

from __future__ import annotations

import re
from typing import Any

import duckdb

from pipelines.errors import Refused
from pipelines.sources import Delivery, Format
from pipelines.sources.currency import CURRENCIES
from pipelines.sources.reading import create_parsed, csv_dicts, exact_weight, note_ignored_columns, where

COLUMNS = ("period", "currency", "rate", "rate_source")


def read(con: duckdb.DuckDBPyConnection, delivery: Delivery, source: Any) -> None:
    """`parsed`, one row per record; currencies in upper case."""
    (path,) = delivery.paths
    rows = csv_dicts(delivery, COLUMNS)
    note_ignored_columns(con, next(iter(rows), ()), COLUMNS)
    seen: dict[tuple[str, str], int] = {}
    for record, row in enumerate(rows, 1):
        row["currency"] = row["currency"].upper()
        place, key = where(delivery, path, record), (row["period"], row["currency"])
        _check(row, place)
        if key in seen:
            raise Refused(
                f"a second rate for {key[1]} in {key[0]}, after record {seen[key]}", place, "keep one of them"
            )
        seen[key] = record
    create_parsed(
        con,
        "fx",
        "select unnest($period)::varchar as period, unnest($currency)::varchar as currency,"
        " unnest($rate)::varchar::decimal(38, 12) as rate, unnest($rate_source)::varchar as rate_source,"
        " unnest($source_row)::bigint as source_row",
        {**{name: [row[name] for row in rows] for name in COLUMNS}, "source_row": list(range(1, len(rows) + 1))},
    )


def _check(row: dict[str, str], place: str) -> None:
    if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", row["period"]):
        raise Refused("period is not a month", place, "write YYYY-MM")
    if row["currency"] not in CURRENCIES:
        raise Refused(f"unknown currency: {row['currency'][:10]}", place, "use an ISO 4217 code")
    if not exact_weight(row["rate"]) or not re.search(r"[1-9]", row["rate"]):
        raise Refused("rate is not a number above 0", place, "write a number with at most 12 decimals")
    if len(re.sub(r"^\+?0*|\..*", "", row["rate"])) > 9:  # no two currencies are so far apart
        raise Refused("rate is a billion or more", place, "write units of the company's currency for one of this one")
    if not row["rate_source"]:
        raise Refused("rate_source is blank", place, "say where the rate comes from")


FORMAT = Format("fx_csv", "fx", (".csv", ".csv.gz"), read)
