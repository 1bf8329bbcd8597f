"""Any bill in CSV, read through the field map of its source.

    fields:
      billing_account_id: customer          # a column
      billing_account_id: {value: acct-1}   # the same for every row
      day: Date                             # or period: the invoice month, YYYY-MM; a month without days is spread over them
      cost: Net Amount
      currency: {value: EUR}
      charge_category: {column: Type, map: {usage: Usage, vat: Tax}}
      sku_meter: Item

The bill speaks for every day from its first to its last; with `period`, for the whole months it names. `time_format` says
how days are written where they do not start as YYYY-MM-DD. Names from the map are quoted or bound, never pasted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import duckdb

from pipelines.sources import Delivery, Format
from pipelines.sources.billing.lines import NUMBERS, SAID, load_rows, parse_bill
from pipelines.sources.fields import expression, fields_of
from pipelines.sources.reading import quoted

FIELDS = tuple(name for name in SAID if name != "problem")
NEEDED = (("billing_account_id",), ("day", "period"), ("cost",), ("currency",))


def map_problems(names: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """What is wrong with a field map: the field it is about, what, and what to do."""
    found = set(names)
    for name in sorted(found - set(FIELDS)):
        yield name, f"unknown field {name}", f"use {', '.join(FIELDS)}"
    for choices in NEEDED:
        if not found.intersection(choices):
            yield choices[0], f"field {' or '.join(choices)} is missing", "say which column has it"


def read(con: duckdb.DuckDBPyConnection, delivery: Delivery, source: Any) -> None:
    """`parsed` and `coverage`; any bad row refuses the file."""
    fields = fields_of(source.fields, FIELDS, {}, "a bill")
    columns = {name: mapped.column for name, mapped in fields.items() if mapped.column}
    load_rows(con, delivery, sorted(set(columns.values())), numbers=[columns[name] for name in NUMBERS if name in columns])
    params: dict[str, Any] = {}
    names = {column: quoted(column) for column in columns.values()}
    texts = {name: expression(name, mapped, names, params) for name, mapped in fields.items()}
    if source.time_format:
        params["time_format"] = source.time_format
        for name, pattern in (("day", "%Y-%m-%d"), ("period", "%Y-%m")):
            if name in texts:
                texts[name] = f"coalesce(strftime(try_strptime({texts[name]}, $time_format), '{pattern}'), {texts[name]})"
    select = f"select record, {', '.join(f'{text} as {name}' for name, text in texts.items())} from rows"
    called = {name: columns.get(name, name) for name in fields}
    parse_bill(con, delivery, select, called, params, whole_periods="period" in fields)


FORMAT = Format("mapped_bill", "billing", (".csv", ".csv.gz"), read)
