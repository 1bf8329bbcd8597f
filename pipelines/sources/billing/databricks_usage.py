"""Rows of Databricks' `system.billing.usage` without a price: DBUs per day, as evidence. All record types add up."""

from __future__ import annotations

from typing import Any

import duckdb

from pipelines.sources import Delivery, Format
from pipelines.sources.billing.databricks import load_usage
from pipelines.sources.billing.usage import parse_usage


def read(con: duckdb.DuckDBPyConnection, delivery: Delivery, source: Any) -> None:
    """`parsed`, and `coverage` from the first to the last day; any bad record refuses the file."""
    load_usage(con, delivery, source.billing_account_id)
    parse_usage(con, SELECT, {})


SELECT = """
select
    'system.billing.usage' as report,
    account_id as billing_account_id,
    workspace_id as sub_account_id,
    written_day(usage_date) as usage_date,
    concat_ws(', ', sku_name, usage_unit) as meter,
    rounded(plain(usage_quantity, 0)) as quantity,
    usage_unit as unit,
    false as derived,
    record as source_row
from rows
"""

FORMAT = Format("databricks_usage", "usage", (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz"), read)
