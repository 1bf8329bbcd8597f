"""Invoice documents as finance types them in: `invoice_id, provider, billing_account_id, billing_period, amount, currency, tax, issued_on`.

`amount` is the document's total with `tax` in it, in `currency`; below zero for a credit note. A bad row refuses the file.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Any

import duckdb

from pipelines.errors import Refused
from pipelines.sources import Delivery, Format
from pipelines.sources.currency import CURRENCIES
from pipelines.sources.reading import create_parsed, csv_dicts, exact_weight, note_ignored_columns, where

COLUMNS = ("invoice_id", "provider", "billing_account_id", "billing_period", "amount", "currency", "tax", "issued_on")


def read(con: duckdb.DuckDBPyConnection, delivery: Delivery, source: Any) -> None:
    """`parsed`, one row per record; currencies in upper case, no tax is zero."""
    (path,) = delivery.paths
    rows = csv_dicts(delivery, COLUMNS)
    note_ignored_columns(con, next(iter(rows), ()), COLUMNS)
    seen: dict[tuple[str, ...], int] = {}
    for record, row in enumerate(rows, 1):
        row["currency"], row["tax"] = row["currency"].upper(), row["tax"] or "0"
        place, key = where(delivery, path, record), tuple(row[name] for name in COLUMNS[:4])
        _check(row, place)
        if key in seen:
            raise Refused(f"invoice {key[0][:40]} again, after record {seen[key]}", place, "keep one of them")
        seen[key] = record
    types = {"amount": "decimal(38, 12)", "tax": "decimal(38, 12)", "issued_on": "date"}
    select = ", ".join(f"unnest(${name})::varchar::{types.get(name, 'varchar')} as {name}" for name in COLUMNS)
    params: dict[str, object] = {name: [row[name] for row in rows] for name in COLUMNS}
    create_parsed(
        con, "invoices", f"select {select}, unnest($source_row)::bigint as source_row", {**params, "source_row": list(range(1, len(rows) + 1))}
    )


def _check(row: dict[str, str], place: str) -> None:
    blank = next((name for name in COLUMNS[:3] if not row[name]), None)
    if blank:
        raise Refused(f"{blank} is blank", place, "copy it from the document")
    if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", row["billing_period"]):
        raise Refused("billing_period is not a month", place, "write YYYY-MM")
    for name in ("amount", "tax"):
        if not exact_weight(row[name].removeprefix("-")):
            raise Refused(f"{name} is not a number", place, "write a number with at most 12 decimals")
    if row["currency"] not in CURRENCIES:
        raise Refused(f"unknown currency: {row['currency'][:10]}", place, "use an ISO 4217 code")
    try:
        date.fromisoformat(row["issued_on"])
    except ValueError:
        raise Refused("issued_on is not a day", place, "write YYYY-MM-DD") from None


FORMAT = Format("invoices_csv", "invoices", (".csv", ".csv.gz"), read)
