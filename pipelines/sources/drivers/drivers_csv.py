"""Drivers kept by hand: `target, weight`, with `driver` and `usage_date` where needed; any other column is a key.

Without a driver column the file's name is the driver. A blank usage date holds on every day, a blank key for anything.
A bad row refuses the file: half a driver would move money.
"""

from __future__ import annotations

import json
import re
from datetime import date
from typing import Any

import duckdb

from pipelines.errors import Refused
from pipelines.sources import Delivery, Format
from pipelines.sources.reading import create_parsed, csv_dicts, exact_weight, where

Row = tuple[str, str | None, str, str, str]  # driver, usage_date, keys, target, weight


def read(con: duckdb.DuckDBPyConnection, delivery: Delivery, source: Any) -> None:
    """`parsed`, one row per record."""
    (path,) = delivery.paths
    default = path.name.split(".")[0]
    rows: list[Row] = []
    seen: dict[tuple[str | None, ...], int] = {}
    for record, values in enumerate(csv_dicts(delivery, ("target", "weight")), 1):
        row = _row(values, default, where(delivery, path, record))
        if row[:4] in seen:
            place = where(delivery, path, record)
            raise Refused(
                f"the same driver, date, keys and target as record {seen[row[:4]]}", place, "add the two weights"
            )
        seen[row[:4]] = record
        rows.append(row)
    columns = ("driver", "usage_date", "keys", "target", "weight")
    create_parsed(
        con,
        "drivers",
        "select unnest($driver)::varchar as driver, unnest($usage_date)::varchar::date as usage_date, unnest($keys)::varchar as keys,"
        " unnest($target)::varchar as target, unnest($weight)::varchar::decimal(38, 12) as weight,"
        " unnest($source_row)::bigint as source_row",
        {
            **{name: [row[n] for row in rows] for n, name in enumerate(columns)},
            "source_row": list(range(1, len(rows) + 1)),
        },
    )


def _row(values: dict[str, str], default: str, place: str) -> Row:
    rest = dict(values)
    driver, day = rest.pop("driver", "") or default, rest.pop("usage_date", "")
    target, weight = rest.pop("target"), rest.pop("weight")
    if not target:
        raise Refused("target is blank", place, "name who gets the share")
    if not exact_weight(weight):
        raise Refused("weight is not a number", place, "write a number from 0 on, with at most 12 decimals")
    if day:
        try:
            day = date.fromisoformat(day).isoformat()
        except ValueError:
            raise Refused("usage_date is not a day", place, "write YYYY-MM-DD") from None
    odd = [name for name in rest if not re.fullmatch(r"[a-z_][a-z0-9_]*", name)]
    if odd:
        raise Refused(f"a key column is named {odd[0][:30]!r}", place, "use letters, digits and _")
    keys = json.dumps({name: rest[name] for name in sorted(rest) if rest[name]}, ensure_ascii=False)
    return driver, day or None, keys, target, weight


FORMAT = Format("drivers_csv", "drivers", (".csv", ".csv.gz"), read)
