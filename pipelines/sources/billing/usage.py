"""What a vendor says was used, from any of its reports: quantities that are compared with what was metered, never charged."""

from __future__ import annotations

from typing import Any

import duckdb

from pipelines.sources import REPORTED
from pipelines.sources.billing.lines import COVERED_DAYS
from pipelines.sources.gateway import lines as gateway
from pipelines.sources.reading import create_parsed


def parse_usage(con: duckdb.DuckDBPyConnection, select: str, params: dict[str, Any], covered: str | None = None) -> None:
    """`parsed` from a SELECT of counted rows (those of nothing are left out), and `coverage` from one of report, account and day.

    Without the second, the report speaks for every day from its first to its last.
    """
    create_parsed(con, "usage", select, params)
    if covered is None:
        con.execute(COVERED_DAYS.format(keys="report, billing_account_id", day="usage_date"))
    else:
        names = ", ".join(REPORTED)
        bound = {name: value for name, value in params.items() if f"${name}" in covered}
        con.execute(f"create or replace temp table coverage as select * from ({covered}) as covered({names})", bound)
    gateway.macros(con)
    con.execute("update parsed set api_key_id = safe_key(api_key_id) where api_key_id <> safe_key(api_key_id)")
    con.execute("delete from parsed where quantity = 0 or quantity is null")
